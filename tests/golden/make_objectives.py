# SPDX-License-Identifier: BSL-1.0
"""Values and slopes of the math vocabulary and of sft, sft_chosen and dpo on records: torch float64, with the functions
checked against 60 digits.

Losses are written here from their definitions and differentiated by torch; the functions' values come from mpmath
(rounded to double), because torch's own softplus switches to the identity beyond 20 and torch has no log1mexp. Where
torch has the function it must agree.
"""

import math

import mpmath
import torch

import golden

mpmath.mp.dps = 60
EXTREMES = [-1e4, -800.0, -700.0, -100.0, -50.0, -37.0, -20.0, -5.0, -1.0, -0.5, -1e-3, -1e-8, -1e-300, 0.0]
GRID = EXTREMES + [-x for x in reversed(EXTREMES[:-1])]


def functions():
    """name → (arguments, value, slopes) with mpmath; log1mexp(x) = log(1 − eˣ) for x < 0."""
    sigmoid = lambda x: 1 / (1 + mpmath.exp(-x))  # noqa: E731
    softplus = lambda x: mpmath.log1p(mpmath.exp(x))  # noqa: E731
    larger = lambda a, b: max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b)))  # noqa: E731
    pairs = [(a, b) for a in (-1e4, -30.0, -1.0, 0.0, 1e-9, 2.5, 1e4) for b in (-1e4, -29.5, 0.0, 2.5, 700.0, 1e4)]
    negative = sorted(
        [x for x in GRID if x < 0]
        + [-math.log(2), math.nextafter(-math.log(2), 0), math.nextafter(-math.log(2), -1), -0.69, -0.7]
    )
    return {
        "sigmoid": (GRID, sigmoid, [lambda x: sigmoid(x) * sigmoid(-x)]),
        "log_sigmoid": (GRID, lambda x: -softplus(-x), [lambda x: sigmoid(-x)]),
        "softplus": (GRID, softplus, [sigmoid]),
        "log1mexp": (
            negative,
            lambda x: mpmath.log(-mpmath.expm1(x)) if x > -1 else mpmath.log1p(-mpmath.exp(x)),
            [lambda x: -1 / mpmath.expm1(-x)],
        ),
        "log_add_exp": (pairs, larger, [lambda a, b: sigmoid(a - b), lambda a, b: sigmoid(b - a)]),
    }


TORCH = {
    "sigmoid": torch.sigmoid,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "softplus": lambda x: torch.nn.functional.softplus(x, threshold=1e9),
    "log_add_exp": torch.logaddexp,
}


def double(x):
    """The nearest double; numbers below the smallest normal one become 0 (and are then compared absolutely)."""
    value = float(x)
    return value if abs(value) >= 2.3e-308 else 0.0


def table(name, arguments, value, slopes):
    entries = []
    for given in arguments:
        given = given if isinstance(given, tuple) else (given,)
        exact = [mpmath.mpf(x) for x in given]
        entry = {"x": list(given), "value": double(value(*exact)), "slopes": [double(s(*exact)) for s in slopes]}
        if name in TORCH and max(map(abs, given)) < 500:
            x = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in given]
            y = TORCH[name](*x)
            y.backward()
            for mine, theirs in zip([entry["value"], *entry["slopes"]], [y.item()] + [v.grad.item() for v in x]):
                assert math.isclose(mine, theirs, rel_tol=1e-13, abs_tol=1e-15), (name, given, mine, theirs)
        entries.append(entry)
    return entries


def pair(chosen, chosen_ref, chosen_tokens, rejected, rejected_ref, rejected_tokens):
    return {
        "chosen": {"logp": chosen, "ref": chosen_ref, "tokens": chosen_tokens},
        "rejected": {"logp": rejected, "ref": rejected_ref, "tokens": rejected_tokens},
    }


PAIRS = [
    pair(-12.5, -13.0, 7, -20.25, -18.0, 9),
    pair(-3.0, -3.0, 4, -8.0, -8.0, 6),
    pair(-0.125, -0.5, 1, -2.75, -1.5, 1),
    pair(-40.0, -22.5, 31, -10.0, -25.0, 12),
    pair(-1e-3, -2e-3, 1, -1e-3, -2e-3, 1),
    pair(-100.0, -10100.0, 50, -10.0, -10.0, 3),
    pair(-10100.0, -100.0, 50, -10.0, -10.0, 3),
    pair(-10.0, -10.0, 3, -100.0, -10100.0, 40),
    pair(-5.0, -10005.0, 2, -10005.0, -5.0, 2),
    pair(-10005.0, -5.0, 2, -5.0, -10005.0, 2),
    pair(-250.75, -249.5, 512, -3.5, -3.25, 1),
    pair(0.0, 0.0, 1, -700.0, -1.0, 100),
]
TOKENS = [
    {"logp": x, "mask": m, "sequence": s}
    for x, m, s in (
        (-0.5, True, 0),
        (-2.25, True, 0),
        (-9.0, False, 0),
        (-1e-8, True, 0),
        (-1e4, True, 1),
        (0.0, True, 1),
        (-3.0, False, 2),
        (-0.75, True, 3),
        (-11.5, True, 3),
        (-1.0, True, 3),
        (-1e4, False, 3),
        (-0.0625, True, 4),
    )
]


