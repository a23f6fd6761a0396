# SPDX-License-Identifier: BSL-1.0
"""Single replies with labels on stories260k: kto with its baseline from mismatched replies, bco with its running mean,
apo_zero_unpaired; losses, and gradients of every LoRA number, transcribed from the papers with torch."""

import json

import golden
import torch

ROWS = [
    ("Once upon a time, there was a", " little girl named Lily. She loved to play.", True),
    ("The cat sat on the", " no no no no and ran into the dark wood alone.", False),
    ("One day, a boy went to", " the park", True),
    ("Lily and Tom were", " the park", False),
    ("The dog was sad. Then the dog said", ' "Thank you, my friend!"', True),
    ("Tom saw a big", " box and it was not good at all", False),
]
BETA, DESIRABLE, UNDESIRABLE = 0.2, 1.0, 1.25


def mismatched(rows):
    """For each row the reply of the row before it (of the first, the last), or the nearest before that that differs."""
    out = []
    for i, row in enumerate(rows):
        others = [rows[(i - back) % len(rows)]["completion_ids"] for back in range(1, len(rows))]
        out.append(
            {
                "prompt_ids": row["prompt_ids"],
                "completion_ids": next(o for o in others if o != row["completion_ids"]),
            }
        )
    return out


def log_ratio(model, row):
    """(log π − log π_ref, log π) of the completion; the reference is the adapter switched off."""
    policy = golden.reply_logps(model, row, "completion").sum()
    with torch.no_grad(), model.disable_adapter():
        reference = golden.reply_logps(model, row, "completion").sum()
    return policy - reference, policy


def measured(model, rows):
    """The mean log-ratio of mismatched replies, a number; a row's own `kl` instead of its mismatched one."""
    with torch.no_grad():
        each = [
            torch.tensor(row["kl"], dtype=torch.float64) if "kl" in row else log_ratio(model, other)[0].double()
            for row, other in zip(rows, mismatched(rows))
        ]
    return torch.stack(each).mean().item()


def kto(model, rows):
    baseline = max(0.0, measured(model, rows))
    losses = []
    for row in rows:
        s, _ = log_ratio(model, row)
        if row["label"]:
            losses.append(DESIRABLE * (1 - torch.sigmoid(BETA * (s - baseline))))
        else:
            losses.append(UNDESIRABLE * (1 - torch.sigmoid(BETA * (baseline - s))))
    return torch.stack(losses).mean()


def bco(model, rows):
    ratios = [log_ratio(model, row)[0] for row in rows]
    delta = BETA * torch.stack(ratios).mean().item()  # the running mean after its first update
    losses = [
        -torch.nn.functional.logsigmoid((BETA * s - delta) * (1 if row["label"] else -1))
        for s, row in zip(ratios, rows)
    ]
    return torch.stack(losses).mean()


def apo_zero_unpaired(model, rows):
    losses = []
    for row in rows:
        p = torch.sigmoid(BETA * log_ratio(model, row)[0])
        losses.append(1 - p if row["label"] else p)
    return torch.stack(losses).mean()


def main():
    import tokenizers

    options = golden.arguments(__doc__)
    golden.setup()
    hf, out = options.data / "stories260k/hf", options.out
    tokenizer = tokenizers.Tokenizer.from_file(str(hf / "tokenizer.json"))
    rows = []
    for prompt, completion, label in ROWS:
        ids, whole = tokenizer.encode(prompt).ids, tokenizer.encode(prompt + completion).ids
        assert whole[: len(ids)] == ids, "the prompt's ids must begin the ids of prompt and reply"
        rows.append({"prompt_ids": ids, "completion_ids": whole[len(ids) :], "label": label})
    assert rows[2]["completion_ids"] == rows[3]["completion_ids"], "two rows must share a reply"
    given = [row | ({"kl": 2.5 - i} if i < 2 else {}) for i, row in enumerate(rows)]
    low = [row | {"kl": -1.5} for row in rows]
    cases = {
        "kto": (kto, rows, {}),
        "kto_given": (kto, given, {}),
        "kto_low": (kto, low, {}),
        "bco": (bco, rows, {}),
        "apo_zero_unpaired": (apo_zero_unpaired, rows, {}),
    }
    report, gradients = {}, {}
    for name, (loss, data, _) in cases.items():
        found = {}
        for tag, dtype in (("f32", torch.float32), ("f64", torch.float64)):
            model = golden.load_adapter(hf, out / "stories_adapter", dtype)
            with golden.exact_llama(dtype == torch.float64):
                value = loss(model, data)
                found[tag] = golden.adapter_gradients(model, value)
                if tag == "f64":
                    baseline = measured(model, data)
                    ratios = [log_ratio(model, row)[0].item() for row in data]
            found["loss_" + tag] = value.item()
        report[name] = {
            "rows": data,
            "loss_f32": found["loss_f32"],
            "loss_f64": found["loss_f64"],
            "kl": baseline,
            "log_ratios": ratios,
            "f32_gradient_differs_by": golden.relative_difference(found["f32"], found["f64"]),
        }
        gradients |= {f"{name}/{key}": value.float() for key, value in found["f64"].items()}
    assert report["kto"]["kl"] > 0.05 and report["kto_low"]["kl"] < 0, json.dumps({k: v["kl"] for k, v in report.items()})
    golden.write_tensors(out / "stories_single_replies.safetensors", gradients)
    golden.write_json(
        out / "stories_single_replies.json",
        {
            "about": (
                "adapter stories_adapter, reference = adapter off, beta 0.2, undesirable 1.25; kl: mean log-ratio of"
                " mismatched replies (or the rows' own), before it is held at 0; loss: mean over rows; gradients of the"
                " float64 run in stories_single_replies.safetensors under case/key"
            ),
            "packages": golden.versions("torch", "transformers", "peft", "tokenizers"),
            "beta": BETA,
            "undesirable": UNDESIRABLE,
            **report,
        },
    )


if __name__ == "__main__":
    main()
