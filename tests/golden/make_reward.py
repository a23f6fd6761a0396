# SPDX-License-Identifier: BSL-1.0
"""Score heads on stories260k: transformers' LlamaForSequenceClassification with one label under PEFT (SEQ_CLS).

Scores of replies, and loss and gradients of Bradley–Terry, regression, a process reward model and a critic.
"""

import peft
import torch
import transformers

import golden

PAIRS = [
    {"prompt_ids": [1, 403, 407], "chosen_ids": [261, 378, 300, 286], "rejected_ids": [411, 262], "margin": 0.5},
    {"prompt_ids": [1, 317, 280, 431], "chosen_ids": [268], "rejected_ids": [290, 432, 279, 266, 416], "margin": 0.0},
    {"prompt_ids": [1], "chosen_ids": [299, 301, 433], "rejected_ids": [300, 2, 2], "margin": 1.25},
]
RATINGS = [3.0, 1.0, -0.5, 0.25, 2.0, 0.0]  # chosen and rejected of each pair
LABELS = [[None, 1.0, None, 0.0], [0.3], [None, None, 1.0]]  # steps of the chosen replies
RETURNS = [[0.1, 0.2, 0.3, 1.0], [0.7], [-0.4, 0.0, 0.4]]


def load(hf, dtype=torch.float32):
    model = transformers.LlamaForSequenceClassification.from_pretrained(
        hf, dtype=torch.float32, num_labels=1, attn_implementation="eager", local_files_only=True
    )
    return model.to(dtype).eval()


def states_score(model, ids):
    """The head's number for every position, [positions]."""
    inner = model.get_base_model()
    hidden = inner.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
    return inner.score(hidden)[0, :, 0]


def losses(model):
    whole = lambda pair, which: pair["prompt_ids"] + pair[which + "_ids"]  # noqa: E731
    bt, regression, process, value = [], [], [], []
    for i, pair in enumerate(PAIRS):
        # pad_token_id must be set for batches; a single sequence without padding is scored at its last token
        chosen, rejected = (states_score(model, whole(pair, w))[-1] for w in ("chosen", "rejected"))
        bt.append(
            -torch.nn.functional.logsigmoid(chosen - rejected - pair["margin"]) + 0.01 * (chosen + rejected).square()
        )
        regression += [(chosen - RATINGS[2 * i]).square(), (rejected - RATINGS[2 * i + 1]).square()]
        scores, start = states_score(model, whole(pair, "chosen")), len(pair["prompt_ids"])
        for t, (label, ret) in enumerate(zip(LABELS[i], RETURNS[i])):
            if label is not None:
                process.append(
                    torch.nn.functional.binary_cross_entropy_with_logits(
                        scores[start + t], torch.tensor(label, dtype=scores.dtype)
                    )
                )
            value.append(0.5 * (scores[start + t - 1] - ret).square())  # V(x, y_<t) reads the row before y_t
    all_terms = dict(bt=bt, regression=regression, process=process, value=value)
    return {name: torch.stack(terms).mean() for name, terms in all_terms.items()}


