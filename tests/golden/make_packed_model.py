# SPDX-License-Identifier: BSL-1.0
"""A small Llama in bitsandbytes' files, NF4 with second quantisation and LLM.int8, with a PEFT adapter.

packed/nf4, packed/int8   folders as transformers writes them (keys, quantization_config), weights of the linear maps packed
packed/adapter            a PEFT adapter on all of them
packed/results.safetensors  logits, and the adapter's gradients of the SFT loss, by transformers and PEFT on the unpacked
                            weights: computed in double, so that nothing but the rounded weights is in them
Needs bitsandbytes beside torch, transformers and peft.
"""

import json
import shutil

import bitsandbytes.functional as F
import peft
import torch
import transformers

import golden
from make_packed import four_bits

IDS = [1, 17, 3, 40, 22, 5, 9, 31, 2]
PAIR = {"prompt_ids": IDS[:3], "chosen_ids": IDS[3:]}


def pack_int8(weight):
    stats = weight.abs().max(1).values
    codes = torch.round(weight * (127.0 / stats.unsqueeze(-1))).to(torch.int8)
    return codes, stats


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    out = options.out / "packed"
    out.mkdir(exist_ok=True)
    config = transformers.LlamaConfig(
        vocab_size=48, hidden_size=64, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=False, max_position_embeddings=64,
        bos_token_id=1, eos_token_id=2,
    )
    torch.manual_seed(11)
    plain = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in plain.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.15 + (1 if "norm" in name else 0))
    results = {}
    for kind in ("nf4", "int8"):
        tensors, unpacked = {}, {}
        for name, w in plain.state_dict().items():
            if "_proj" not in name:
                tensors[name] = unpacked[name] = w
            elif kind == "nf4":
                codes, state = four_bits(w)
                tensors[name] = codes
                tensors |= {f"{name}.{k}": v.clone() for k, v in state.as_dict(packed=True).items()}
                unpacked[name] = F.dequantize_4bit(codes, state)
            else:
                codes, stats = pack_int8(w)
                stem = name.removesuffix("weight")
                tensors |= {name: codes, stem + "SCB": stats, stem + "weight_format": torch.tensor(0, dtype=torch.uint8)}
                unpacked[name] = F.int8_vectorwise_dequant(codes, stats)
        folder = out / kind
        shutil.rmtree(folder, ignore_errors=True)
        config.save_pretrained(folder)
        stored = json.loads((folder / "config.json").read_text())
        stored["quantization_config"] = {
            "quant_method": "bitsandbytes", "load_in_4bit": kind == "nf4", "load_in_8bit": kind == "int8",
            "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        }
        (folder / "config.json").write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
        golden.write_tensors(folder / "model.safetensors", tensors)
        model = transformers.LlamaForCausalLM(config)
        model.load_state_dict(unpacked)
        lora = peft.LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
        adapted = golden.attach(model, lora, 0.2, 5)
        if kind == "nf4":
            golden.save_adapter(adapted, out / "adapter", "nf4")
        with golden.exact_llama():
            adapted = adapted.double()
            with adapted.disable_adapter():
                results[kind + ".logits"] = golden.logits(adapted, IDS).detach()
            results[kind + ".adapted"] = golden.logits(adapted, IDS).detach()
            loss = golden.sft_loss(adapted, [PAIR])
            results[kind + ".loss"] = loss.detach().reshape(1)
            gradients = golden.adapter_gradients(adapted, loss)
        results |= {f"{kind}.{k}": v for k, v in gradients.items()}
    golden.write_tensors(out / "results.safetensors", results)


main()
