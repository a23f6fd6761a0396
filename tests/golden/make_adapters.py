# SPDX-License-Identifier: BSL-1.0
"""Adapters of every kind that plumb reads beside plain LoRA, written by PEFT for small models of the other fixtures.

adapters/<case>/       the adapter as PEFT saves it
adapters.json          for each case: base model, ids, logits in float64 with the adapter on, SFT loss
adapters.safetensors   <case>/<PEFT key>: the gradient of every trained tensor, computed in float64; <case>_after/<PEFT key>: values
                       after three steps of LoRA+ (PEFT's create_loraplus_optimizer)

Cases: dora; saved (modules_to_save: norms, embedding and separate head); biases_adapted, biases_all (on tiny_llama_bias);
tokens (trainable_token_indices); pissa, olora (the adapter belongs to a base that PEFT changes when it loads them) and
pissa_converted, olora_converted (path_initial_model_for_weight_conversion); on a tied model: tied_tokens, tied_head,
tied_embedding; gpt2_dora on a model whose files hold its maps transposed; prompt, prefix, gpt2_prompt, qwen2_prefix:
virtual tokens (PromptTuningConfig, PrefixTuningConfig).
"""

import json
import pathlib
import shutil
import tempfile

import peft
import torch
from peft.optimizers import create_loraplus_optimizer

import golden

TARGETS = ["q_proj", "v_proj", "down_proj"]


