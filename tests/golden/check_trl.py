# SPDX-License-Identifier: BSL-1.0
"""Cross-check: the DPO loss and gradients of stories_losses.json against TRL's own DPOTrainer.compute_loss on one
padded batch.

Prints the differences and ends with 1 when the loss differs by more than 1e-5 or a gradient by more than 1e-5 of its
tensor's largest number (both runs are float32, TRL pads the batch). Nothing is written: it shows that the fixture means
what TRL's users mean by DPO.
"""

import json
import sys
import tempfile

import datasets
import safetensors.torch
import torch
import transformers
import trl
from trl.trainer.dpo_trainer import DataCollatorForPreference

import golden


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    datasets.disable_progress_bars()
    hf = options.data / "stories260k/hf"
    expected = json.loads((options.out / "stories_losses.json").read_text(encoding="utf-8"))
    gradients = safetensors.torch.load_file(options.out / "stories_grads_dpo.safetensors")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(hf / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    model = golden.load_adapter(hf, options.out / "stories_adapter")
    rows = datasets.Dataset.from_list([{"prompt": "Tom", "chosen": " sat", "rejected": " ran"}] * 2)
    with tempfile.TemporaryDirectory() as folder:
        settings = trl.DPOConfig(
            output_dir=folder,
            beta=expected["beta"],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
        )
        # Given a model that already carries an adapter, TRL takes a copy of that adapter as the reference. The fixture's
        # reference is the adapter off, so the trainer makes a new adapter, and the fixture's numbers go into it afterwards.
        trainer = trl.DPOTrainer(
            model=golden.load_model(hf),
            args=settings,
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=model.peft_config["default"],
        )
    model = trainer.model
    numbers = safetensors.torch.load_file(options.out / "stories_adapter" / "adapter_model.safetensors")
    named = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    assert set(named) == set(numbers) and "ref" not in model.peft_config
    with torch.no_grad():
        for key, parameter in named.items():
            parameter.copy_(numbers[key])
    model.eval()
    loss = trainer.compute_loss(model, DataCollatorForPreference(pad_token_id=0)(expected["pairs"]))
    found = golden.adapter_gradients(model, loss)
    gap, slopes = abs(loss.item() - expected["dpo"]["loss_f64"]), golden.relative_difference(found, gradients)
    packages = golden.versions("trl", "peft", "transformers", "torch")
    print(
        json.dumps({"packages": packages, "loss": loss.item(), "loss_differs_by": gap, "gradients_differ_by": slopes})
    )
    return 0 if gap < 1e-5 and slopes < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
