#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compile time is a feature: measures what including plumb costs and compares it with its budget.

    check_compile_time.py --cxx g++ --flags build/flags/plumb.txt [--tolerance 1.5] [--update-readme]

User CPU seconds, the least of up to six runs, ten of short ones (one is enough when it is within the budget). Budgets
are meant for a machine that compiles a few headers of the standard library in YARDSTICK_SECONDS; one that needs longer
beside a run, because it is slower or busy with other things, has as much more for that run. --tolerance is a factor on
top, for what neighbours take. --update-readme does all runs and writes the table between `<!-- compile-time:begin -->`
and `<!-- compile-time:end -->` of README.md.
"""
import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compiling import STANDARD, read_flags, run_measured
from source_text import ROOT

MEMORY_MB = 1024
YARDSTICK = "".join(f"#include <{name}>\n" for name in ("algorithm", "functional", "map", "regex", "string", "vector"))
YARDSTICK_SECONDS = 0.54

# What to compile, its options, the budget in seconds. A name ending in .cpp is a program, otherwise a header.
BUDGETS = [
    ("plumb/objective/dpo.hpp", "an objective", "-O0", 0.15),
    ("plumb/objective/sft.hpp", "an objective", "-O0", 0.15),
    ("plumb/objective/aot_unpaired.hpp", "an objective that sorts the batch", "-O0", 0.15),
    ("plumb/fwd.hpp", "declarations", "-O0", 0.1),
    ("plumb/plumb.hpp", "everything for the CPU", "-O0", 2.0),
    ("examples/first_program.cpp", "a program that trains", "-O0", 8.0),
    ("examples/first_program.cpp", "a program that trains", "-O2", 20.0),
]


def source_of(what, folder):
    """The file to compile, or None when it is not there."""
    if what.endswith(".cpp"):
        path = ROOT / what
        return path if path.exists() else None
    if not (ROOT / "include" / what).exists():
        return None
    path = Path(folder) / (what.replace("/", "_") + ".cpp")
    path.write_text(f"#include <{what}>\n", encoding="utf-8")
    return path


def measure(command, budget, yardstick, all_runs):
    """((least seconds, peak MB, least seconds on a machine as fast as meant), "") or (None, the compiler's messages).

    How slow the machine is in a run's minute: the yardstick before the run and the one after it, whichever says less.
    """
    least, peak, fair, before = math.inf, 0.0, math.inf, 1.0
    for _ in range(6 if budget >= 1 else 10):  # short runs are more easily disturbed
        status, text, seconds, memory = run_measured(command)
        if status != 0:
            return None, text
        least, peak = min(least, seconds), max(peak, memory)
        after = before
        if seconds > budget:
            after = max(1.0, statistics.median(run_measured(yardstick)[2] for _ in range(3)) / YARDSTICK_SECONDS)
        fair, before = min(fair, seconds / min(before, after)), after
        if fair <= budget and not all_runs:
            break
    return (least, peak, fair), ""


def table(rows, compiler):
    lines = ["| compiled | | options | user seconds | budget | peak MB |", "|---|---|---|---:|---:|---:|"]
    for what, meaning, optimisation, budget, seconds, peak in rows:
        lines.append(f"| `{what}` | {meaning} | {optimisation} | {seconds:.2f} | {budget:g} | {peak:.0f} |")
    lines += ["", f"Measured with {compiler}; `tools/check_compile_time.py --update-readme` writes this table."]
    return "\n".join(lines)


def update_readme(text):
    path = ROOT / "README.md"
    begin, end = "<!-- compile-time:begin -->", "<!-- compile-time:end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin not in old or end not in old.split(begin, 1)[1]:
        sys.exit(f"README.md lacks the lines {begin} and {end}")
    before, rest = old.split(begin, 1)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--flags", required=True)
    parser.add_argument("--tolerance", type=float, default=1.0, help="factor on the budgets")
    parser.add_argument("--update-readme", action="store_true")
    options = parser.parse_args()
    flags = read_flags(options.flags)
    version = subprocess.run([options.cxx, "--version"], capture_output=True, text=True, check=True).stdout
    compiler = version.splitlines()[0]

    rows, problems = [], []
    with tempfile.TemporaryDirectory() as folder:
        standard = Path(folder) / "yardstick.cpp"
        standard.write_text(YARDSTICK, encoding="utf-8")
        yardstick = [options.cxx, *STANDARD, "-O0", "-c", str(standard), "-o", str(Path(folder) / "yardstick.o")]
        for what, meaning, optimisation, budget in BUDGETS:
            source = source_of(what, folder)
            if source is None:
                print(f"not there yet: {what}")
                continue
            output = str(Path(folder) / "out.o")
            command = [options.cxx, *STANDARD, *flags, optimisation, "-c", str(source), "-o", output]
            limit = budget * options.tolerance
            result, messages = measure(command, limit, yardstick, options.update_readme)
            if result is None:
                problems.append(f"{what} does not compile:\n{messages[:2000]}")
                continue
            seconds, peak, fair = result
            rows.append((what, meaning, optimisation, budget, seconds, peak))
            if fair > limit:
                needs = f"{seconds:.2f} s, {fair:.2f} s on a machine as fast as meant, budget {limit:.2f} s"
                problems.append(f"{what} {optimisation}: {needs}")
            if peak > MEMORY_MB:
                problems.append(f"{what} {optimisation}: {peak:.0f} MB, budget {MEMORY_MB} MB")
    text = table(rows, compiler)
    print(text)
    if options.update_readme and not problems:
        update_readme(text)
    for problem in problems:
        print(problem)
    if not rows:
        problems.append("nothing was measured")
        print(problems[-1])
    print(f"compile time: {len(problems)} problem(s), {len(rows)} measured (tolerance {options.tolerance:g})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
