# SPDX-License-Identifier: BSL-1.0
"""Values and slopes of the objectives on groups of ranked replies, and of one on a whole batch: torch float64 and autograd.

Each loss is written from its definition, with torch.logsumexp over what is left; nothing is accumulated as plumb does.
Groups have 2 to 6 replies, with ties, scores of ±1e4, replies of one token and rankings the wrong way round.
"""

import itertools

import torch

import golden

REWARDS = [[2.0, 1.0, 0.5, -1.0], [0.3, -0.2], [-1.5, 0.25, 4.0], [1e4, -1e4, 0.0], [-1e4, 1e4], [0.75] * 5]
REWARDS += [[-3.0, -2.5, -2.75, 6.0, 1.25, -0.125]]
REPLIES = [
    [(-12.0, -12.5, 5), (-15.0, -14.2, 8), (-9.0, -9.5, 6)],
    [(-3.0, -3.0, 1), (-3.0, -3.0, 1)],
    [(-40.0, -22.5, 31), (-2.0, -4.0, 2), (-7.5, -7.0, 3), (-0.5, -10000.5, 1)],
    [(-10000.5, -0.5, 7), (-0.5, -0.75, 1)],
    [(-8.0, -8.0, 4), (-4.0, -4.5, 2), (-6.0, -7.0, 3), (-1.0, -1.5, 1), (-30.0, -20.0, 11)],
]
TRIPLES = [
    [(-20.0, -20.0, 11), (-12.0, -12.5, 5), (-15.0, -14.2, 8)],
    [(-0.5, -0.5, 1), (-3.0, -3.0, 1), (-3.0, -3.0, 1)],
    [(-7.5, -7.0, 3), (-10000.5, -2.0, 4), (-1.0, -1.5, 2)],
    [(-4.0, -4.0, 2), (-1.0, -1.5, 2), (-9999.0, -2.0, 6)],
]


def ranking(scores):
    """-log P(ranking): best first, each drawn among those left with probability proportional to exp(score)."""
    return sum(torch.logsumexp(scores[k:], 0) - scores[k] for k in range(len(scores) - 1))


def hinges(means, weight):
    pairs = itertools.combinations(range(len(means)), 2)
    # maximum() halves the slope of a tie, clamp() would not
    return sum(torch.maximum(means[j] - means[i], torch.zeros_like(means[0])) for i, j in pairs) - weight * means[0]


def triple(p, n, beta, epsilon, weight, gamma, per_token):
    """TPO (Saeidi et al. 2024) on gold, chosen, rejected: TRL's sigmoid and tpo-l losses, likelihood per reply."""
    said = p / n if per_token else p
    gap = beta * (said[1] - said[2] - gamma / beta)
    log_sigmoid = torch.nn.functional.logsigmoid
    nll = -(p / n)[0]
    return -log_sigmoid(gap) * (1 - epsilon) - log_sigmoid(-gap) * epsilon + weight * nll


def scores_of(group):
    return torch.tensor(group, dtype=torch.float64, requires_grad=True)


def on_scores(objective, settings, f):
    total, losses, leaves = 0, [], []
    for group in REWARDS:
        r = scores_of(group)
        losses.append(f(r))
        leaves.append(r)
    total = sum(losses) / len(losses)
    slopes = torch.autograd.grad(total, leaves)
    return {
        "objective": objective, "settings": settings, "records": "rewards", "loss": total.item(),
        "losses": [x.item() for x in losses], "slopes": [s.tolist() for s in slopes],
    }


def on_replies(objective, settings, f, records="replies", groups=None):
    losses, leaves = [], []
    for group in groups or REPLIES:
        logp = scores_of([x[0] for x in group])
        ref = torch.tensor([x[1] for x in group], dtype=torch.float64)
        tokens = torch.tensor([x[2] for x in group], dtype=torch.float64)
        losses.append(f(logp, ref, tokens))
        leaves.append(logp)
    total = sum(losses) / len(losses)
    slopes = torch.autograd.grad(total, leaves)
    return {
        "objective": objective, "settings": settings, "records": records, "loss": total.item(),
        "losses": [x.item() for x in losses], "slopes": [s.tolist() for s in slopes],
    }


def in_batch():
    """Each pair's chosen score against its own rejected one and those of all other pairs."""
    chosen, rejected = scores_of([1.2, 0.0, -1.5, 3.0]), scores_of([0.7, 0.0, 2.25, 3.0])
    rows = torch.cat([chosen[:, None], rejected[None, :].expand(4, 4)], 1)
    loss = torch.nn.functional.cross_entropy(rows / 0.5, torch.zeros(4, dtype=torch.long))
    slopes = torch.autograd.grad(loss, [chosen, rejected])
    return {
        "chosen": chosen.tolist(), "rejected": rejected.tolist(), "temperature": 0.5, "loss": loss.item(),
        "by_chosen": slopes[0].tolist(), "by_rejected": slopes[1].tolist(),
    }


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    cases = [on_scores("plackett_luce", {}, ranking)]
    for tau in (1.0, 0.25):
        cases.append(on_scores("infonce", {"temperature": tau}, lambda r: torch.logsumexp(r / tau, 0) - r[0] / tau))
    for beta in (0.1, 0.5):
        cases.append(on_replies("dpo_pl", {"beta": beta}, lambda p, ref, _: ranking(beta * (p - ref))))
    for weight in (1.0, 0.0, 0.3):
        cases.append(on_replies("rrhf", {"weight": weight}, lambda p, _, n: hinges(p / n, weight)))
    for beta, epsilon, weight, gamma, per_token in (
        (0.01, 0.0, 1.0, 0.0, False), (0.1, 0.1, 0.0, 0.0, False), (2.0, 0.05, 0.5, 0.5, True), (0.3, 0.0, 1.0, 0.0, True)
    ):
        settings = {"beta": beta, "label_smoothing": epsilon, "weight": weight, "per_token": per_token, "gamma": gamma}
        loss = lambda p, _, n: triple(p, n, beta, epsilon, weight, gamma, per_token)  # noqa: B023, E731
        cases.append(on_replies("tpo", settings, loss, "triples", TRIPLES))
    golden.write_json(
        options.out / "objectives_groups.json",
        {
            "about": (
                "rewards, replies and triples [logp, ref, tokens]: groups, best first; cases: losses per group, loss = their mean,"
                " slopes of that loss by reward or logp; in_batch: a loss of a whole batch of pairs"
            ),
            "packages": golden.versions("torch"),
            "rewards": REWARDS,
            "replies": REPLIES,
            "triples": TRIPLES,
            "cases": cases,
            "in_batch": in_batch(),
        },
    )


if __name__ == "__main__":
    main()
