# SPDX-License-Identifier: BSL-1.0
"""Values, slopes and metrics of the objectives on sampled tokens and replies, and of the pair objectives that look at
the whole batch: torch float64 and autograd.

Tokens are laid out as a padded matrix [replies, longest], as trainers in Python do, and each loss is written on that
matrix from its definition. Where TRL has the formula (GRPOTrainer._compute_loss, A2POTrainer.compute_loss), TRL's own
code is run on the same matrix and must agree to 1e-12 in loss, slopes and metrics.
"""

import collections
import random
import types

import torch

import golden
from make_objectives import PAIRS, pair

log_sigmoid = torch.nn.functional.logsigmoid
LIMIT = 40.0  # ratios are held at e^40


def tokens():
    """Six replies of one to seven tokens; two of them have tokens that do not count, one is interleaved with another."""
    draw = random.Random(5)
    rows = []
    for sequence, length in enumerate((3, 1, 7, 4, 5, 2)):
        advantage = draw.choice((-1.25, -0.5, 0.0, 0.75, 1.5)) if sequence else 1.0
        for t in range(length):
            logp = -draw.uniform(0.01, 5)
            rows.append(
                {
                    "logp": logp,
                    "ref": logp + draw.gauss(0, 0.4),
                    "old": logp if sequence == 3 else logp + draw.gauss(0, 0.35),
                    "advantage": advantage + (0.25 * draw.gauss(0, 1) if sequence == 4 else 0),
                    "value": draw.gauss(0, 1),
                    "old_value": draw.gauss(0, 0.6),
                    "return": draw.gauss(0, 1),
                    "entropy": draw.uniform(0, 3),
                    "mask": not (sequence in (2, 4) and t % 3 == 1),
                    "sequence": sequence,
                }
            )
    rows[4:12] = rows[4:12:2] + rows[5:12:2]
    return with_sums(rows)


def with_sums(rows):
    """What the head adds up over the vocabulary: a divergence and an entropy, both at least 0, some exactly 0."""
    for i, row in enumerate(rows):
        row |= {"sequential_kl": 0.07 * (7 * i % 11), "statistic": 0.4 * (5 * i % 9)}
    return rows


def extremes():
    """Log-ratios of ±1e4 against all signs of the advantage, in replies of one token."""
    rows = []
    for logp, old in ((-1e4, -0.5), (-0.5, -1e4), (-30.0, -0.25), (-0.25, -30.0), (0.0, 0.0), (-3.0, -3.0)):
        for advantage in (-2.0, 0.0, 2.0):
            rows.append({"logp": logp, "ref": old, "old": old, "advantage": advantage, "sequence": len(rows)})
            rows[-1] |= {"value": 1e4 * advantage, "old_value": -1e4, "return": 0.5, "entropy": 0.0, "mask": True}
    return with_sums(rows)


TOKENS = {"tokens": tokens(), "extreme_tokens": extremes()}
KEYS = ("logp", "ref", "old", "advantage", "value", "old_value", "return", "entropy", "sequential_kl", "statistic")


def matrix(rows):
    """Each field as [replies, longest]; padding is 0 and masked. The place of each row in it."""
    places, lengths = [], collections.Counter()
    for r in rows:
        places.append((r["sequence"], lengths[r["sequence"]]))
        lengths[r["sequence"]] += 1
    shape = (len(lengths), max(lengths.values()))
    out = types.SimpleNamespace(mask=torch.zeros(shape, dtype=torch.float64), places=places)
    for key in KEYS:
        table = torch.zeros(shape, dtype=torch.float64)
        for r, place in zip(rows, places, strict=True):
            table[place] = r[key]
        setattr(out, "ret" if key == "return" else key, table)
    for r, place in zip(rows, places, strict=True):
        out.mask[place] = float(r["mask"])
    for key in ("logp", "value", "entropy", "sequential_kl", "statistic"):
        getattr(out, key).requires_grad_(True)
    return out


