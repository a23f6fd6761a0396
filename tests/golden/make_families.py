# SPDX-License-Identifier: BSL-1.0
"""A tiny random model of each family: logits, 64 greedy tokens, SFT loss and all gradients.

families/<name>/            config.json and model.safetensors as transformers saves them (float32)
families/<name>/grads.safetensors   gradient of the SFT loss for every parameter, float32
families/<name>/grads_router.safetensors   the same with the routers' loss added, where the model has routers
families.json               ids, logits after every token, 64 greedy tokens, loss; where angles depend on a path's length:
                            positions, that length, and short, the logits of the first 12 ids alone; of models with
                            routers: aux_loss, router_loss, its factor, and pair, a batch with a shorter second sequence
Weights are large enough that attention, gates, norms, windows and rotary scaling all matter.
"""

import json
import shutil
import tempfile

import safetensors.torch
import torch
import transformers
import transformers.models.jetmoe.modeling_jetmoe as jetmoe

import golden

SIZES = dict(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
PLAIN = dict(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
SMALL = {**PLAIN, "intermediate_size": 32, "num_key_value_heads": 3}
EXPERTS = {**PLAIN, "intermediate_size": 16, "num_key_value_heads": 1, "router_aux_loss_coef": 0.25}


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


FAMILIES = {
    "qwen2": lambda: transformers.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=12, tie_word_embeddings=False),
    "mistral": lambda: transformers.MistralConfig(**SIZES, sliding_window=6, head_dim=8),
    "llama_linear": lambda: transformers.LlamaConfig(**SIZES, rope_parameters=rope("linear", factor=4.0)),
    "llama_llama3": lambda: transformers.LlamaConfig(
        **SIZES,
        rope_parameters=rope(
            "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
        ),
    ),
    "llama_yarn": lambda: transformers.LlamaConfig(
        **SIZES, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32)
    ),
    "gemma": lambda: transformers.GemmaConfig(**SIZES, head_dim=8, hidden_activation="gelu_pytorch_tanh"),
    "gemma2": lambda: transformers.Gemma2Config(
        **SIZES,
        head_dim=8,
        query_pre_attn_scalar=16,
        sliding_window=6,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **{**SIZES, "num_hidden_layers": 3},
        head_dim=8,
        query_pre_attn_scalar=16,
        sliding_window=6,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=61, n_positions=128, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    ),
    "olmo2": lambda: transformers.Olmo2Config(**SIZES),
    "phi3": lambda: transformers.Phi3Config(
        **{**SMALL, "num_key_value_heads": 1},  # one key for three queries
        sliding_window=6,
        rope_parameters={**rope("default"), "partial_rotary_factor": 0.75},
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        **PLAIN, intermediate_size=32, rope_parameters={**rope("default"), "partial_rotary_factor": 0.25}
    ),
    "gpt_neox_serial": lambda: transformers.GPTNeoXConfig(
        **{**PLAIN, "num_hidden_layers": 1},
        intermediate_size=32,
        use_parallel_residual=False,
        attention_bias=False,
        rope_parameters={**rope("default"), "partial_rotary_factor": 1.0},
    ),
    "opt": lambda: transformers.OPTConfig(**PLAIN, ffn_dim=32, dropout=0.0),
    "falcon": lambda: transformers.FalconConfig(**PLAIN, ffn_hidden_size=32),
    "falcon_40b": lambda: transformers.FalconConfig(
        **{**PLAIN, "num_hidden_layers": 1, "num_attention_heads": 6},
        ffn_hidden_size=32,
        new_decoder_architecture=True,
        num_kv_heads=3,
        bias=True,
        tie_word_embeddings=False,
    ),
    "falcon_serial": lambda: transformers.FalconConfig(
        **{**PLAIN, "num_hidden_layers": 1}, ffn_hidden_size=32, parallel_attn=False, multi_query=False
    ),
    "cohere": lambda: transformers.CohereConfig(**{**SMALL, "num_key_value_heads": 1}, logit_scale=0.25),
    "gptj": lambda: transformers.GPTJConfig(
        vocab_size=61, n_positions=128, n_embd=24, n_layer=2, n_head=3, n_inner=32, rotary_dim=4,
        bos_token_id=1, eos_token_id=2,
    ),
    "phi": lambda: transformers.PhiConfig(
        **PLAIN, intermediate_size=32, rope_parameters={**rope("default"), "partial_rotary_factor": 0.5},
        resid_pdrop=0.0,
    ),
    "llama_dynamic": lambda: transformers.LlamaConfig(
        **{**SMALL, "max_position_embeddings": 16}, rope_parameters=rope("dynamic", factor=2.0)
    ),
    "phi3_longrope": lambda: transformers.Phi3Config(
        **SMALL,
        original_max_position_embeddings=16,
        rope_parameters={
            **rope("longrope"),
            "short_factor": [1.0, 1.1, 1.3, 1.6],
            "long_factor": [1.0, 2.0, 4.0, 9.0],
            "original_max_position_embeddings": 16,
        },
    ),
    "mpt": lambda: transformers.MptConfig(
        vocab_size=61, d_model=24, n_heads=3, n_layers=2, max_seq_len=128, bos_token_id=1, eos_token_id=2
    ),
    "cohere2": lambda: transformers.Cohere2Config(
        **{**SMALL, "num_key_value_heads": 1, "num_hidden_layers": 3},
        logit_scale=0.25,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "smollm3": lambda: transformers.SmolLM3Config(
        **{**SMALL, "num_key_value_heads": 1, "num_hidden_layers": 3},
        no_rope_layers=[1, 0, 1],
        tie_word_embeddings=False,
    ),
    "granite": lambda: transformers.GraniteConfig(
        **{**SMALL, "num_key_value_heads": 1},
        attention_multiplier=0.25,
        logits_scaling=2.0,
        embedding_multiplier=1.5,
        residual_multiplier=0.7,
    ),
    "stablelm": lambda: transformers.StableLmConfig(
        **{**SMALL, "num_key_value_heads": 1}, use_qkv_bias=True, rope_parameters={**rope("default"), "partial_rotary_factor": 0.5}
    ),
    "starcoder2": lambda: transformers.Starcoder2Config(**{**SMALL, "num_key_value_heads": 1}, sliding_window=6),
    "mixtral": lambda: transformers.MixtralConfig(
        **EXPERTS, num_local_experts=4, num_experts_per_tok=2, sliding_window=6
    ),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
        **EXPERTS, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=12, decoder_sparse_step=2,
        shared_expert_intermediate_size=20,
    ),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **{**EXPERTS, "num_hidden_layers": 3}, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=8,
        norm_topk_prob=True, head_dim=8, mlp_only_layers=[1],
    ),
    "olmoe": lambda: transformers.OlmoeConfig(**EXPERTS, num_experts=5, num_experts_per_tok=3, clip_qkv=1.0),
    "granitemoe": lambda: transformers.GraniteMoeConfig(
        **EXPERTS, num_local_experts=5, num_experts_per_tok=2, attention_multiplier=0.25, logits_scaling=2.0,
        embedding_multiplier=1.5, residual_multiplier=0.7,
    ),
    "dbrx": lambda: transformers.DbrxConfig(
        vocab_size=61, d_model=24, n_layers=2, n_heads=3, max_seq_len=128, bos_token_id=1, eos_token_id=2,
        attn_config={"kv_n_heads": 1, "clip_qkv": 1.0, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 12, "moe_num_experts": 5, "moe_top_k": 2, "moe_loss_weight": 0.25},
    ),
    "cohere_plus": lambda: transformers.CohereConfig(
        **{**SMALL, "num_key_value_heads": 1, "num_hidden_layers": 1}, logit_scale=0.25, use_qk_norm=True
    ),
    "jetmoe": lambda: transformers.JetMoeConfig(
        **{**PLAIN, "num_attention_heads": 4, "num_hidden_layers": 2}, intermediate_size=16, num_key_value_heads=2, kv_channels=8,
        num_local_experts=5, num_experts_per_tok=2, aux_loss_coef=0.25, tie_word_embeddings=False,
    ),
}  # fmt: skip


