# SPDX-License-Identifier: BSL-1.0
"""TIES and sums of three changes as peft.utils.merge_utils computes them."""

import torch
from peft.utils.merge_utils import task_arithmetic, ties

import golden


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    generator = torch.Generator().manual_seed(3)
    changes = [torch.randn(24, generator=generator, dtype=torch.float64) for _ in range(3)]
    cases = []
    for weights in ([1.0, 1.0, 1.0], [0.5, 0.25, 2.0], [1.0, -0.5, 0.7]):
        w = torch.tensor(weights, dtype=torch.float64)
        cases.append({"method": "linear", "weights": weights, "merged": task_arithmetic(changes, w).tolist()})
        for density in (0.25, 0.5, 1.0):
            merged = ties(changes, w, density, majority_sign_method="total")
            cases.append({"method": "ties", "density": density, "weights": weights, "merged": merged.tolist()})
    golden.write_json(
        options.out / "merge.json",
        {
            "about": "changes [3, 24] and what becomes of them; float64",
            "packages": golden.versions("torch", "peft"),
            "changes": [c.tolist() for c in changes],
            "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