def records():
    """Losses and slopes of the three objectives on numbers, by torch's autograd in float64: means over the records."""
    functional, cases = torch.nn.functional, []

    def add(name, parameters, rows, formula):
        scores = [torch.tensor(row["scores"], dtype=torch.float64, requires_grad=True) for row in rows]
        losses = [formula(s, row) for s, row in zip(scores, rows)]
        total = torch.stack(losses).mean()
        total.backward()
        cases.append(
            {
                "objective": name,
                "parameters": parameters,
                "records": rows,
                "losses": [x.item() for x in losses],
                "slopes": [s.grad.tolist() for s in scores],
                "total": total.item(),
            }
        )

    pairs = [
        {"scores": [1.2, 0.7], "margin": 0.3},
        {"scores": [-2.0, 1.5], "margin": -0.5},
        {"scores": [0.0, 0.0], "margin": 0.0},
        {"scores": [40.0, -35.0], "margin": 2.0},
        {"scores": [-900.0, 800.0], "margin": 1.0},
    ]
    sigmoid_loss = lambda z: -functional.logsigmoid(z)  # noqa: E731
    centred = lambda s: 0.01 * s.sum().square()  # noqa: E731
    for use, formula in (
        ("subtract", lambda s, row: sigmoid_loss(s[0] - s[1] - row["margin"])),
        ("scale", lambda s, row: abs(row["margin"]) * sigmoid_loss(s[0] - s[1])),
        ("ignore", lambda s, row: sigmoid_loss(s[0] - s[1])),
    ):
        add("reward", {"use_margin": use, "centre": 0.01}, pairs, lambda s, row, f=formula: f(s, row) + centred(s))
    labelled = [
        {"scores": [s], "target": y} for s, y in ((0.5, 1.0), (-3.0, 0.25), (0.0, 0.0), (700.0, 0.0), (-700.0, 0.75))
    ]
    target = lambda row: torch.tensor([row["target"]], dtype=torch.float64)  # noqa: E731
    add("reward_regression", {}, labelled, lambda s, row: functional.mse_loss(s, target(row)))
    add(
        "process_reward",
        {},
        labelled,
        lambda s, row: functional.binary_cross_entropy_with_logits(s, target(row)),
    )
    return cases


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    hf, folder = options.data / "stories260k/hf", options.out / "stories_reward"
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    made = golden.attach(load(hf), config, 0.07, seed=17)
    golden.save_adapter(made, folder, "stories260k/hf")

    def again(dtype):
        return peft.PeftModel.from_pretrained(load(hf), folder, is_trainable=True).to(dtype).eval()

    single, double = again(torch.float32), again(torch.float64)
    rename = lambda key: key.replace(".modules_to_save", "")  # noqa: E731
    report, gradients = {}, {}
    for name in ("bt", "regression", "process", "value"):
        with golden.exact_llama():
            loss = losses(double)[name]
            double.zero_grad()
            loss.backward()
        report[name] = loss.item()
        for key, p in double.named_parameters():
            if p.requires_grad:
                gradients[name + ":" + rename(key.replace(".default", ""))] = p.grad.detach().clone()
    with torch.no_grad():
        scores = [
            {
                w: single(input_ids=torch.tensor([pair["prompt_ids"] + pair[w + "_ids"]])).logits[0, 0].item()
                for w in ("chosen", "rejected")
            }
            for pair in PAIRS
        ]
        for pair, score in zip(PAIRS, scores):  # transformers' own choice of the last token is the one made here
            own = states_score(single, pair["prompt_ids"] + pair["chosen_ids"])[-1].item()
            assert abs(own - score["chosen"]) < 1e-6
    assert any(g.abs().max() > 1e-3 for g in gradients.values())
    golden.write_tensors(options.out / "stories_reward_grads.safetensors", gradients)
    golden.write_json(
        options.out / "stories_reward.json",
        {
            "about": (
                "stories260k as LlamaForSequenceClassification (num_labels 1) with the PEFT adapter stories_reward;"
                " scores: float32 logits of prompt + reply; losses in float64: bt (margin, centre 0.01), regression on"
                " ratings (chosen, rejected of each pair), process (cross-entropy at labelled tokens of chosen replies)"
                ", value (half squared error of the row before each token of the chosen replies); gradients:"
                " stories_reward_grads, keys loss:PEFT key"
            ),
            "packages": golden.versions("torch", "transformers", "peft"),
            "pairs": PAIRS,
            "ratings": RATINGS,
            "labels": LABELS,
            "returns": RETURNS,
            "scores": scores,
            "losses": report,
        },
    )
    golden.write_json(
        options.out / "objectives_rewards.json",
        {
            "about": "losses of records of scores, the mean of each case and its slopes by score, in float64",
            "packages": golden.versions("torch"),
            "cases": records(),
        },
    )


if __name__ == "__main__":
    main()
