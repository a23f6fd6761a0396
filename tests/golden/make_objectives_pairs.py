# SPDX-License-Identifier: BSL-1.0
"""Values and slopes of the objectives on pairs and on single replies: torch float64 and autograd, on eight or more
records each, with log-ratios of ±1e4 and replies of one token.

Each loss is written from its definition in the paper, one line of torch. Where TRL has the formula as a function of
numbers (CPO, SimPO, AlphaPO, the odds ratio of ORPO) it must agree, to TRL's float32.
"""

import math
import types

import torch

import golden
from make_objectives import PAIRS, pair

log_sigmoid = torch.nn.functional.logsigmoid
RECORDS = [*PAIRS, pair(-7.0, -7.5, 3, -11.25, -11.0, 6), pair(-12.0, -12.5, 5, -15.0, -14.2, 8)]
REWARDS = [(1.2, 0.7, 0.3), (0.0, 0.0, 0.0), (-1.5, 2.25, 0.0), (1e4, -1e4, 0.0), (-1e4, 1e4, 1.0), (3.0, 3.0, 2.0)]
REWARDS += [(-0.125, -0.25, 0.5), (40.0, -2.0, 0.0)]
SINGLES = [(-12.0, -12.5, True), (-15.0, -14.2, False), (-3.0, -3.0, True), (-3.0, -3.0, False), (-0.5, -10000.5, True)]
SINGLES += [(-10000.5, -0.5, True), (-0.5, -10000.5, False), (-10000.5, -0.5, False), (-40.0, -37.75, True)]
BASELINES = [0.3, -1.0, 2.5, 0.0, 4.0, 0.75, -0.25, 1.5, 3.0]


def with_rows(record, i):
    """The record with what the head can add to a reply: divergence, tail beyond the rival's length, confidence."""
    def side(s, k):
        tail = 0.25 * (k % 3)
        return {
            **s,
            "sequential_kl": 0.5 + 0.3 * k,
            "tail": -0.5 * tail * s["tokens"],
            "ref_tail": -0.4 * tail * s["tokens"],
            "confidence": -0.1 * k,
        }
    return {"chosen": side(record["chosen"], i), "rejected": side(record["rejected"], i + 2)}


RICH = [with_rows(r, i) for i, r in enumerate(RECORDS)]


def double(x):
    return torch.tensor(x, dtype=torch.float64)


def sigmoid(z):
    """torch's own loses the slope of its upper tail: it computes s (1 − s)."""
    return torch.exp(log_sigmoid(z))


def log1mexp(x):
    x = x.clamp(max=-1e-12)
    return torch.log(-torch.expm1(x)) if x > -math.log(2) else torch.log1p(-torch.exp(x))


def ratios(f):
    """A loss of the two log-ratios."""
    return lambda w, l, _: f(w["logp"] - w["ref"], l["logp"] - l["ref"])


def gap(f):
    return ratios(lambda lw, ll: f(lw - ll))


def means(f):
    """A loss of the two mean log-probs and the tokens of the chosen reply."""
    return lambda w, l, _: f(w["logp"] / w["tokens"], l["logp"] / l["tokens"])


def mean_ratio(side):
    return (side["logp"] - side["ref"]) / side["tokens"]


def smoothed(z, epsilon):
    return -(1 - epsilon) * log_sigmoid(z) - (epsilon * log_sigmoid(-z) if epsilon else 0)


def exo(z, e):
    q, p = sigmoid(z), sigmoid(-z)
    return q * (log_sigmoid(z) - math.log(1 - e)) + p * (log_sigmoid(-z) - math.log(e))


def discopop(z, tau):
    return -log_sigmoid(z) * sigmoid(-z / tau) + torch.exp(log_sigmoid(z / tau) - z)


def bend(divergence, alpha=None):
    if divergence == "reverse_kl" or alpha == 1:
        return lambda s: s
    if divergence == "forward_kl":
        return lambda s: 1 - torch.exp(torch.clamp(-s, max=80))
    if divergence == "js":
        return lambda s: math.log(2) + log_sigmoid(s)
    return lambda s: (torch.exp(torch.clamp((alpha - 1) * s, max=80)) - 1) / (alpha - 1)