def make(config, seed):
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    unit_offset = "gemma" in config.model_type  # their norms multiply by 1 + weight
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "norm" in name.rsplit(".", 2)[-2] or ".ln_" in name:
                parameter.copy_((0 if unit_offset else 1) + 0.2 * noise)
            else:
                inputs = parameter.shape[0] if config.model_type == "gpt2" else parameter.shape[-1]
                embeds = ("embed" in name and "embed_out" not in name) or ".wte" in name
                parameter.copy_(noise * (1.0 if embeds else 1.5 / inputs**0.5))
                if ".wpe" in name or "embed_positions" in name:
                    parameter.copy_(0.5 * noise)
    return model.eval()


def gradients(model):
    """By the names of the stored files: transformers splits what it keeps in one tensor when it saves."""
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for parameter in model.parameters():
            kept, parameter.data = parameter.data, parameter.grad
            parameter.kept = kept
        model.save_pretrained(folder)
        for parameter in model.parameters():
            parameter.data = parameter.kept
        return safetensors.torch.load_file(folder + "/model.safetensors")


def routers_factor(model):
    return getattr(model, "router_aux_loss_coef", getattr(model, "aux_loss_coef", None))


def routers(model, ids, entry, folder):
    """The load-balancing loss of one sequence and of two of different lengths, and gradients with it."""
    first = torch.tensor([ids])
    labels = first.clone()
    labels[:, : entry["from"]] = -100
    model.zero_grad()
    out = model(first, labels=labels, output_router_logits=True)
    out.loss.backward()
    entry["aux_loss"], entry["router_loss"] = float(str(out.aux_loss.item())), routers_factor(model)
    entry["loss_with_routers"] = float(str(out.loss.item()))
    golden.write_tensors(folder / "grads_router.safetensors", gradients(model))
    second = ids[3:14]
    both = torch.tensor([ids, second + [0] * (len(ids) - len(second))])
    mask = torch.tensor([[1] * len(ids), [1] * len(second) + [0] * (len(ids) - len(second))])
    with torch.no_grad():
        aux = model(both, attention_mask=mask, output_router_logits=True).aux_loss
    entry["pair"] = {"second": second, "aux_loss": float(str(aux.item()))}


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    # transformers records the routers of JetMoE's attention twice, and so counts them twice in the loss; here each once.
    recorded = jetmoe.JetMoePreTrainedModel._can_record_outputs
    recorded["router_logits"] = [each for each in recorded["router_logits"] if each.target_class is jetmoe.JetMoeTopKGating]
    report = {}
    for index, (name, config) in enumerate(FAMILIES.items()):
        folder = options.out / "families" / name
        shutil.rmtree(folder, ignore_errors=True)
        model = make(config(), 100 + index)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "model.safetensors").chmod(0o644)
        model = golden.load_model(folder)
        generator = torch.Generator().manual_seed(7)
        ids = [1] + torch.randint(3, 61, (23,), generator=generator).tolist()
        entry = {"ids": ids, "logits": golden.rows(golden.logits(model, ids).detach())}
        if "dynamic" in name or "longrope" in name:  # the angles depend on the longest path, so there is no one text
            entry["positions"] = len(ids)
            entry["short"] = golden.rows(golden.logits(model, ids[:12]).detach())
        else:
            greedy = ids[:5]
            with torch.no_grad():
                for _ in range(64):  # without a cache, and through end-of-text: the plainest way there is
                    greedy.append(golden.logits(model, greedy)[-1].argmax().item())
            entry["greedy"] = greedy[5:]
        loss = -golden.token_logps(model, ids, 6).mean()
        model.zero_grad()
        loss.backward()
        entry["from"], entry["loss"] = 6, float(str(loss.item()))
        if routers_factor(model) is not None:
            golden.write_tensors(folder / "grads.safetensors", gradients(model))
            routers(model, ids, entry, folder)
        else:
            named = dict(model.named_parameters())
            golden.write_tensors(folder / "grads.safetensors", {k: p.grad for k, p in named.items()})
        entry["config"] = json.loads((folder / "config.json").read_text())["model_type"]
        report[name] = entry
    about = "float32, eager attention; logits[t]: row after ids[..t]; loss: mean of -log p of ids[from..]"
    golden.write_json(
        options.out / "families.json", {"about": about, "packages": golden.versions("torch", "transformers"), **report}
    )


if __name__ == "__main__":
    main()
