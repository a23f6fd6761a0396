#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Each header that a program may include compiles alone, without warnings: it includes all that it uses.

    check_headers.py --cxx g++ --flags build/flags/plumb.txt [--thrust-flags F] [--nvcc nvcc] [header...]
    check_headers.py ... --self-test     a header that lacks an include must be found

Bodies (*_impl.hpp) are left out unless they are named: plumb/impl.hpp includes them, which the build compiles.
Headers of the Thrust backend need Thrust's headers (--thrust-flags), those of the CUDA backend nvcc (--nvcc); where
these are missing, such headers are passed over and counted.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

from compiling import STANDARD, WARNINGS, first_errors, in_parallel, read_flags, run_measured
from source_text import ROOT, headers


def kind(path):
    if path.suffix == ".cuh" or (path.parent.name == "backend" and path.name.startswith("cuda")):
        return "cuda"
    return "thrust" if path.parent.name == "backend" and path.name.startswith("thrust") else "plain"


def command(path, options):
    """How to compile the header alone, or None where this machine cannot."""
    which = kind(path)
    flags = read_flags(options.flags)
    if which == "cuda":
        if not options.nvcc:
            return None
        flags = [flag.replace("-isystem", "-isystem=", 1) for flag in flags]
        return [options.nvcc, "-std=c++20", "-arch=sm_90", "--expt-relaxed-constexpr", "-DEIGEN_NO_CUDA", *flags, "-c",
                "-x", "cu", "-include", str(path), "-o", os.devnull]
    if which == "thrust":
        if not options.thrust_flags:
            return None
        flags = read_flags(options.thrust_flags) + ["-DTHRUST_DEVICE_SYSTEM=THRUST_DEVICE_SYSTEM_CPP"]
    return [options.cxx, *STANDARD, *WARNINGS, "-Werror", *flags, "-fsyntax-only", "-x", "c++", "-include", str(path)]


def compile_alone(path, options):
    """None when all is well, False when it could not be tried, otherwise the messages."""
    line = command(path, options)
    if line is None:
        return False
    # An empty file includes the header, since a header is not itself meant to be compiled.
    with tempfile.NamedTemporaryFile(suffix=".cu" if kind(path) == "cuda" else ".cpp") as empty:
        status, text, _, _ = run_measured([*line, empty.name])
    return None if status == 0 else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--flags", required=True)
    parser.add_argument("--thrust-flags")
    parser.add_argument("--nvcc")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("headers", nargs="*", type=Path)
    options = parser.parse_args()

    if options.self_test:
        with tempfile.TemporaryDirectory() as folder:
            bad, good = Path(folder) / "bad.hpp", Path(folder) / "good.hpp"
            bad.write_text("#pragma once\ninline std::string name();\n", encoding="utf-8")
            good.write_text("#pragma once\n#include <string>\ninline std::string f() { return {}; }\n", encoding="utf-8")
            ok = compile_alone(bad, options) is not None and compile_alone(good, options) is None
        print("headers alone, self-test:", "all well" if ok else "a header without its includes passed")
        return 0 if ok else 1

    files = options.headers or [path for path in headers() if not path.name.endswith("_impl.hpp")]
    results = in_parallel(lambda path: compile_alone(path, options), files)
    failed = [(path, text) for path, text in zip(files, results) if isinstance(text, str)]
    for path, text in failed:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"{shown} does not compile alone:\n{first_errors(text)}")
    passed_over = sum(result is False for result in results)
    print(f"headers alone: {len(files) - passed_over - len(failed)} compile, {len(failed)} do not, "
          f"{passed_over} need a compiler or headers that are not here")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
