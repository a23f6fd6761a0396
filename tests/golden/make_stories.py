# SPDX-License-Identifier: BSL-1.0
"""The real model, stories260k: logits, log-probs, greedy text, ids; PEFT adapters; SFT and DPO losses and gradients."""

import peft
import tokenizers
import torch

import golden

TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "Tom had a big red ball. He liked to play with it in the park every day.",
    'The cat sat on the mat and looked at the bird outside the window. "I want to play with you," said the cat.',
    (
        "One day, a boy went to the store with his mom. They saw a dog and a cat. The boy was very happy because he"
        " loved animals, and his mom let him pet the dog. Then they went home and had a nice dinner together."
    ),
]
TOKENIZER_TEXTS = TEXTS + [
    "",
    " ",
    "a",
    "   three spaces",
    "trailing space ",
    "two  spaces",
    "line\nbreak",
    "tab\there",
    "Zebra QUARTZ 12345 #@!",
    "café naïve",
    "日本語のテキスト",
    "🙂 emoji 👩‍👩‍👧",
    "<s>not special?</s>",
    "\u2581already marked",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    'He said: "Let\'s go!"',
]
PROMPTS = ["Once upon a time", "The little dog", "Lily and Tom were"]
PAIRS = [
    ("Once upon a time, there was a", " little girl named Lily. She loved to play.", " rock."),
    (
        (
            "The dog was sad. His friend came to see him and they played together in the park until the sun went down."
            " Then the dog said"
        ),
        ', "Thank you, my friend!"',
        " no no no no no no and ran into the dark wood alone.",
    ),
    ("Tom saw a big", " c", " box and it was not good at all"),
]


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    hf, out = options.data / "stories260k/hf", options.out
    tokenizer = tokenizers.Tokenizer.from_file(str(hf / "tokenizer.json"))
    packages = golden.versions("torch", "transformers", "peft", "tokenizers")
    encode = lambda text: tokenizer.encode(text).ids  # noqa: E731  (adds the beginning-of-sequence token)

    # 1. The model as it is.
    single, double = golden.load_model(hf), golden.load_model(hf, torch.float64)
    cases, greedy = [], []
    with torch.no_grad():
        for text in TEXTS:
            ids = encode(text)
            positions = [len(ids) // 2, len(ids) - 1]
            with golden.exact_llama():
                exact = golden.token_logps(double, ids)
            table = golden.logits(single, ids)
            cases.append(
                {
                    "text": text,
                    "ids": ids,
                    "positions": positions,
                    "logits": golden.rows(table[positions]),
                    "logps": golden.rows(golden.token_logps(single, ids)),
                    "logps_f64": golden.rows(exact),
                }
            )
        for text in PROMPTS:
            ids, gap = encode(text), float("inf")
            prompt = len(ids)
            for _ in range(64):
                best = golden.logits(single, ids)[-1].topk(2)
                gap = min(gap, (best.values[0] - best.values[1]).item())
                ids.append(best.indices[0].item())
            cached = single.generate(
                input_ids=torch.tensor([ids[:prompt]]),
                attention_mask=torch.ones(1, prompt, dtype=torch.long),
                do_sample=False,
                max_new_tokens=64,
                min_new_tokens=64,
                pad_token_id=0,
                eos_token_id=None,
            )
            assert cached[0].tolist() == ids, "generate() with its cache and the plain loop disagree"
            greedy.append(
                {
                    "prompt": text,
                    "prompt_ids": ids[:prompt],
                    "completion_ids": ids[prompt:],
                    "smallest_gap": gap,
                    "text": tokenizer.decode(ids),
                }
            )
    golden.write_json(
        out / "stories_logits.json",
        {
            "about": (
                "stories260k in transformers, float32, eager attention; logits[i] is the row at positions[i]; logps[t]"
                " is log p(ids[t+1] | ids[..t]); greedy: argmax without stopping, smallest_gap = least difference"
                " between best and second logit; tokenizer: ids with special tokens added, ids_plain without, decoded"
                " leaves special tokens out"
            ),
            "packages": packages,
            "texts": cases,
            "greedy": greedy,
            "tokenizer": [
                {
                    "text": t,
                    "ids": encode(t),
                    "ids_plain": tokenizer.encode(t, add_special_tokens=False).ids,
                    "decoded": tokenizer.decode(encode(t)),
                }
                for t in TOKENIZER_TEXTS
            ],
        },
    )

    # 2. Adapters made and saved by PEFT.
    lora = dict(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none")
    base = lambda: golden.load_model(hf)  # noqa: E731
    for name, scale, options_of_saving, config in (
        ("stories_adapter", 0.07, {}, dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
        ("stories_adapter_all", 0.07, {}, dict(r=2, lora_alpha=3, use_rslora=True, target_modules="all-linear")),
        (
            "stories_adapter_head",
            0.1,
            {"save_embedding_layers": False},
            dict(r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"]),
        ),
    ):
        model = golden.attach(base(), peft.LoraConfig(**lora, **config), scale, seed=len(name))
        golden.save_adapter(model, out / name, "stories260k/hf", **options_of_saving)
    adapters = {}
    for name in ("stories_adapter", "stories_adapter_all", "stories_adapter_head"):
        single, double = (golden.load_adapter(hf, out / name, dtype) for dtype in (torch.float32, torch.float64))
        expected = []
        with torch.no_grad():
            for case in cases[:2] if name == "stories_adapter" else cases[:1]:
                with golden.exact_llama():
                    exact = golden.token_logps(double, case["ids"])
                table = golden.logits(single, case["ids"])
                expected.append(
                    {
                        "ids": case["ids"],
                        "positions": case["positions"],
                        "logits": golden.rows(table[case["positions"]]),
                        "logps": golden.rows(golden.token_logps(single, case["ids"])),
                        "logps_f64": golden.rows(exact),
                    }
                )
                assert (
                    exact.float() - torch.tensor(case["logps"])
                ).abs().max() > 1e-2, "the adapter changes nothing: the fixture would prove nothing"
        adapters[name] = expected
    golden.write_json(
        out / "stories_lora.json",
        {
            "about": (
                "stories260k with the PEFT adapter of the folder of that name, float32; fields as in"
                " stories_logits.json"
            ),
            "packages": packages,
            **adapters,
        },
    )

    # 3. Losses and every LoRA gradient.
    pairs = []
    for prompt, chosen, rejected in PAIRS:
        whole = {which: encode(prompt + reply) for which, reply in (("chosen", chosen), ("rejected", rejected))}
        ids = encode(prompt)
        assert all(
            whole[w][: len(ids)] == ids for w in whole
        ), "the prompt's ids must begin the ids of prompt and reply"
        pairs.append(
            {
                "prompt_ids": ids,
                "chosen_ids": whole["chosen"][len(ids) :],
                "rejected_ids": whole["rejected"][len(ids) :],
            }
        )
    assert len(pairs[2]["chosen_ids"]) == 1
    losses = {
        "sft": lambda m: (golden.sft_loss(m, pairs), None),
        "dpo": lambda m: golden.dpo_loss(m, pairs),
        "cdpo": lambda m: golden.dpo_loss(m, pairs, label_smoothing=0.1),
    }
    report = {}
    for name, loss in losses.items():
        result, gradient = {}, {}
        for tag, dtype in (("f32", torch.float32), ("f64", torch.float64)):
            model = golden.load_adapter(hf, out / "stories_adapter", dtype)
            with golden.exact_llama(dtype == torch.float64):
                value, details = loss(model)
                gradient[tag] = golden.adapter_gradients(model, value)
            result["loss_" + tag] = value.item()
            if tag == "f64" and details:
                result["pairs"] = details
        result["f32_gradient_differs_by"] = golden.relative_difference(gradient["f32"], gradient["f64"])
        result["gradient_norm"] = torch.cat([g.flatten() for g in gradient["f64"].values()]).norm().item()
        check_by_differences(hf, out / "stories_adapter", loss, gradient["f64"])
        golden.write_tensors(out / f"stories_grads_{name}.safetensors", gradient["f64"])
        report[name] = result
    golden.write_json(
        out / "stories_losses.json",
        {
            "about": (
                "adapter stories_adapter; sft: mean of -log p over all chosen tokens of the batch; dpo: beta 0.1, mean"
                " over pairs, reference = adapter off; cdpo: the same with label_smoothing 0.1; gradients in float64 in"
                " stories_grads_{sft,dpo,cdpo}.safetensors"
            ),
            "packages": packages,
            "beta": 0.1,
            "pairs": pairs,
            **report,
        },
    )


def check_by_differences(hf, adapter, loss, gradient):
    """Central differences of the float64 loss for one number of each of three tensors; a wrong number must be
    noticed."""
    model = golden.load_adapter(hf, adapter, torch.float64)
    named = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    with golden.exact_llama(), torch.no_grad():
        for key in sorted(named)[::7]:
            place, step = named[key].numel() // 3, 1e-5
            number = named[key].flatten()[place].item()
            sides = []
            for sign in (1, -1):
                named[key].view(-1)[place] = number + sign * step
                sides.append(loss(model)[0].item())
            named[key].view(-1)[place] = number
            slope, scale = (sides[0] - sides[1]) / (2 * step), gradient[key].abs().max().item()
            found = gradient[key].flatten()[place].item()
            assert abs(slope - found) < 1e-6 * scale + 1e-9, (key, slope, found)
            assert abs(slope - 1.01 * found - 1e-3 * scale) > 1e-6 * scale + 1e-9, "the check is blind"


if __name__ == "__main__":
    main()
