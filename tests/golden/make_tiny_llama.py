# SPDX-License-Identifier: BSL-1.0
"""Random small Llamas that cover what stories260k does not: separate head, one KV head for three, odd sizes, biases,
head_dim, bf16 shards.

tiny_llama          2 layers, width 48, 3 heads of 16, 1 KV head, inner width 80, vocabulary 97, rope_theta 500000, eps
                    1e-6, separate head
tiny_llama_bias     1 layer, width 24, 3 heads of 10 (head_dim is not width / heads), biases on attention and MLP;
                    config.json as transformers 5 writes it
tiny_llama_sharded  tiny_llama_bias rounded to bf16, in two files with model.safetensors.index.json
tiny_llama_adapter  a PEFT adapter for tiny_llama on every linear layer and the head, r 3, alpha 6
For all: logits. For the first two: SFT loss and the gradient of every parameter. For the adapter: DPO.
"""

import json
import shutil

import peft
import safetensors.torch
import torch
import transformers

import golden


def configuration(**values):
    return transformers.LlamaConfig(
        hidden_act="silu", bos_token_id=1, eos_token_id=2, max_position_embeddings=256, **values
    )


PLAIN = dict(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
    attention_bias=False,
    mlp_bias=False,
)
BIASED = dict(
    vocab_size=53,
    hidden_size=24,
    intermediate_size=28,
    num_hidden_layers=1,
    num_attention_heads=3,
    num_key_value_heads=3,
    head_dim=10,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    attention_bias=True,
    mlp_bias=True,
)


def make(config, seed):
    """Random weights large enough that attention, gates and norms all matter; norm weights around 1, biases not
    zero."""
    model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise * (1.0 if "embed" in name else 1.5 / parameter.shape[1] ** 0.5))
    return model


def save(model, folder):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)


def classic_config(folder):
    """config.json as nearly every published model has it: rope_theta at the top, torch_dtype, no head_dim."""
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_act": "silu",
                "bos_token_id": 1,
                "eos_token_id": 2,
                "max_position_embeddings": 256,
                **PLAIN,
                "rope_theta": 500000.0,
                "rope_scaling": None,
                "torch_dtype": "float32",
                "use_cache": True,
            },
            indent=2,
        )
        + "\n"
    )


def shard(source, folder):
    """The model of `source` in bf16, its tensors alternating between two files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tensors = safetensors.torch.load_file(source / "model.safetensors")
    files = [f"model-{i}-of-00002.safetensors" for i in ("00001", "00002")]
    parts, index = [{}, {}], {}
    for i, name in enumerate(sorted(tensors)):
        parts[i % 2][name] = tensors[name].to(torch.bfloat16)
        index[name] = files[i % 2]
    for name, part in zip(files, parts):
        safetensors.torch.save_file(part, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)
    total = sum(t.numel() * 2 for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1) + "\n"
    )
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=2) + "\n")


def made_pairs(vocabulary, seed):
    """Three pairs of random ids with different lengths: a long prompt, a prompt of one token, a reply of one token."""
    generator = torch.Generator().manual_seed(seed)
    ids = lambda n: torch.randint(3, vocabulary, (n,), generator=generator).tolist()  # noqa: E731
    return [
        {"prompt_ids": [1] + ids(p), "chosen_ids": ids(c), "rejected_ids": ids(r)}
        for p, c, r in ((11, 5, 8), (0, 6, 2), (4, 1, 7))
    ]


def forward(load, ids):
    with torch.no_grad():
        single = golden.logits(load(torch.float32), ids)
        with golden.exact_llama():
            double = golden.logits(load(torch.float64), ids)
    gap = (single - double).abs().max().item()
    assert gap < 1e-4, gap
    return {"ids": ids, "logits_f64": golden.rows(double), "f32_logits_differ_by": gap}


def gradients(load, loss, of):
    """({loss in both precisions, spread}, float64 gradients)."""
    result, found = {}, {}
    for tag, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        model = load(dtype)
        with golden.exact_llama(dtype == torch.float64):
            value = loss(model)
            found[tag] = of(model, value)
        result["loss_" + tag] = value.item()
    result["f32_gradient_differs_by"] = golden.relative_difference(found["f32"], found["f64"])
    return result, found["f64"]


def all_gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.detach().clone() for n, p in model.named_parameters()}


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    out, report = options.out, {}

    save(
        make(configuration(**PLAIN, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}), 11),
        out / "tiny_llama",
    )
    classic_config(out / "tiny_llama")
    save(
        make(configuration(**BIASED, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}), 12),
        out / "tiny_llama_bias",
    )
    shard(out / "tiny_llama_bias", out / "tiny_llama_sharded")

    for name, vocabulary, stored in (
        ("tiny_llama", 97, torch.float32),
        ("tiny_llama_bias", 53, torch.float64),
        ("tiny_llama_sharded", 53, None),
    ):
        load = lambda dtype: golden.load_model(out / name, dtype)  # noqa: B023,E731
        pairs = made_pairs(vocabulary, 21)
        entry = forward(
            load, [1] + torch.randint(3, vocabulary, (16,), generator=torch.Generator().manual_seed(31)).tolist()
        )
        if stored:
            entry["pairs"] = pairs
            entry["sft"], found = gradients(load, lambda m: golden.sft_loss(m, pairs), all_gradients)  # noqa: B023
            golden.write_tensors(out / f"{name}_grads_sft.safetensors", {k: g.to(stored) for k, g in found.items()})
        report[name] = entry

    targets = [f"{n}_proj" for n in ("q", "k", "v", "o", "gate", "up", "down")] + ["lm_head"]
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )
    golden.save_adapter(
        golden.attach(golden.load_model(out / "tiny_llama"), config, 0.15, 13), out / "tiny_llama_adapter", "tiny_llama"
    )
    load = lambda dtype: golden.load_adapter(out / "tiny_llama", out / "tiny_llama_adapter", dtype)  # noqa: E731
    entry, pairs = forward(load, report["tiny_llama"]["ids"]), report["tiny_llama"]["pairs"]
    entry["dpo"], found = gradients(load, lambda m: golden.dpo_loss(m, pairs)[0], golden.adapter_gradients)
    with golden.exact_llama():
        entry["dpo"] |= {"beta": 0.1, "pairs": golden.dpo_loss(load(torch.float64), pairs)[1]}
    golden.write_tensors(out / "tiny_llama_adapter_grads_dpo.safetensors", found)
    report["tiny_llama_adapter"] = entry
    golden.write_json(
        out / "tiny_llama.json",
        {
            "about": (
                "logits_f64[t]: row after ids[..t], float64; sft: mean of -log p over all chosen tokens, gradients of"
                " every parameter in <name>_grads_sft.safetensors (computed in float64; stored F32 for tiny_llama, F64"
                " for tiny_llama_bias); tiny_llama_sharded: bf16 weights widened exactly; tiny_llama_adapter: on"
                " tiny_llama, dpo with its pairs"
            ),
            "packages": golden.versions("torch", "transformers", "peft"),
            **report,
        },
    )


if __name__ == "__main__":
    main()
