# SPDX-License-Identifier: BSL-1.0
"""Beam search, penalties and the filters of top k, top p and min p as transformers' generate() computes them, on the tiny models of families/."""

import torch
import transformers

import golden

CASES = []
for family in ("qwen3", "mistral", "llama_llama3", "olmo2", "gpt2"):
    CASES.append({"family": family, "beams": 4, "length_penalty": 1.0, "max_tokens": 12, "eos": [2]})
    CASES.append({"family": family, "beams": 3, "length_penalty": 0.5, "max_tokens": 16, "eos": [2, 31, 45, 7, 12]})
    CASES.append({"family": family, "beams": 5, "length_penalty": 2.0, "max_tokens": 9, "eos": [2, 5, 9, 14, 33, 50]})
    CASES.append({"family": family, "repetition_penalty": 1.3, "max_tokens": 20, "eos": [2]})


def kept_tokens():
    """What transformers' filters leave of random logits, and with which probabilities."""
    out = []
    for temperature in (0.5, 1.0, 1.7):
        for top_k, top_p, min_p in ((0, 1.0, 0.0), (5, 1.0, 0.0), (0, 0.7, 0.0), (0, 0.05, 0.0), (0, 1.0, 0.1), (8, 0.8, 0.0), (0, 0.9, 0.3), (12, 0.95, 0.05)):
            generator = torch.Generator().manual_seed(100 + len(out))
            logits = (torch.randn(1, 24, generator=generator, dtype=torch.float64) * 2).round(decimals=3)
            z = logits / temperature
            for use, warper in ((top_k > 0, "TopKLogitsWarper"), (top_p < 1, "TopPLogitsWarper"), (min_p > 0, "MinPLogitsWarper")):
                if use:
                    value = {"TopKLogitsWarper": top_k, "TopPLogitsWarper": top_p, "MinPLogitsWarper": min_p}[warper]
                    z = getattr(transformers, warper)(value)(None, z)
            kept = torch.isfinite(z[0]).nonzero()[:, 0]
            out.append({"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "logits": logits[0].tolist(), "kept": kept.tolist(),
                        "probabilities": [round(x, 9) for x in z[0].softmax(0)[kept].tolist()]})
    return out


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    out = []
    for i, case in enumerate(CASES):
        model = golden.load_model(golden.HERE / "families" / case["family"])
        generator = torch.Generator().manual_seed(50 + i)
        prompt = [1] + torch.randint(3, 61, (5,), generator=generator).tolist()
        common = {
            "max_new_tokens": case["max_tokens"],
            "do_sample": False,
            "eos_token_id": case["eos"],
            "pad_token_id": 0,
            "return_dict_in_generate": True,
            "output_scores": True,
        }
        ids = torch.tensor([prompt])
        if "beams" in case:
            result = model.generate(
                ids,
                num_beams=case["beams"],
                num_return_sequences=case["beams"],
                length_penalty=case["length_penalty"],
                early_stopping=False,
                **common,
            )
            replies = []
            for row in result.sequences[:, len(prompt) :].tolist():
                ends = [k for k, t in enumerate(row) if t in case["eos"]]
                replies.append(row[: ends[0] + 1] if ends else row)
            case = {**case, "replies": replies, "scores": [float(str(x)) for x in result.sequences_scores.tolist()]}
        else:
            result = model.generate(ids, repetition_penalty=case["repetition_penalty"], **common)
            case = {**case, "replies": [result.sequences[0, len(prompt) :].tolist()]}
        out.append({**case, "prompt": prompt})
    about = "replies without prompt, best first, cut after the first end of text; scores: sum of log p / tokens^penalty"
    golden.write_json(
        options.out / "generation.json",
        {"about": about, "packages": golden.versions("torch", "transformers"), "cases": out, "kept": kept_tokens()},
    )


if __name__ == "__main__":
    main()
