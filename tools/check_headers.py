#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Each header that a program may include compiles alone, without warnings: it includes all that it uses.

    check_headers.py --cxx g++ --flags build/flags/plumb.txt [--thrust-flags F] [--nvcc nvcc] [header...]
    check_headers.py ... --self-test     a header that lacks an include must be found

One compilation checks a chain of headers, each of which includes the one before it, at first or further down. What is
declared when the text of a header is reached is then what its own includes declare, as if it were alone: by induction
each of the chain compiles alone if the chain compiles.

Bodies (*_impl.hpp) are left out unless they are named: plumb/impl.hpp includes them, which the build compiles.
Headers of the Thrust backend need Thrust's headers (--thrust-flags), those of the CUDA backend nvcc (--nvcc); where
these are missing, such headers are passed over and counted.
"""
import argparse
import functools
import os
import re
import sys
import tempfile
from pathlib import Path

from compiling import STANDARD, WARNINGS, first_errors, in_parallel, read_flags, run_measured
from source_text import ROOT, headers


def kind(path):
    if path.suffix == ".cuh" or (path.parent.name == "backend" and path.name.startswith("cuda")):
        return "cuda"
    return "thrust" if path.parent.name == "backend" and path.name.startswith("thrust") else "plain"


def included(path):
    """The headers of the repository that this one includes whatever is defined."""
    depth, found = 0, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*#\s*if", line):
            depth += 1
        elif re.match(r"\s*#\s*endif", line):
            depth -= 1
        elif depth == 0 and (name := re.match(r"\s*#\s*include\s*<(plumb/[^>]+)>", line)):
            found.append(ROOT / "include" / name[1])
    return found


@functools.cache
def closure(path):
    """All headers of the repository that come with this one. They do not include each other in circles (check_layers.py)."""
    return frozenset(each for direct in included(path) for each in (direct, *closure(direct)))


def chains(files):
    """The headers in the fewest chains of one kind: a path cover of "comes with", by a largest matching (Dilworth)."""
    wanted = set(files)
    before, after = {}, {}  # each header's neighbours in its chain

    def extend(path, seen):
        for each in sorted(closure(path) & wanted):
            if each in seen or kind(each) != kind(path):
                continue
            seen.add(each)
            if each not in after or extend(after[each], seen):
                after[each], before[path] = path, each
                return True
        return False

    for path in files:
        extend(path, set())
    out = []
    for path in files:
        if path in after:
            continue
        chain = [path]
        while chain[-1] in before:
            chain.append(before[chain[-1]])
        out.append(chain[::-1])
    return out


def command(chain, options):
    """How to compile the headers of a chain, or None where this machine cannot."""
    which = kind(chain[0])
    include = [word for path in chain for word in ("-include", str(path))]
    flags = read_flags(options.flags)
    if which == "cuda":
        if not options.nvcc:
            return None
        flags = [flag.replace("-isystem", "-isystem=", 1) for flag in flags]
        return [options.nvcc, "-std=c++20", "-arch=sm_90", "--expt-relaxed-constexpr", "-DEIGEN_NO_CUDA", *flags, "-c",
                "-x", "cu", *include, "-o", os.devnull]
    if which == "thrust":
        if not options.thrust_flags:
            return None
        flags = read_flags(options.thrust_flags) + ["-DTHRUST_DEVICE_SYSTEM=THRUST_DEVICE_SYSTEM_CPP"]
    return [options.cxx, *STANDARD, *WARNINGS, "-Werror", *flags, "-fsyntax-only", "-x", "c++", *include]


def compile_chain(chain, options):
    """None when all is well, False when it could not be tried, otherwise the messages."""
    line = command(chain, options)
    if line is None:
        return False
    # An empty file includes the headers, since a header is not itself meant to be compiled.
    with tempfile.NamedTemporaryFile(suffix=".cu" if kind(chain[0]) == "cuda" else ".cpp") as empty:
        status, text, _, _ = run_measured([*line, empty.name])
    return None if status == 0 else text


def compile_alone(chain, options):
    """What compile_chain says of each header; those of a chain that does not compile are compiled by themselves."""
    result = compile_chain(chain, options)
    if not isinstance(result, str) or len(chain) == 1:
        return [result] * len(chain)
    each = [compile_chain([path], options) for path in chain]
    return each if any(isinstance(one, str) for one in each) else [*each[:-1], result]


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
            found = compile_alone([bad, good], options)
            ok = isinstance(found[0], str) and found[1] is None and compile_alone([good], options) == [None]
            ok = ok and sorted(chains([bad, good])) == sorted([[bad], [good]])  # neither comes with the other
        print("headers alone, self-test:", "all well" if ok else "a header without its includes passed")
        return 0 if ok else 1

    files = options.headers or [path for path in headers() if not path.name.endswith("_impl.hpp")]
    together = chains(files)
    results = sum(in_parallel(lambda chain: compile_alone(chain, options), together), [])
    files = sum(together, [])
    failed = [(path, text) for path, text in zip(files, results) if isinstance(text, str)]
    for path, text in failed:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"{shown} does not compile alone:\n{first_errors(text)}")
    passed_over = sum(result is False for result in results)
    print(f"headers alone: {len(files) - passed_over - len(failed)} compile, {len(failed)} do not, "
          f"{passed_over} need a compiler or headers that are not here; {len(together)} compilations")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