def ratio(d):
    return torch.exp(torch.clamp(d, max=LIMIT))


def kl(m, estimator):
    d = m.logp - m.ref
    k3 = torch.exp(torch.clamp(-d, max=LIMIT)) - 1 + d
    k2 = d**2 / 2
    if estimator == "k3_plus":
        return k3.detach() + k2 - k2.detach()
    return {"k1": d, "k2": k2, "k3": k3}[estimator]


def clipped(rho, a, low, high):
    return -torch.minimum(rho * a, torch.clamp(rho, 1 - low, 1 + high) * a)


def token_mean(loss, m):
    return (loss * m.mask).sum() / m.mask.sum()


def reply_mean(loss, m):
    return ((loss * m.mask).sum(1) / m.mask.sum(1)).mean()


def constant(length):
    return lambda loss, m: (loss * m.mask).sum() / (len(m.mask) * length)


def with_kl(loss, m, s):
    weight = s.get("kl_weight", 0)
    return loss + weight * kl(m, s.get("kl_estimator", "k3")) if weight else loss


def group_relative(low, high):
    """grpo, dapo, dr_grpo: (token losses, metrics)."""

    def loss(m, s):
        rho, a = ratio(m.logp - m.old), m.advantage
        e = s.get("clip", low)
        e_high = s.get("clip_high", high) or e
        below, over = (rho < 1 - e) & (a < 0), (rho > 1 + e_high) & (a > 0)
        shares = {"low_mean": below, "high_mean": over, "region_mean": below | over}
        return with_kl(clipped(rho, a, e, e_high), m, s), {f"clip_ratio/{k}": v for k, v in shares.items()}

    return loss


def gspo(m, s):
    mean = ((m.logp - m.old) * m.mask).sum(1, keepdim=True) / m.mask.sum(1, keepdim=True)
    rho, a = ratio(mean), m.advantage
    e = s.get("clip", 0.2)
    e_high = s.get("clip_high", e)
    below, over = (rho < 1 - e) & (a < 0), (rho > 1 + e_high) & (a > 0)
    shares = {"low_mean": below, "high_mean": over, "region_mean": below | over}
    return with_kl(clipped(rho, a, e, e_high), m, s), {f"clip_ratio/{k}": v for k, v in shares.items()}


def cispo(m, s):
    weight = torch.clamp(ratio(m.logp - m.old), 1 - s.get("clip", 1.0), s.get("clip_high", 5.0)).detach()
    cut = (ratio(m.logp - m.old) > s.get("clip_high", 5.0)) & (m.advantage > 0)
    return with_kl(-weight * m.advantage * m.logp, m, s), {"cispo_clip_ratio": cut, "weight": weight}


def sapo(m, s):
    tau = torch.where(m.advantage > 0, s.get("temperature", 1.0), s.get("temperature_negative", 1.05))
    gate = torch.exp(log_sigmoid(tau * (ratio(m.logp - m.old) - 1)))
    return with_kl(-4 / tau * gate * m.advantage, m, s), {}


def ppo(m, s):
    rho, a, e = ratio(m.logp - m.old), m.advantage, s.get("clip", 0.2)
    first, second = -a * rho, -a * torch.clamp(rho, 1 - e, 1 + e)
    policy = torch.maximum(first, second)
    if s.get("dual_clip", 0):
        policy = torch.where(a < 0, torch.minimum(policy, -s["dual_clip"] * a), policy)
    metrics = {
        "policy/approxkl_avg": (m.logp - m.old) ** 2 / 2,
        "policy/clipfrac_avg": second > first,
        "val/ratio": rho,
        "loss/policy_avg": policy,
    }
    loss, c, e_v = policy, s.get("value_weight", 0.1), s.get("value_clip", 0.2)
    if c:
        free = (m.value - m.ret) ** 2
        held = (torch.clamp(m.value, m.old_value - e_v, m.old_value + e_v) - m.ret) ** 2
        loss = loss + c * torch.maximum(free, held) / 2
        metrics |= {"loss/value_avg": torch.maximum(free, held) / 2, "val/clipfrac_avg": held > free}
    return loss - s.get("entropy_weight", 0) * m.entropy, metrics