def f_dpo(beta, divergence, alpha=None):
    g = bend(divergence, alpha)
    return ratios(lambda lw, ll: -log_sigmoid(beta * (g(lw) - g(ll))))


def alpha_reward(alpha):
    return lambda m: (1 - torch.exp(torch.clamp(-alpha * m, max=80))) / alpha if alpha else m


def alpha_po(beta, gamma, alpha):
    r = alpha_reward(alpha)
    return means(lambda c, x: -log_sigmoid(beta * (r(c) - r(x)) - gamma))


def log_odds_ratio(c, r):
    return (c.clamp(max=-1e-12) - r.clamp(max=-1e-12)) - (log1mexp(c) - log1mexp(r))


def orpo(beta):
    return means(lambda c, r: -c - beta * log_sigmoid(log_odds_ratio(c, r)))


def slic(delta, weight):
    return lambda w, l, _: torch.relu(delta - (w["logp"] - l["logp"])) - weight * w["logp"] / w["tokens"]


def cpo(beta, label_smoothing, weight):
    return lambda w, l, _: (
        smoothed(beta * (w["logp"] - l["logp"]), label_smoothing) - weight * w["logp"] / w["tokens"]
    )


def reward(centre):
    return lambda w, l, margin: -log_sigmoid(w["reward"] - l["reward"] - margin) + centre * (
        (w["reward"] + l["reward"]) ** 2
    )


def tdpo(beta, form, alpha):
    def loss(w, l, _):
        d = (w["logp"] - w["ref"]) - (l["logp"] - l["ref"])
        if form == "tdpo1":
            return -log_sigmoid(beta * (d - (l["sequential_kl"] - w["sequential_kl"])))
        return -log_sigmoid(beta * (d - alpha * (l["sequential_kl"] - w["sequential_kl"].detach())))

    return loss


def shortened(alpha):
    """The log-ratio in which what lies beyond the rival's length counts alpha."""
    return lambda s: (s["logp"] - s["ref"]) - (1 - alpha) * (s["tail"] - s["ref_tail"])


