# SPDX-License-Identifier: BSL-1.0
"""Log-probabilities of a batch whose rows run with different adapters, by PEFT's adapter_names, in float64."""

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import golden

FOLDERS = {"all": "tiny_llama_adapter", "twice": "adapters/pissa_converted"}


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    adapters = ["twice", "", "all", "twice", "all", ""]
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 60, (len(adapters), 8), generator=generator)
    with golden.exact_llama(), torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(golden.HERE / "tiny_llama", dtype=torch.float64)
        model = None
        for name, folder in FOLDERS.items():
            if model is None:
                model = PeftModel.from_pretrained(base, golden.HERE / folder, adapter_name=name)
            else:
                model.load_adapter(golden.HERE / folder, adapter_name=name)
        model = model.double().eval()
        logits = model(input_ids=ids, adapter_names=[name or "__base__" for name in adapters]).logits
    logp = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    golden.write_json(
        options.out / "adapter_batch.json",
        {
            "about": "log-probabilities of tokens 1 … of each row with its adapter (empty: none); float64",
            "packages": golden.versions("torch", "transformers", "peft"),
            "ids": ids.tolist(),
            "adapters": adapters,
            "logp": logp.tolist(),
        },
    )


if __name__ == "__main__":
    main()
