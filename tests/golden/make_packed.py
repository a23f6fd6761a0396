"""Writes packed_*.safetensors: what bitsandbytes' reference operators (plain torch, no compiled kernel) store and read back.

Run with torch, safetensors and bitsandbytes installed. The compiled CPU kernel of bitsandbytes 0.50 for nested scales looks
them up in a coarse table and is not always nearest, so the operators of its `default` backend are called instead.
"""
import json
import sys

import torch
from safetensors.torch import save_file

import bitsandbytes.functional as F

torch.manual_seed(7)


def four_bits(a, nested=True, kind="nf4"):
    """bitsandbytes.functional.quantize_4bit with the reference operators in its place."""
    flat = a.reshape(-1)
    code = F.get_4bit_type(kind, device="cpu")
    order = torch.argsort(code)
    bounds = (code[order[:-1]] + code[order[1:]]) / 2

    def blocks(x, size):
        full = x.numel() // size * size
        whole = x[:full].reshape(-1, size)
        most = whole.abs().max(-1)[0] if full else x.new_zeros(0)
        scaled = torch.clamp(whole * (1.0 / most.clamp(min=1e-38).view(-1, 1)), -1, 1).reshape(-1)
        if full < x.numel():
            last = x[full:].abs().max().clamp(min=1e-38)
            most = torch.cat([most, last.unsqueeze(0)])
            scaled = torch.cat([scaled, torch.clamp(x[full:] / last, -1, 1)])
        return scaled, most

    scaled, absmax = blocks(flat, 64)
    if scaled.numel() % 2:
        scaled = torch.nn.functional.pad(scaled, (0, 1))
    q = order[torch.bucketize(scaled, bounds)].to(torch.uint8)
    packed = ((q[::2] << 4) | q[1::2]).unsqueeze(1)
    if not nested:
        return packed, F.QuantState(absmax=absmax, shape=a.shape, dtype=a.dtype, blocksize=64, code=code, quant_type=kind)
    offset = absmax.double().mean().float()
    table = F.create_dynamic_map()
    rest, most = blocks(absmax - offset, 256)
    codes = torch.bucketize(rest, (table[:-1] + table[1:]) / 2).to(torch.uint8)
    second = F.QuantState(absmax=most, code=table, blocksize=256, dtype=torch.float32)
    return packed, F.QuantState(absmax=codes, shape=a.shape, dtype=a.dtype, blocksize=64, code=code, quant_type=kind,
                                offset=offset, state2=second)


def main(folder):
    tensors = {}

    def put(name, a, nested=True, kind="nf4"):
        packed, state = four_bits(a, nested, kind)
        own, _ = F.quantize_4bit(a, blocksize=64, quant_type=kind)
        assert torch.equal(own, packed), name  # the library agrees on the codes of the numbers themselves
        tensors[name + ".original"] = a
        tensors[name + ".weight"] = packed
        for key, value in state.as_dict(packed=True).items():
            tensors[f"{name}.weight.{key}"] = value.clone()
        tensors[name + ".decoded"] = F.dequantize_4bit(packed, state)

    wide = torch.randn(24, 1088) * torch.logspace(-3, 1, 24).unsqueeze(1)
    wide[3, :64] = 0
    put("even", wide)
    put("odd", torch.randn(7, 45))
    put("plain", torch.randn(6, 128), nested=False)
    put("fp4", torch.randn(6, 128), kind="fp4")

    a = torch.randn(9, 50) * 3
    a[4] = 0
    stats = a.abs().max(1).values
    codes = torch.round(a * (127.0 / stats.unsqueeze(-1))).to(torch.int8)
    own, own_stats, _ = F.int8_vectorwise_quant(a.clone())
    assert torch.equal(own, codes) and torch.equal(own_stats, stats)
    tensors |= {"bytes.original": a, "bytes.weight": codes, "bytes.SCB": stats,
                "bytes.weight_format": torch.tensor(0, dtype=torch.uint8),
                "bytes.decoded": F.int8_vectorwise_dequant(codes, stats)}
    tensors["dynamic_map"] = F.create_dynamic_map()
    save_file(tensors, folder + "/packed_numbers.safetensors", metadata={"format": "pt"})
    print(json.dumps({k: list(v.shape) for k, v in tensors.items()}, indent=0))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
