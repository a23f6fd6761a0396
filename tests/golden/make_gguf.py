# SPDX-License-Identifier: BSL-1.0
"""Writes tests/golden/gguf/: a small GGUF file with every number format that plumb reads and metadata of every kind,
and the same tensors as float32, dequantised by the Python package `gguf` (an implementation independent of plumb).

    pip install gguf numpy safetensors
    python tests/golden/make_gguf.py
"""

import pathlib

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Kind
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent / "gguf"
FORMATS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Where the half-precision numbers of a block lie; they are drawn as such, all other bytes are any.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}


def blocks(rng, type_name, rows, columns):
    """Random stored bytes of a [rows, columns] tensor."""
    block, size = gguf.GGML_QUANT_SIZES[Type[type_name]]
    out = rng.integers(0, 256, (rows * columns // block, size), dtype=numpy.uint8)
    for at in HALVES[type_name]:
        scale = (rng.standard_normal(len(out)) * 10.0 ** rng.integers(-6, 2, len(out))).astype(numpy.float16)
        out[:, at:at + 2] = scale.view(numpy.uint8).reshape(-1, 2)
    return out.reshape(rows, -1)


def main():
    HERE.mkdir(exist_ok=True)
    rng = numpy.random.default_rng(7)
    writer = gguf.GGUFWriter(HERE / "formats.gguf", "llama")
    writer.add_name("every format, é")
    for name, value, kind in [("u8", 200, Kind.UINT8), ("i8", -100, Kind.INT8), ("u16", 60000, Kind.UINT16),
                              ("i16", -30000, Kind.INT16), ("u32", 4000000000, Kind.UINT32),
                              ("i32", -2000000000, Kind.INT32), ("f32", 0.1, Kind.FLOAT32), ("true", True, Kind.BOOL),
                              ("false", False, Kind.BOOL), ("u64", 2**63 + 5, Kind.UINT64),
                              ("i64", -2**62, Kind.INT64), ("f64", 0.1, Kind.FLOAT64)]:
        writer.add_key_value("test." + name, value, kind)
    writer.add_array("test.texts", ["a", "", "ü€😀"])
    writer.add_array("test.numbers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.5])
    expected = {}
    for name in FORMATS:
        shape = (2, 512) if "_K" in name else (3, 64)
        tensor = "tensor." + name
        if name in HALVES:
            stored = blocks(rng, name, *shape)
            writer.add_tensor(tensor, stored, raw_dtype=Type[name])
        else:
            numbers = rng.standard_normal(shape).astype(numpy.float32)
            numbers[0, :3] = [0, -0.0, 1e-7]
            stored = gguf.quantize(numbers, Type[name])
            writer.add_tensor(tensor, stored, raw_dtype=Type[name])
        expected[tensor] = gguf.dequantize(stored, Type[name]).reshape(shape).astype(numpy.float32)
    # What plumb writes as Q8_0 has to be what the package writes, to the byte.
    source = (rng.standard_normal((4, 64)) * 3).astype(numpy.float32)
    source[1] = 0
    expected["source"] = source
    expected["source.Q8_0"] = gguf.quantize(source, Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, HERE / "formats.safetensors")


main()