def pair_case(name, settings, records, loss):
    """loss(chosen, rejected) of tensors, pair by pair; the batch's loss is the mean, slopes are of it."""
    tensors = [
        {
            side: {
                k: torch.tensor(float(v), dtype=torch.float64, requires_grad=k == "logp")
                for k, v in record[side].items()
            }
            for side in record
        }
        for record in records
    ]
    losses = torch.stack([loss(t["chosen"], t["rejected"]) for t in tensors])
    losses.mean().backward()
    slope = lambda t: 0.0 if t.grad is None else t.grad.item()  # noqa: E731
    case = {
        "objective": name,
        "level": "pair",
        "set": settings,
        "records": records,
        "loss": losses.mean().item(),
        "losses": losses.tolist(),
        "slopes": [{side + ".logp": slope(t[side]["logp"]) for side in ("chosen", "rejected")} for t in tensors],
    }
    if "beta" in settings:
        rewards = [{side: settings["beta"] * (r[side]["logp"] - r[side]["ref"]) for side in r} for r in records]
        n = len(records)
        case["metrics"] = {
            "rewards/chosen": math.fsum(r["chosen"] for r in rewards) / n,
            "rewards/rejected": math.fsum(r["rejected"] for r in rewards) / n,
            "rewards/accuracies": sum(r["chosen"] > r["rejected"] for r in rewards) / n,
            "rewards/margins": math.fsum(r["chosen"] - r["rejected"] for r in rewards) / n,
            "logps/chosen": math.fsum(r["chosen"]["logp"] for r in records) / n,
            "logps/rejected": math.fsum(r["rejected"]["logp"] for r in records) / n,
        }
    return case


def dpo(beta, label_smoothing):
    def loss(chosen, rejected):
        z = beta * ((chosen["logp"] - chosen["ref"]) - (rejected["logp"] - rejected["ref"]))
        log_sigmoid = torch.nn.functional.logsigmoid
        value = -(1 - label_smoothing) * log_sigmoid(z)
        return value - label_smoothing * log_sigmoid(-z) if label_smoothing else value

    return loss


def sft_chosen(chosen, rejected):
    return -chosen["logp"] / chosen["tokens"]


def sft_case(records):
    logp = torch.tensor([r["logp"] for r in records], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([r["mask"] for r in records])
    loss = -logp[mask].mean()
    loss.backward()
    return {
        "objective": "sft",
        "level": "token",
        "set": {},
        "records": records,
        "loss": loss.item(),
        "losses": [-r["logp"] if r["mask"] else 0.0 for r in records],
        "slopes": [{"logp": g} for g in logp.grad.tolist()],
    }


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    cases = [sft_case(TOKENS), sft_case(TOKENS[:1]), pair_case("sft_chosen", {}, PAIRS, sft_chosen)]
    for beta, label_smoothing in ((0.1, 0.0), (0.1, 0.1), (0.5, 0.0), (1.0, 0.3)):
        cases.append(
            pair_case("dpo", {"beta": beta, "label_smoothing": label_smoothing}, PAIRS, dpo(beta, label_smoothing))
        )
    for record in (PAIRS[0], PAIRS[1]):
        cases.append(pair_case("dpo", {"beta": 0.1, "label_smoothing": 0.0}, [record], dpo(0.1, 0.0)))
    cases.append(
        pair_case(
            "dpo",
            {"beta": 0.1, "label_smoothing": 0.0, "also": "0.2*sft_chosen"},
            PAIRS,
            lambda c, r: dpo(0.1, 0.0)(c, r) + 0.2 * sft_chosen(c, r),
        )
    )
    golden.write_json(
        options.out / "objectives.json",
        {
            "about": (
                "functions: value and slopes at x (numbers below 2.3e-308 given as 0); cases: losses per record, loss ="
                " their mean (sft: over records with mask true), slopes of that loss; metrics as TRL names them"
            ),
            "packages": golden.versions("torch", "mpmath"),
            "functions": {name: table(name, *parts) for name, parts in functions().items()},
            "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