def pair_losses():
    """(name, settings, loss(chosen, rejected, margin), implicit reward of a reply)."""
    implicit = lambda beta: lambda side: beta * (side["logp"] - side["ref"])  # noqa: E731
    free = lambda beta: lambda side: beta * side["logp"]  # noqa: E731
    per_token = lambda beta: lambda side: beta * side["logp"] / side["tokens"]  # noqa: E731
    for b in (0.1, 0.5):
        for e in (0.0, 0.1, 0.4):
            loss = gap(lambda d, b=b, e=e: (smoothed(b * d, 0) * (1 - e) + e * log_sigmoid(-b * d)) / (1 - 2 * e))
            yield "robust_dpo", {"beta": b, "label_smoothing": e}, loss, implicit(b)
        yield "hinge", {"beta": b}, gap(lambda d, b=b: torch.relu(1 - b * d)), implicit(b)
        target = 1 / (2 * b)
        yield (
            "ipo",
            {"beta": b, "per_token": True},
            lambda w, l, _, t=target: (mean_ratio(w) - mean_ratio(l) - t) ** 2,
            implicit(b),
        )
        yield "ipo", {"beta": b, "per_token": False}, gap(lambda d, t=target: (d - t) ** 2), implicit(b)
        for e in (1e-3, 0.1):
            yield (
                "exo",
                {"beta": b, "label_smoothing": e},
                gap(lambda d, b=b, e=e: exo(b * d, e)),
                implicit(b),
            )
        yield (
            "nca",
            {"beta": b},
            ratios(lambda w, l, b=b: -log_sigmoid(b * w) - (log_sigmoid(-b * w) + log_sigmoid(-b * l)) / 2),
            implicit(b),
        )
        yield (
            "bco_pair",
            {"beta": b},
            ratios(lambda w, l, b=b: -log_sigmoid(b * w) - log_sigmoid(-b * l)),
            implicit(b),
        )
        yield "sppo", {"beta": b}, ratios(lambda w, l, t=target: (w - t) ** 2 + (l + t) ** 2), implicit(b)
        yield "apo_zero", {"beta": b}, ratios(lambda w, l, b=b: sigmoid(-b * w) + sigmoid(b * l)), implicit(b)
        yield (
            "apo_down",
            {"beta": b},
            ratios(lambda w, l, b=b: sigmoid(b * w) + sigmoid(-b * (w - l))),
            implicit(b),
        )
        for tau in (0.05, 1.0):
            yield (
                "discopop",
                {"beta": b, "tau": tau},
                gap(lambda d, b=b, tau=tau: discopop(b * d, tau)),
                implicit(b),
            )
    for b in (0.1, 5.0):
        yield (
            "dpo_norm",
            {"beta": b},
            lambda w, l, _, b=b: -log_sigmoid(b * (mean_ratio(w) - mean_ratio(l))),
            implicit(b),
        )
    for divergence in ("reverse_kl", "forward_kl", "js"):
        yield "f_dpo", {"beta": 0.1, "divergence": divergence}, f_dpo(0.1, divergence), implicit(0.1)
    for alpha in (-1.0, 0.0, 0.5, 1.0, 1.5):
        settings = {"beta": 0.1, "divergence": "alpha", "alpha": alpha}
        yield "f_dpo", settings, f_dpo(0.1, "alpha", alpha), implicit(0.1)
    yield "slic", {"delta": 1.0, "weight": 0.1}, slic(1.0, 0.1), free(1)
    yield "slic", {"delta": 8.0, "weight": 0.0}, slic(8.0, 0.0), free(1)
    for b, e, weight in ((0.1, 0.0, 1.0), (0.1, 0.2, 0.0), (0.5, 0.0, 0.25)):
        yield "cpo", {"beta": b, "label_smoothing": e, "weight": weight}, cpo(b, e, weight), free(b)
    for b, g in ((2.0, 1.0), (10.0, 3.0), (0.1, 0.0)):
        yield "simpo", {"beta": b, "gamma": g}, alpha_po(b, g, 0), per_token(b)
        for alpha in (0.25, -0.5, 0.0):
            r = alpha_reward(alpha)
            shaped = lambda side, b=b, r=r: b * r(double(side["logp"] / side["tokens"])).item()  # noqa: E731
            yield "alpha_po", {"beta": b, "gamma": g, "alpha": alpha}, alpha_po(b, g, alpha), shaped
    for b in (0.1, 1.0):
        yield "orpo", {"beta": b}, orpo(b), per_token(b)
    for b in (0.1, 0.5):
        yield (
            "wpo",
            {"beta": b},
            lambda w, l, _, b=b: -torch.exp(w["confidence"] + l["confidence"])
            * log_sigmoid(b * ((w["logp"] - w["ref"]) - (l["logp"] - l["ref"]))),
            implicit(b),
        )
        yield "tdpo", {"beta": b, "form": "tdpo1"}, tdpo(b, "tdpo1", 0.5), implicit(b)
        for alpha in (0.5, 1.0):
            yield "tdpo", {"beta": b, "form": "tdpo2", "alpha": alpha}, tdpo(b, "tdpo2", alpha), implicit(b)
        for alpha in (0.5, 0.0):
            r = shortened(alpha)
            loss = lambda w, l, _, b=b, r=r: -log_sigmoid(b * (r(w) - r(l)))  # noqa: E731
            yield "ld_dpo", {"beta": b, "alpha": alpha}, loss, lambda side, b=b, r=r: b * r(side)
    for centre in (0.0, 0.01):
        yield "reward", {"centre": centre}, reward(centre), lambda side: side["reward"]


def tensors(record, slots):
    return {
        k: torch.tensor(float(v), dtype=torch.float64, requires_grad=k in slots)
        for k, v in record.items()
        if not isinstance(v, bool)
    }


def slope(t):
    return 0.0 if t.grad is None else t.grad.item()


