# SPDX-License-Identifier: BSL-1.0
"""Does PEFT read a reward model's adapter? check_reward.py MODEL ADAPTER IDS_JSON prints {"scores": [per list of ids]}.

MODEL is loaded as transformers' ForSequenceClassification with one label. IDS_JSON is a list of lists of ids. Ends with
1 when a tensor of the adapter is missing or unexpected, or the score head did not come from it.
"""

import json
import pathlib
import sys

import peft
import safetensors.torch
import torch
import transformers

import golden


def main():
    model_folder, adapter, ids = sys.argv[1:4]
    golden.setup()
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        model_folder, num_labels=1, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    model = peft.PeftModel.from_pretrained(base, adapter).eval()
    stored = safetensors.torch.load_file(pathlib.Path(adapter) / "adapter_model.safetensors")
    wanted = set(peft.get_peft_model_state_dict(model))
    if set(stored) != wanted:
        missing, unexpected = sorted(wanted - set(stored)), sorted(set(stored) - wanted)
        raise SystemExit(f"adapter tensors differ: missing {missing}, unexpected {unexpected}")
    head = dict(model.named_parameters())["base_model.model.score.modules_to_save.default.weight"]
    if not torch.equal(head, stored["base_model.model.score.weight"].float()):
        raise SystemExit("the score head is not the one of the file")
    with torch.no_grad():
        scores = [model(input_ids=torch.tensor([one])).logits[0, 0].item() for one in json.loads(ids)]
    print(json.dumps({"scores": scores}))


if __name__ == "__main__":
    main()
