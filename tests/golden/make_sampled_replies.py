# SPDX-License-Identifier: BSL-1.0
"""Sampled and ranked replies on stories260k: grpo and ppo's policy loss on given advantages, with and without the
sampler's log-probs, dpo_pl over three replies; losses, and gradients of every LoRA number, with torch."""

import golden
import torch

ROWS = [
    ("Once upon a time, there was a", " little girl named Lily.", 1.5),
    ("Tom saw a big", " box and it was not good at all", -0.75),
    ("One day, a boy went to", " the park", 0.25),
]
RANKED = [
    ("Once upon a time, there was a", [" little girl named Lily. She loved to play.", " dog", " rock."]),
    ("Tom saw a big", [" box and it was not good at all", " c", " dog. He", " no no"]),
]
CLIP, CLIP_HIGH, KL_WEIGHT, BETA = 0.2, 0.28, 0.3, 0.2


def logps(model, row):
    """[tokens] under the policy, and under the reference: the adapter switched off."""
    policy = golden.reply_logps(model, row, "completion")
    with torch.no_grad(), model.disable_adapter():
        reference = golden.reply_logps(model, row, "completion")
    return policy, reference


def surrogate(policy, old, advantage, low, high):
    ratio = (policy - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def parts(model, row):
    policy, reference = logps(model, row)
    old = torch.tensor(row["old"], dtype=policy.dtype) if "old" in row else policy.detach()
    return policy, reference, old, torch.tensor(row["advantage"], dtype=policy.dtype)


def grpo(model, rows):
    """Mean over replies of the mean over tokens, with k3 of the reference."""
    losses = []
    for row in rows:
        policy, reference, old, advantage = parts(model, row)
        gap = reference - policy
        each = surrogate(policy, old, advantage, CLIP, CLIP_HIGH) + KL_WEIGHT * (gap.exp() - 1 - gap)
        losses.append(each.mean())
    return torch.stack(losses).mean()


def ppo(model, rows):
    """The policy's part: mean over all tokens."""
    each = []
    for row in rows:
        policy, _, old, advantage = parts(model, row)
        each.append(surrogate(policy, old, advantage, CLIP, CLIP))
    return torch.cat(each).mean()


def dpo_pl(model, rows):
    losses = []
    for row in rows:
        scores = []
        for ids in row["completions_ids"]:
            policy, reference = logps(model, {"prompt_ids": row["prompt_ids"], "completion_ids": ids})
            scores.append(BETA * (policy - reference).sum())
        scores = torch.stack(scores)
        losses.append(sum(scores[k:].logsumexp(0) - scores[k] for k in range(len(scores) - 1)))
    return torch.stack(losses).mean()


def main():
    import tokenizers

    options = golden.arguments(__doc__)
    golden.setup()
    hf, out = options.data / "stories260k/hf", options.out
    tokenizer = tokenizers.Tokenizer.from_file(str(hf / "tokenizer.json"))

    def ids_of(prompt, reply):
        ids, whole = tokenizer.encode(prompt).ids, tokenizer.encode(prompt + reply).ids
        assert whole[: len(ids)] == ids, "the prompt's ids must begin the ids of prompt and reply"
        return ids, whole[len(ids) :]

    fresh = []
    for prompt, reply, advantage in ROWS:
        ids, own = ids_of(prompt, reply)
        fresh.append({"prompt_ids": ids, "completion_ids": own, "advantage": advantage})
    model = golden.load_adapter(hf, out / "stories_adapter")
    stale = []  # an older sampler, off by up to 0.5 nats, so that some ratios are clipped; advantages token by token
    for k, row in enumerate(fresh):
        with torch.no_grad():
            policy, _ = logps(model, row)
        count = len(policy)
        off = [0.5 * (((7 * i + 3 * k) % 11) / 5 - 1) for i in range(count)]
        stale.append(
            row
            | {
                "old": [round(p - d, 6) for p, d in zip(policy.tolist(), off)],
                "advantage": [round(row["advantage"] * (1 - 0.1 * (i % 4)), 6) for i in range(count)],
            }
        )
    ranked = []
    for prompt, replies in RANKED:
        both = [ids_of(prompt, reply) for reply in replies]
        ranked.append({"prompt_ids": both[0][0], "completions_ids": [own for _, own in both]})
    cases = {
        "grpo_fresh": (grpo, fresh),
        "grpo": (grpo, stale),
        "ppo": (ppo, stale),
        "dpo_pl": (dpo_pl, ranked),
    }
    report, gradients = {}, {}
    for name, (loss, data) in cases.items():
        model = golden.load_adapter(hf, out / "stories_adapter", torch.float64)
        with golden.exact_llama():
            value = loss(model, data)
            found = golden.adapter_gradients(model, value)
        report[name] = {"rows": data, "loss": value.item()}
        gradients |= {f"{name}/{key}": each.float() for key, each in found.items()}
    golden.write_tensors(out / "stories_sampled_replies.safetensors", gradients)
    golden.write_json(
        out / "stories_sampled_replies.json",
        {
            "about": (
                "adapter stories_adapter, reference = adapter off; grpo: clip 0.2, clip_high 0.28, kl_weight 0.3 (k3);"
                " ppo: clip 0.2, value_weight 0; dpo_pl: beta 0.2; float64; gradients under case/key in"
                " stories_sampled_replies.safetensors"
            ),
            "packages": golden.versions("torch", "transformers", "peft", "tokenizers"),
            **report,
        },
    )


if __name__ == "__main__":
    main()