def mean(numbers):
    """Added up in order: an exact sum would differ where rewards of 1e34 cancel."""
    total, count = 0.0, 0
    for x in numbers:
        total, count = total + x, count + 1
    return total / count


def pair_case(name, settings, loss, implicit):
    slot = "reward" if name == "reward" else "logp"
    slots = {slot, *{"tdpo": ["sequential_kl"], "ld_dpo": ["tail"]}.get(name, [])}
    rich = name in ("wpo", "tdpo", "ld_dpo")
    records = RICH if rich else RECORDS
    if name == "reward":
        records = [{"chosen": {"reward": w}, "rejected": {"reward": l}, "margin": m} for w, l, m in REWARDS]
    given = [{side: tensors(r[side], slots) for side in ("chosen", "rejected")} for r in records]
    losses = torch.stack([loss(t["chosen"], t["rejected"], r.get("margin", 0.0)) for t, r in zip(given, records)])
    losses.mean().backward()
    rewards = [(implicit(r["chosen"]), implicit(r["rejected"])) for r in records]
    metrics = {
        "rewards/chosen": mean(w for w, _ in rewards),
        "rewards/rejected": mean(l for _, l in rewards),
        "rewards/accuracies": mean(float(w > l) for w, l in rewards),
        "rewards/margins": mean(w - l for w, l in rewards),
    }
    if slot == "logp":
        metrics["logps/chosen"] = mean(r["chosen"]["logp"] for r in records)
        metrics["logps/rejected"] = mean(r["rejected"]["logp"] for r in records)
    if name in ("slic", "cpo", "orpo"):
        metrics["nll_loss"] = mean(-r["chosen"]["logp"] / r["chosen"]["tokens"] for r in records)
    if name == "orpo":
        odds = [
            log_odds_ratio(*(double(r[s]["logp"] / r[s]["tokens"]) for s in r)) for r in records
        ]
        metrics["log_odds_chosen"] = mean(o.item() for o in odds)
        metrics["log_odds_ratio"] = mean(log_sigmoid(o).item() for o in odds)
    if name == "wpo":
        metrics["weight"] = mean(math.exp(r["chosen"]["confidence"] + r["rejected"]["confidence"]) for r in records)
    if name == "tdpo":
        for s in ("chosen", "rejected"):
            metrics[f"sequential_kl/{s}"] = mean(r[s]["sequential_kl"] for r in records)
    return {
        "objective": name,
        "level": "pair",
        "set": settings,
        "records": "rewards" if name == "reward" else "rich" if rich else "pairs",
        "loss": losses.mean().item(),
        "losses": losses.tolist(),
        "slopes": [
            {f"{s}.{k}": slope(t[s][k]) for s in ("chosen", "rejected") for k in sorted(slots)} for t in given
        ],
        "metrics": metrics,
    }


def single_cases():
    """KTO, APO-zero and BCO on replies with a label; the batch's constants carry no gradient."""
    rows = [
        {"logp": p, "ref": r, "desirable": d, "kl": k} for (p, r, d), k in zip(SINGLES, BASELINES, strict=True)
    ]
    ratios_of = [p - r for p, r, _ in SINGLES]

    def case(name, settings, loss, beta, extra, key="singles", rows=rows):
        given = [tensors(r, {"logp"}) for r in rows]
        losses = torch.stack([loss(t["logp"] - t["ref"], r["desirable"]) for t, r in zip(given, rows)])
        losses.mean().backward()
        side = lambda d, f: mean(f(r) for r in rows if r["desirable"] == d)  # noqa: E731
        return {
            "objective": name,
            "level": "sequence",
            "set": settings,
            "records": key,
            "loss": losses.mean().item(),
            "losses": losses.tolist(),
            "slopes": [{"logp": slope(t["logp"])} for t in given],
            "metrics": {
                "rewards/chosen": side(True, lambda r: beta * (r["logp"] - r["ref"])),
                "rewards/rejected": side(False, lambda r: beta * (r["logp"] - r["ref"])),
                "logps/chosen": side(True, lambda r: r["logp"]),
                "logps/rejected": side(False, lambda r: r["logp"]),
                **extra,
            },
        }

    drifted = [{**r, "kl": -abs(r["kl"]) - 0.5} for r in rows]  # a mean below 0: the baseline stays at 0
    for key, given in (("singles", rows), ("drifted", drifted)):
        baseline = max(0.0, mean(r["kl"] for r in given))
        for b, liked, disliked in ((0.1, 1.0, 1.0), (0.5, 1.5, 0.25)):
            yield case(
                "kto",
                {"beta": b, "desirable": liked, "undesirable": disliked},
                lambda s, d, b=b, x=liked, y=disliked, z=baseline: (
                    x * sigmoid(b * (z - s)) if d else y * sigmoid(b * (s - z))
                ),
                b,
                {"kl": mean(r["kl"] for r in given)},
                key,
                given,
            )
    for b in (0.1, 0.5):
        yield case("apo_zero_unpaired", {"beta": b}, lambda s, d, b=b: sigmoid(-b * s if d else b * s), b, {})
        shift = mean(b * s for s in ratios_of)
        yield case(
            "bco",
            {"beta": b},
            lambda s, d, b=b, x=shift: -log_sigmoid(b * s - x if d else x - b * s),
            b,
            {"delta": shift},
        )
    yield {"rows": {"singles": rows, "drifted": drifted}}


