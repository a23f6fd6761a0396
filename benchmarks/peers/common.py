# SPDX-License-Identifier: BSL-1.0
"""What the peers' benchmarks share: threads, peak memory, precision, the exported model. llama.cpp's needs no torch."""
import contextlib
import json
import os
import pathlib

PRECISIONS = {
    "fp32": "weights and arithmetic in float",
    "autocast": "weights in float, products in bfloat16 (torch.autocast)",
    "bf16": "frozen weights in bfloat16, adapter in float, products in bfloat16 (torch.autocast)",
}


def use_threads(count):
    import torch
    torch.set_num_threads(count)
    torch.set_num_interop_threads(1)


def reset_peak_memory():
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_megabytes():
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def arithmetic(precision):
    """The context in which a model of this precision computes."""
    if precision == "fp32":
        return contextlib.nullcontext()
    import torch
    return torch.autocast("cpu", dtype=torch.bfloat16)


def load_model(folder, precision, attention="sdpa"):
    import torch
    import transformers
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)


def write_report(path, report):
    text = json.dumps(report, indent=1) + "\n"
    temporary = pathlib.Path(f"{path}.{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)