def dft(m, _):
    return -torch.exp(m.logp).detach() * m.logp, {}


def asft(m, s):
    alpha = s.get("alpha", 0.1)
    return dft(m, s)[0] + alpha * m.sequential_kl, {"sequential_kl": m.sequential_kl} if alpha else {}


def eaft(m, s):
    weight = (m.statistic.detach() / s.get("scale", 3.0)) ** s.get("alpha", 1.0)
    return -weight * m.logp, {"token_weight": weight}


def rho1(m, s):
    """The mean over valid tokens of the chosen ones, scaled so that it is the mean over those."""
    valid = m.mask > 0
    excess = (m.ref - m.logp).detach()[valid]
    n, k = len(excess), max(1, int(s.get("keep", 0.6) * len(excess)))
    chosen = torch.zeros(n, dtype=torch.float64)
    chosen[torch.sort(excess, descending=True, stable=True).indices[:k]] = n / k
    weight = torch.zeros(m.mask.shape, dtype=torch.float64)
    weight[valid] = chosen
    return -weight * m.logp, {}


def reinforce(m, _):
    return -m.advantage * m.logp, {"advantage": m.advantage}


def token_losses():
    """(name, settings, losses and metrics of the matrix, reduction)."""
    yield "dft", {}, dft, token_mean
    for s in ({}, {"alpha": 2.5}, {"alpha": 0.0}):
        yield "asft", s, asft, token_mean
    for s in ({}, {"alpha": 0.5, "scale": 2.0}, {"alpha": 2.0}, {"alpha": 0.0}):
        yield "eaft", s, eaft, token_mean
    for s in ({}, {"keep": 0.25}, {"keep": 1.0}, {"keep": 0.01}):
        yield "rho1", s, rho1, token_mean
    yield "reinforce", {}, reinforce, token_mean
    for s in (
        {},
        {"clip": 0.1, "value_clip": 0.4, "value_weight": 1.0, "entropy_weight": 0.01},
        {"dual_clip": 3.0},
        {"dual_clip": 1.1, "value_weight": 0.0, "clip": 0.05},
    ):
        yield "ppo", s, ppo, token_mean
    kls = ({"kl_weight": 0.04}, *({"kl_weight": 0.5, "kl_estimator": k} for k in ("k1", "k2", "k3", "k3_plus")))
    for name, loss, reduce in (
        ("grpo", group_relative(0.2, None), reply_mean),
        ("bnpo", group_relative(0.2, None), token_mean),
        ("dapo", group_relative(0.2, 0.28), token_mean),
        ("dr_grpo", group_relative(0.2, None), constant(512)),
        ("gspo", gspo, reply_mean),
    ):
        for s in ({}, {"clip": 0.1}, {"clip": 0.1, "clip_high": 0.4}, {"clip": 1.0, "clip_high": 0.01}, *kls):
            yield name, s, loss, reduce
        yield name, {"clip": 0.0003, "clip_high": 0.0004}, loss, reduce
    yield "dr_grpo", {"length": 7.0}, group_relative(0.2, None), constant(7)
    for s in ({}, {"clip": 0.2, "clip_high": 1.2}, *kls):
        yield "cispo", s, cispo, token_mean
    for s in ({}, {"temperature": 3.0, "temperature_negative": 5.0}, *kls):
        yield "sapo", s, sapo, reply_mean


SLOTS = {"ppo": ("logp", "value", "entropy"), "asft": ("logp", "sequential_kl"), "eaft": ("logp", "statistic")}


