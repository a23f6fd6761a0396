# SPDX-License-Identifier: BSL-1.0
"""TIES, pruning and sums of three changes as peft.utils.merge_utils computes them, PEFT's adapters out of singular values,
and arcs between vectors."""

import math

import torch
from peft import PeftModel
from peft.utils.merge_utils import magnitude_prune, task_arithmetic, ties
from transformers import AutoModelForCausalLM

import golden


def compressed():
    """What PEFT's svd methods make of two adapters of ranks 3 and 6: each map's change of the vector cos 0, cos 1, …

    PEFT keeps weights in float32 here, so the two are numbers that float32 holds.
    """
    base = AutoModelForCausalLM.from_pretrained(golden.HERE / "tiny_llama", dtype=torch.float64)
    model = PeftModel.from_pretrained(base, golden.HERE / "tiny_llama_adapter", adapter_name="a")
    model.load_adapter(golden.HERE / "adapters" / "pissa_converted", adapter_name="b")
    model = model.double()
    cases = []
    for i, (method, rank, density) in enumerate(
        [("svd", 9, None), ("svd", 2, None), ("ties_svd", 4, 0.5), ("magnitude_prune_svd", 5, 0.3)]
    ):
        name = f"merged{i}"
        model.add_weighted_adapter(["a", "b"], [0.75, -0.5], name, method, svd_rank=rank, density=density)
        changes = {}
        for path, module in model.base_model.model.named_modules():
            if name not in getattr(module, "lora_A", {}):
                continue
            change = module.get_delta_weight(name)  # [out, in]
            probe = torch.tensor([math.cos(k) for k in range(change.shape[1])], dtype=torch.float64)
            changes[path] = (change @ probe).tolist()
        cases.append({"method": method, "rank": rank, "density": density, "changes": changes})
    return cases


def arcs():
    """slerp(a, b, t) by the textbook's formula with the arc cosine, in float64."""
    generator = torch.Generator().manual_seed(5)
    cases = []
    for t in (0.0, 0.3, 0.5, 1.0, 1.2):
        a, b = (torch.randn(12, generator=generator, dtype=torch.float64) * (1 + 2 * k) for k in range(2))
        angle = math.acos(float(a @ b / (a.norm() * b.norm())))
        out = (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
        cases.append({"a": a.tolist(), "b": b.tolist(), "t": t, "out": out.tolist()})
    return cases


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
            merged = magnitude_prune(changes, w, density)
            cases.append({"method": "prune", "density": density, "weights": weights, "merged": merged.tolist()})
    golden.write_json(
        options.out / "merge.json",
        {
            "about": "changes [3, 24] and what becomes of them; svd: weights 0.75, -0.5; float64",
            "packages": golden.versions("torch", "transformers", "peft"),
            "changes": [c.tolist() for c in changes],
            "cases": cases,
            "svd": compressed(),
            "slerp": arcs(),
        },
    )


if __name__ == "__main__":
    main()
