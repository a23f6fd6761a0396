# SPDX-License-Identifier: BSL-1.0
"""A GGUF file in a format that plumb reads and does not write, by llama.cpp: quantize.py IN.gguf OUT.gguf q4_0"""
import ctypes
import sys

import llama_cpp

FORMATS = {"q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}


def main():
    source, target, kind = sys.argv[1:]
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = FORMATS[kind]
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options)) != 0:
        raise SystemExit(f"{source}: llama.cpp could not write {kind}")


if __name__ == "__main__":
    main()
