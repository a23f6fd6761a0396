#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The layer law: which header may include which.

    check_layers.py              check include/plumb
    check_layers.py --self-test  plant one violation of each kind and see that it is found
"""
import re
import sys
import tempfile
from pathlib import Path

from source_text import ROOT, headers, includes, report

# What each layer may include directly; whatever those layers may include is allowed too.
LAYERS = {
    "core": [],
    "objective": ["core"],
    "backend": ["core"],
    "tensor": ["backend"],
    "autograd": ["tensor"],
    "nn": ["autograd"],
    "io": ["core"],
    "text": ["io"],
    "models": ["nn", "text", "io"],
    "data": ["text", "io"],
    "rollout": ["models", "data", "objective"],
    "optim": ["nn"],
    "train": ["rollout", "optim"],
}

# Headers at the top that every layer may include; the others there are umbrellas and may include all layers.
FOR_ALL = {"plumb/config.hpp", "plumb/version.hpp", "plumb/fwd.hpp"}

# Other libraries: the only headers (below include/plumb) that may include them, and why.
OUTSIDERS = [
    (r"(eigen3/)?(unsupported/)?Eigen/", r"backend/cpu[^/]*|models/adapter_init_impl\.hpp",
     "Eigen belongs to the CPU backend, and to one file that is compiled once"),
    (r"(thrust|cub|cuda|nv|cooperative_groups)/|cuda|cublas|curand|cudnn|nccl|driver_types|device_|cooperative_groups",
     r"backend/(thrust|cuda)[^/]*", "Thrust and CUDA belong to the CUDA backend"),
    (r"boost/json", r"io/json[^/]*|impl\.hpp", "Boost.JSON stays behind io/json.hpp"),
    (r"boost/", r"io/.*|impl\.hpp", "Boost belongs to io"),
    (r"range/v3/|meta/|concepts/", r"data/.*", "range-v3 belongs to data"),
    (r"(ranges|functional)$", r"data/.*", "slow to compile, so it stays out of what every user includes"),
    (r"(iostream|regex)$", r"(?!)", "the library never prints, and std::regex is slow to compile and to run"),
    (r"cassert$|assert\.h$", r"(?!)", "the library throws plumb::error and never aborts"),
]


def allowed(layer):
    found = {layer}
    for below in LAYERS[layer]:
        found |= allowed(below)
    return found


def check_file(path, name):
    """The problems of one header; `name` is its path below include/plumb."""
    layer = name.split("/")[0] if "/" in name else None
    if layer is not None and layer not in LAYERS:
        yield f"{path}:1: no such layer: {layer}; the layers are {', '.join(LAYERS)}"
        return
    for line, include in includes(path.read_text(encoding="utf-8")):
        target = include[1:-1]
        where = f"{path}:{line}: {include}:"
        if include[0] == '"':
            yield f"{where} write <plumb/...>, so that the header means the same from everywhere"
        elif target.startswith("plumb/"):
            if layer is None or target in FOR_ALL:
                continue
            parts = target.split("/")
            if len(parts) == 2:
                yield f"{where} a layer may not include the umbrella above it"
            elif parts[1] not in allowed(layer):
                yield f"{where} {layer} may include only {', '.join(sorted(allowed(layer)))}"
        else:
            for library, homes, reason in OUTSIDERS:
                if re.match(library, target):
                    if not re.fullmatch(homes, name):
                        yield f"{where} {reason}"
                    break


def check(root):
    problems = []
    for path in headers(root):
        problems += check_file(path, path.relative_to(root / "include" / "plumb").as_posix())
    return problems


def self_test():
    planted = {  # header: (line, whether it breaks the law)
        "core/a.hpp": ("#include <plumb/tensor/tensor.hpp>", True),
        "core/b.hpp": ("#include <Eigen/Core>", True),
        "core/c.hpp": ('#include "types.hpp"', True),
        "core/d.hpp": ("#include <iostream>", True),
        "core/e.hpp": ("#include <functional>", True),
        "core/f.hpp": ("#include <plumb/plumb.hpp>", True),
        "core/g.hpp": ("  #  include <cassert>", True),
        "objective/a.hpp": ("#include <plumb/backend/cpu.hpp>", True),
        "backend/reference.hpp": ("#include <Eigen/Core>", True),
        "backend/a.hpp": ("#include <cuda_runtime.h>", True),
        "autograd/a.hpp": ("#include <plumb/nn/linear.hpp>", True),
        "text/a.hpp": ("#include <boost/json.hpp>", True),
        "nn/a.hpp": ("#include <range/v3/all.hpp>", True),
        "extras/a.hpp": ("", True),
        "core/h.hpp": ("#include <vector>\n#include <plumb/config.hpp>", False),
        "core/i.hpp": ("// #include <iostream>", False),
        "core/j.hpp": ("/*\n#include <iostream>\n*/", False),
        "backend/cpu_gemm.hpp": ("#include <Eigen/Core>\n#include <plumb/core/types.hpp>", False),
        "backend/thrust_rows.hpp": ("#include <thrust/for_each.h>", False),
        "backend/cuda.hpp": ("#include <cublasLt.h>\n#include <cub/cub.cuh>", False),
        "io/json.hpp": ("#include <boost/json.hpp>", False),
        "data/a.hpp": ("#include <range/v3/all.hpp>\n#include <functional>", False),
        "rollout/a.hpp": ("#include <plumb/nn/linear.hpp>", False),
        "nn/b.hpp": ("#include <plumb/core/types.hpp>", False),
        "train/a.hpp": ("#include <plumb/optim/adamw.hpp>\n#include <plumb/objective/dpo.hpp>", False),
        "plumb.hpp": ("#include <plumb/train/fit.hpp>", False),
    }
    wrong = []
    for name, (text, guilty) in planted.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "include" / "plumb" / name
            path.parent.mkdir(parents=True)
            path.write_text(text + "\n", encoding="utf-8")
            if bool(check(Path(folder))) != guilty:
                wrong.append(f"self-test: {name} with {text!r} should {'not ' if not guilty else ''}be refused")
    return report("layer law, self-test", wrong, f"{len(planted)} planted headers")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    sys.exit(report("layer law", check(ROOT), f"{len(headers())} headers"))