def check_against_trl():
    """The same numbers through TRL's own functions; its trainers are given as plain values."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    usual = [r for r in RECORDS if abs(r["chosen"]["logp"]) < 500 and abs(r["rejected"]["logp"]) < 500]
    side = lambda s, per_token: torch.tensor(  # noqa: E731
        [r[s]["logp"] / (r[s]["tokens"] if per_token else 1) for r in usual], dtype=torch.float64
    )
    given = [{s: tensors(r[s], ()) for s in r} for r in usual]
    mine = lambda loss: torch.stack([loss(t["chosen"], t["rejected"], 0.0) for t in given])  # noqa: E731
    cpu = types.SimpleNamespace(device="cpu")
    for kind, b, e, g, alpha, loss in (
        ("sigmoid", 0.1, 0.2, 0.0, 0.0, cpo(0.1, 0.2, 0.0)),
        ("simpo", 2.0, 0.0, 1.0, 0.0, alpha_po(2.0, 1.0, 0)),
        ("simpo", 2.0, 0.0, 1.0, 0.25, alpha_po(2.0, 1.0, 0.25)),
    ):
        trainer = types.SimpleNamespace(
            alpha=alpha, beta=b, label_smoothing=e, loss_type=kind, simpo_gamma=g, accelerator=cpu
        )
        theirs = CPOTrainer.cpo_loss(trainer, side("chosen", kind == "simpo"), side("rejected", kind == "simpo"))[0]
        torch.testing.assert_close(mine(loss), theirs, rtol=1e-12, atol=1e-14)
    certain = [i for i, r in enumerate(usual) if r["chosen"]["logp"] == 0]  # TRL's log-odds are infinite there
    keep = [i for i in range(len(usual)) if i not in certain]
    trainer = types.SimpleNamespace(beta=0.1, accelerator=cpu)
    chosen, rejected = side("chosen", True)[keep], side("rejected", True)[keep]
    theirs = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0].double()
    torch.testing.assert_close(mine(orpo(0.1))[keep], -chosen - theirs, rtol=2e-4, atol=1e-6)


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    check_against_trl()
    *singles, rows = single_cases()
    golden.write_json(
        options.out / "objectives_pairs.json",
        {
            "about": (
                "records: named lists; cases: objective with settings on one of the lists, losses per record, loss ="
                " their mean, slopes of that loss, metrics as TRL names them"
            ),
            "packages": golden.versions("torch", "trl"),
            "records": {
                "pairs": RECORDS,
                "rich": RICH,
                "rewards": [{"chosen": {"reward": w}, "rejected": {"reward": l}, "margin": m} for w, l, m in REWARDS],
                **rows["rows"],
            },
            "cases": [pair_case(*each) for each in pair_losses()] + singles,
        },
    )


if __name__ == "__main__":
    main()
