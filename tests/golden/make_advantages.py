# SPDX-License-Identifier: BSL-1.0
"""Returns, advantages and shaped rewards in float64, each from its definition as a sum rather than a recursion.

GAE is the exponentially weighted mean of the n-step advantages it is defined as; group statistics come from numpy.
"""

import math
import random

import numpy

import golden


def gae(rewards, values, gamma, lam, mask):
    """A_t = Σ_k (γλ)^k δ_{t+k} over the tokens that count; the others are cut out first."""
    kept = [t for t, m in enumerate(mask) if m]
    r, v = [rewards[t] for t in kept], [*(values[t] for t in kept), 0.0]
    delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
    a = [math.fsum((gamma * lam) ** (k - t) * delta[k] for k in range(t, len(r))) for t in range(len(r))]
    advantages, returns = [0.0] * len(mask), [0.0] * len(mask)
    for place, x, y in zip(kept, a, v, strict=False):
        advantages[place], returns[place] = x, x + y
    return advantages, returns


def gae_cases():
    draw = random.Random(1)
    yield [0.0, 0.0, 0.0, 1.0], [0.1, 0.2, 0.3, 0.4], 0.99, 0.95, [1] * 4
    for length in (1, 2, 9, 40):
        for gamma, lam in ((1.0, 1.0), (1.0, 0.95), (0.9, 0.0), (0.0, 0.5), (0.97, 0.8)):
            mask = [int(draw.random() < 0.7) for _ in range(length)] if length > 2 else [1] * length
            rewards = [draw.gauss(0, 1) * m for m in mask]
            yield rewards, [draw.gauss(0, 1) for _ in mask], gamma, lam, mask


def grouped(rewards, groups, f):
    out = numpy.zeros(len(rewards))
    for g in set(groups):
        members = [i for i, x in enumerate(groups) if x == g]
        out[members] = f(numpy.array([rewards[i] for i in members]), members)
    return out


def whiten(x, shift=True):
    y = (x - x.mean()) / numpy.sqrt(x.var(ddof=1) + 1e-8)
    return y if shift else y + x.mean()


def group_cases():
    draw = random.Random(2)
    batches = [([1.0, 0.0, 0.0, 1.0], [7] * 4, [3, 5, 2, 2])]
    for offset in (0.0, 1e6):
        groups = [0, 0, 0, 1, 1, 2, 2, 2, 2, 1, 0, 5, 5]
        rewards = [offset + draw.gauss(0, 2) for _ in groups]
        rewards[11] = rewards[12]  # all equal
        batches.append((rewards, groups, [draw.randrange(1, 30) for _ in groups]))
    for rewards, groups, lengths in batches:
        n = numpy.array(lengths, dtype=float)
        deviation = numpy.std(rewards, ddof=1)
        centred = grouped(rewards, groups, lambda r, _: r - r.mean())
        per_token = numpy.repeat(centred, lengths)
        yield {
            "rewards": rewards,
            "groups": groups,
            "lengths": lengths,
            "group": grouped(rewards, groups, lambda r, _: (r - r.mean()) / (r.std(ddof=1) + 1e-4)),
            "batch": centred / (deviation + 1e-4),
            "none": centred,
            "rloo": grouped(rewards, groups, lambda r, _: [x - (r.sum() - x) / (len(r) - 1) for x in r]),
            "opo": grouped(rewards, groups, lambda r, m, n=n: r - numpy.average(r, weights=n[m])),
            "baseline": whiten(per_token)[numpy.cumsum(lengths) - 1],
        }


def plain(x):
    return x.tolist() if isinstance(x, numpy.ndarray) else x


def main():
    options = golden.arguments(__doc__)
    cases = []
    for rewards, values, gamma, lam, mask in gae_cases():
        a, r = gae(rewards, values, gamma, lam, mask)
        togo = [math.fsum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]
        case = {"rewards": rewards, "values": values, "gamma": gamma, "lambda": lam, "mask": mask}
        case |= {"advantages": a, "returns": r, "to_go": togo}
        kept = numpy.array([x for x, m in zip(a, mask, strict=True) if m])
        if len(kept) > 1:
            case |= {"whitened": plain(whiten(kept)), "scaled": plain(whiten(kept, shift=False))}
        cases.append(case)
    draw = random.Random(3)
    lengths = [4, 1, 0, 6]
    token_rewards = [draw.gauss(0, 1) for _ in range(sum(lengths))]
    sums, at = [], 0
    for n in lengths:
        r = token_rewards[at : at + n]
        sums += [math.fsum(0.9**(k - t) * r[k] for k in range(t, n)) for t in range(n)]
        at += n
    scores = [draw.gauss(0, 3) for _ in range(6)]
    golden.write_json(
        options.out / "advantages.json",
        {
            "about": "gae: whitened and scaled are of the tokens that count; groups: one advantage per reply",
            "packages": golden.versions("numpy"),
            "gae": cases,
            "groups": [{k: plain(v) for k, v in c.items()} for c in group_cases()],
            "reinforce_plus_plus": {
                "rewards": token_rewards,
                "lengths": lengths,
                "gamma": 0.9,
                "advantages": plain(whiten(numpy.array(sums))),
            },
            "optimal_value": {
                "rewards": scores,
                "betas": [0.1, 0.5, 10.0],
                "values": [b * math.log(math.fsum(math.exp(r / b) for r in scores) / 6) for b in (0.1, 0.5, 10.0)],
            },
        },
    )


if __name__ == "__main__":
    main()