def token_case(name, settings, loss, reduce, key):
    rows = TOKENS[key]
    m = matrix(rows)
    losses, metrics = loss(m, settings)
    total = reduce(losses, m)
    total.backward()
    losses = losses.expand(m.mask.shape)

    def slope(t, place):
        return 0.0 if t.grad is None else t.grad[place].item()

    valid = m.mask > 0
    mean = lambda x: x.double().expand(m.mask.shape)[valid].mean().item()  # noqa: E731
    logged = {k: mean(v) for k, v in metrics.items()} | {"logps/mean": mean(m.logp), "entropy": mean(m.entropy)}
    if settings.get("kl_weight", 0):
        logged["kl"] = mean(m.logp - m.ref)
    return {
        "objective": name,
        "level": "token",
        "set": settings,
        "records": key,
        "loss": total.item(),
        "losses": [losses[p].item() if r["mask"] else 0.0 for r, p in zip(rows, m.places, strict=True)],
        "slopes": [
            {k: slope(getattr(m, k), p) for k in SLOTS.get(name, ("logp",))}
            for p in m.places
        ],
        "metrics": logged,
    }


def check_against_trl():
    """TRL's GRPO losses on the same matrix; the trainer is given as plain values and the model as its log-probs."""
    from trl import GRPOTrainer

    accelerator = types.SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True
    )
    compared = 0
    for name, settings, loss, reduce in token_losses():
        s = settings
        if name not in ("grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo", "sapo") or s.get("kl_estimator", "k3") != "k3":
            continue
        if name == "cispo" and "clip" in s:
            continue  # TRL has no lower bound
        theirs, mine = matrix(TOKENS["tokens"]), matrix(TOKENS["tokens"])
        high = {"cispo": 5.0, "dapo": 0.28}.get(name, s.get("clip", 0.2))  # TRL's epsilon_high is epsilon when not given
        log = collections.defaultdict(list)
        trainer = types.SimpleNamespace(
            _get_per_token_logps_and_entropies=lambda *_, m=theirs, **__: (m.logp, m.entropy.detach(), None),
            accelerator=accelerator,
            args=types.SimpleNamespace(
                delta=None,
                use_bias_correction_kl=False,
                steps_per_generation=1,
                sapo_temperature_pos=s.get("temperature", 1.0),
                sapo_temperature_neg=s.get("temperature_negative", 1.05),
            ),
            aux_loss_enabled=False,
            beta=s.get("kl_weight", 0.0),
            current_gradient_accumulation_steps=1,
            epsilon_high=s.get("clip_high", high),
            epsilon_low=s.get("clip", 0.2),
            importance_sampling_level="sequence" if name == "gspo" else "token",
            loss_type="grpo" if name == "gspo" else name,
            max_completion_length=s.get("length", 512),
            model=types.SimpleNamespace(training=True),
            off_policy_mask_threshold=None,
            top_entropy_quantile=1.0,
            use_vllm=False,
            _entropy_bonus_enabled=False,
            _metrics={"train": log},
        )
        ids = torch.zeros(theirs.mask.shape, dtype=torch.long)
        inputs = {
            "prompt_ids": ids,
            "prompt_mask": torch.ones_like(ids),
            "completion_ids": ids,
            "completion_mask": theirs.mask,
            "advantages": theirs.advantage,
            "old_per_token_logps": theirs.old,
            "ref_per_token_logps": theirs.ref,
            "num_items_in_batch": theirs.mask.sum(),
        }
        if name == "gspo":  # TRL's ratio is a column there; its losses broadcast against token-level advantages
            inputs["advantages"] = theirs.advantage[:, :1].clone()
            mine.advantage = inputs["advantages"]
        total = GRPOTrainer._compute_loss(trainer, None, inputs)
        total.backward()
        losses, metrics = loss(mine, s)
        own = reduce(losses, mine)
        own.backward()
        torch.testing.assert_close(own, total, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(mine.logp.grad, theirs.logp.grad, rtol=1e-11, atol=1e-14)
        for k, v in metrics.items():
            if k in log and name != "gspo":
                share = (v.double() * mine.mask).sum() / mine.mask.sum()
                torch.testing.assert_close(share.item(), log[k][0], rtol=1e-6, atol=1e-6)
        compared += 1
    if compared < 20:
        raise SystemExit(f"only {compared} cases were compared with TRL")


RECORDS = [*PAIRS, pair(-7.0, -7.5, 3, -11.25, -11.0, 6), pair(-12.0, -12.5, 5, -15.0, -14.2, 8)]
# Ties in margins and in log-ratios, and one order of the margins that is not that of the reference's.
TIES = [
    pair(-10.0, -11.0, 4, -12.0, -12.5, 4),
    pair(-9.0, -9.5, 4, -11.0, -12.5, 4),
    pair(-20.0, -21.0, 9, -22.0, -22.5, 2),
    pair(-5.0, -4.0, 4, -2.0, -2.5, 3),
    pair(-6.0, -8.0, 4, -6.5, -6.25, 3),
]
PAIR_LISTS = {"pairs": RECORDS, "ties": TIES, "one": RECORDS[-1:]}


def smoothed(z, epsilon):
    return -(1 - epsilon) * log_sigmoid(z) - (epsilon * log_sigmoid(-z) if epsilon else 0)


def aot(w, l, ref_w, ref_l, b, e):
    """TRL's aot: sorted margins against sorted margins of the reference. Losses in the order of the records."""
    policy, order = torch.sort(w - l, stable=True)
    losses = smoothed(b * (policy - torch.sort(ref_w - ref_l).values), e)
    return losses, torch.empty_like(losses).index_put((order,), losses.detach())


def aot_unpaired(w, l, ref_w, ref_l, b, e):
    chosen, order = torch.sort(w - ref_w, stable=True)
    losses = smoothed(b * (chosen - torch.sort(l - ref_l, stable=True).values), e)
    return losses, torch.empty_like(losses).index_put((order,), losses.detach())


def pair_cases():
    for key, rows in PAIR_LISTS.items():
        for b, e in ((0.1, 0.0), (0.5, 0.2)):
            alphas = (1e-5, 0.01)
            for name, settings, loss in (
                ("aot", {"beta": b, "label_smoothing": e}, aot),
                ("aot_unpaired", {"beta": b, "label_smoothing": e}, aot_unpaired),
                *(
                    ("xpo", {"beta": b, "alpha": alpha, "explored": explored}, None)
                    for alpha, explored in zip((*alphas, 0.02), ("rejected", "chosen", "both"))
                ),
            ):
                col = lambda side, k, g=False: torch.tensor(  # noqa: E731
                    [r[side][k] for r in rows], dtype=torch.float64, requires_grad=g
                )
                w, l = col("chosen", "logp", True), col("rejected", "logp", True)
                ref_w, ref_l = col("chosen", "ref"), col("rejected", "ref")
                if loss:
                    losses, each = loss(w, l, ref_w, ref_l, b, e)
                else:
                    s = settings
                    bonus = {"rejected": l, "chosen": w, "both": w + l}[s["explored"]]
                    losses = -log_sigmoid(b * ((w - ref_w) - (l - ref_l))) + s["alpha"] * bonus
                    each = losses.detach()
                losses.mean().backward()
                rewards = b * (w - ref_w).detach(), b * (l - ref_l).detach()
                yield {
                    "objective": name,
                    "level": "pair",
                    "set": settings,
                    "records": key,
                    "loss": losses.mean().item(),
                    "losses": each.tolist(),
                    "slopes": [
                        {"chosen.logp": x, "rejected.logp": y}
                        for x, y in zip(w.grad.tolist(), l.grad.tolist(), strict=True)
                    ],
                    "metrics": {
                        "rewards/chosen": rewards[0].mean().item(),
                        "rewards/rejected": rewards[1].mean().item(),
                        "rewards/accuracies": (rewards[0] > rewards[1]).double().mean().item(),
                        "rewards/margins": (rewards[0] - rewards[1]).mean().item(),
                    },
                }


REPLIES = [
    {"logp": p, "ref": r, "old": 0.9 * r - 0.1, "advantage": a}
    for p, r, a in (
        (-12.0, -12.5, 0.5),
        (-15.0, -14.2, -0.25),
        (-3.0, -3.0, 0.0),
        (-0.5, -10000.5, 1.0),
        (-10000.5, -0.5, -1.0),
        (-40.0, -37.75, 0.125),
    )
]


def reply_cases():
    from trl.experimental.a2po.a2po_trainer import A2POTrainer

    col = lambda k, g=False: torch.tensor([r[k] for r in REPLIES], dtype=torch.float64, requires_grad=g)  # noqa: E731
    for low, high in ((0.2, 0.2), (0.05, 1.0)):
        logp, old, a = col("logp", True), col("old"), col("advantage")
        rho = ratio(logp - old)
        losses = clipped(rho, a, low, high)
        losses.mean().backward()
        below, over = (rho < 1 - low) & (a < 0), (rho > 1 + high) & (a > 0)
        shares = {"low_mean": below, "high_mean": over, "region_mean": below | over}
        yield {
            "objective": "rloo",
            "level": "sequence",
            "set": {"clip": low, "clip_high": high},
            "records": "replies",
            "loss": losses.mean().item(),
            "losses": losses.tolist(),
            "slopes": [{"logp": x} for x in logp.grad.tolist()],
            "metrics": {f"clip_ratio/{k}": v.double().mean().item() for k, v in shares.items()},
        }
    for name, beta in (("a2po", 0.001), ("a2po", 0.1), ("nash_md", 0.1), ("nash_md", 0.0)):
        logp, ref, a = col("logp", True), col("ref"), col("advantage")
        s = logp - ref
        if name == "a2po":
            losses = (beta * s - a) ** 2
            trainer = types.SimpleNamespace(
                model=types.SimpleNamespace(training=True),
                args=types.SimpleNamespace(beta2=beta),
                _get_sequence_logps=lambda *_, p=logp: p,
                _metrics={"train": collections.defaultdict(list)},
            )
            inputs = dict.fromkeys(("input_ids", "attention_mask", "logits_to_keep"))
            inputs |= {"ref_logps": ref, "rewards": a + 0.25, "v_star": torch.full_like(a, 0.25)}
            torch.testing.assert_close(losses.mean(), A2POTrainer.compute_loss(trainer, None, inputs))
        else:
            losses = (beta * s.detach() - a) * logp
        losses.mean().backward()
        extra = (
            {"rewards/chosen": (beta * s).mean().item()}
            if name == "a2po"
            else {"kl": s.mean().item(), "win_probability": (a + 0.5).mean().item()}
        )
        yield {
            "objective": name,
            "level": "sequence",
            "set": {"beta": beta},
            "records": "replies",
            "loss": losses.mean().item(),
            "losses": losses.tolist(),
            "slopes": [{"logp": x} for x in logp.grad.tolist()],
            "metrics": extra,
        }


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    torch.set_default_dtype(torch.float64)
    check_against_trl()
    cases = [token_case(*each, key) for each in token_losses() for key in TOKENS]
    golden.write_json(
        options.out / "objectives_online.json",
        {
            "about": (
                "records: named lists; cases: objective with settings on one of the lists, losses per record, loss ="
                " that of the batch under the objective's own reduction, slopes of that loss, metrics"
            ),
            "packages": golden.versions("torch", "trl"),
            "records": {**TOKENS, **PAIR_LISTS, "replies": REPLIES},
            "cases": cases + [*pair_cases(), *reply_cases()],
        },
    )


if __name__ == "__main__":
    main()