def config(**options):
    return peft.LoraConfig(
        **({"r": 3, "lora_alpha": 6, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | options)
    )


def move(model, seed):
    """Every trained tensor away from its first value: zeros would test nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted((n, p) for n, p in model.named_parameters() if p.requires_grad):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.1 if parameter.dim() > 1 else 0.05 * parameter.abs().mean().clamp(min=1)))
    return model.eval()


def stored_key(name):
    """A parameter's key in the file: the adapter's name and PEFT's wrappers taken out."""
    for part in (".default", ".modules_to_save", ".original_module"):
        name = name.replace(part, "")
    name = name.replace("prompt_encoder.embedding.weight", "prompt_embeddings")
    return name.removesuffix(".weight") if name.endswith("lora_magnitude_vector.weight") else name


def logits(model, ids):
    """Prompt tuning gives logits of its virtual tokens, too; they come first."""
    return golden.logits(model, ids)[-len(ids) :]


def sft_loss(model, pairs):
    """golden.sft_loss, for models with virtual tokens as well."""
    terms = []
    for pair in pairs:
        ids, start = pair["prompt_ids"] + pair["chosen_ids"], len(pair["prompt_ids"])
        table = logits(model, ids)[start - 1 : -1].log_softmax(-1)
        terms.append(table.gather(1, torch.tensor(ids[start:])[:, None])[:, 0])
    return -torch.cat(terms).mean()


def gradients(model, pairs):
    model.zero_grad()
    loss = sft_loss(model, pairs)
    loss.backward()
    found = {stored_key(n): p.grad.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    return loss.item(), found


def measure(base, folder, ids, pairs):
    """What the saved adapter computes in float64, read again by PEFT."""
    prompt = json.loads((folder / "adapter_config.json").read_text())["peft_type"] != "LORA"
    model = peft.PeftModel.from_pretrained(golden.load_model(base), folder, is_trainable=not prompt)
    model = model.to(torch.float64).eval()
    if prompt:  # PEFT loads virtual tokens for use only
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("prompt_encoder" in name)
    exact = golden.exact_llama() if "llama" in str(base) or "hf" in str(base) else golden.exact_llama(False)
    with exact:
        with torch.no_grad():
            table = logits(model, ids)
        loss, found = gradients(model, pairs)
    stored = set(golden.safetensors.torch.load_file(folder / "adapter_model.safetensors"))
    if set(found) != {k for k in stored if not k.endswith(".base_layer.weight")}:
        raise SystemExit(f"{folder}: trained and stored tensors differ: {sorted(set(found) ^ stored)}")
    return {"ids": ids, "pairs": pairs, "logits_f64": [[round(x, 12) for x in row] for row in golden.rows(table)], "sft_f64": loss}, found, model


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    out = options.out
    (out / "adapters").mkdir(exist_ok=True)
    report, tensors = {}, {}
    known = json.loads((golden.HERE / "tiny_llama.json").read_text())
    tied = golden.HERE / "families" / "qwen2"
    gpt2 = golden.HERE / "families" / "gpt2"
    for name, base, extra in (
        ("dora", "tiny_llama", {"use_dora": True}),
        ("dora_rank_stabilised", "tiny_llama", {"use_dora": True, "use_rslora": True, "rank_pattern": {"v_proj": 2}}),
        ("saved", "tiny_llama", {"modules_to_save": ["norm", "embed_tokens", "lm_head"]}),
        ("biases_adapted", "tiny_llama_bias", {"bias": "lora_only"}),
        ("biases_all", "tiny_llama_bias", {"bias": "all", "use_dora": True}),
        ("tokens", "tiny_llama", {"trainable_token_indices": [5, 90, 17]}),
        ("pissa", "tiny_llama", {"init_lora_weights": "pissa"}),
        ("olora", "tiny_llama", {"init_lora_weights": "olora"}),
        ("tied_tokens", tied, {"trainable_token_indices": [3, 40]}),
        ("tied_head", tied, {"modules_to_save": ["lm_head"]}),
        ("tied_embedding", tied, {"modules_to_save": ["embed_tokens"]}),
        ("gpt2_dora", gpt2, {"use_dora": True, "target_modules": ["c_attn", "c_fc"], "modules_to_save": ["wte"]}),
        ("embedding", "tiny_llama", {"target_modules": ["q_proj", "embed_tokens"], "rank_pattern": {"embed_tokens": 2}}),
        ("tied_low_rank", tied, {"target_modules": ["v_proj", "embed_tokens"], "use_rslora": True}),
        ("gpt2_embedding", gpt2, {"target_modules": ["c_attn", "wte"]}),
    ):
        base = base if isinstance(base, pathlib.Path) else golden.HERE / base
        vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]
        generator = torch.Generator().manual_seed(41)
        ids = torch.randint(3, vocabulary, (8,), generator=generator).tolist()
        if name in ("tokens", "tied_tokens"):
            ids[2], ids[5] = extra["trainable_token_indices"][:2]
        pairs = [
            {"prompt_ids": ids[:3], "chosen_ids": ids[3:]},
            {"prompt_ids": [1], "chosen_ids": ids[4:7]},
        ]
        model = peft.get_peft_model(golden.load_model(base), config(**extra))
        folder = out / "adapters" / name
        with tempfile.TemporaryDirectory() as initial:
            if name in ("pissa", "olora"):
                model.peft_config["default"].init_lora_weights = True
                model.save_pretrained(initial)
                model.peft_config["default"].init_lora_weights = name
            move(model, 51)
            where = str(base.relative_to(golden.HERE))
            golden.save_adapter(model, folder, where, save_embedding_layers=False)
            if name in ("pissa", "olora"):
                golden.save_adapter(
                    model,
                    out / "adapters" / (name + "_converted"),
                    where,
                    save_embedding_layers=False,
                    path_initial_model_for_weight_conversion=initial,
                )
        cases = [name] + ([name + "_converted"] if name in ("pissa", "olora") else [])
        for case in cases:
            entry, found, again = measure(base, out / "adapters" / case, ids, pairs)
            report[case] = {"base": where} | entry
            # Gradients of whole tables add nothing that their sums do not say; keep the file small.
            tensors |= {f"{case}/{k}": g for k, g in found.items() if g.numel() < 3000}
            if case == "dora":
                optimiser = create_loraplus_optimizer(
                    again, torch.optim.AdamW, lr=1e-2, loraplus_lr_ratio=8.0, betas=(0.9, 0.999), eps=1e-8
                )
                with golden.exact_llama():
                    for _ in range(3):
                        optimiser.zero_grad()
                        golden.sft_loss(again, pairs).backward()
                        optimiser.step()
                tensors |= {
                    f"dora_after/{stored_key(n)}": p.detach() for n, p in again.named_parameters() if p.requires_grad
                }
    for name, base, kind in (
        ("prompt", golden.HERE / "tiny_llama", peft.PromptTuningConfig),
        ("prefix", golden.HERE / "tiny_llama", peft.PrefixTuningConfig),
        ("gpt2_prompt", gpt2, peft.PromptTuningConfig),
        ("qwen2_prefix", tied, peft.PrefixTuningConfig),
    ):
        vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]
        generator = torch.Generator().manual_seed(61)
        ids = torch.randint(3, vocabulary, (8,), generator=generator).tolist()
        pairs = [{"prompt_ids": ids[:3], "chosen_ids": ids[3:]}, {"prompt_ids": [1], "chosen_ids": ids[4:7]}]
        torch.manual_seed(71)
        options_of = kind(task_type="CAUSAL_LM", num_virtual_tokens=3)
        model = peft.get_peft_model(golden.load_model(base), options_of).eval()
        where = str(base.relative_to(golden.HERE))
        golden.save_adapter(model, out / "adapters" / name, where)
        entry, found, _ = measure(base, out / "adapters" / name, ids, pairs)
        report[name] = {"base": where} | entry
        tensors |= {f"{name}/{k}": g for k, g in found.items()}
    golden.write_tensors(out / "adapters.safetensors", {k: v.clone().float() for k, v in tensors.items()})
    golden.write_json(
        out / "adapters.json",
        {
            "about": (
                "logits_f64[t]: row after ids[..t]; sft_f64: mean of -log p over all chosen tokens of pairs; gradients in"
                " adapters.safetensors under case/key; case dora_after: values after 3 AdamW steps of that loss, rate"
                " 0.01, B and vectors at 8 times that, no decay"
            ),
            "packages": golden.versions("torch", "transformers", "peft"),
            **report,
        },
    )


if __name__ == "__main__":
    main()
