#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that wrong programs do not compile, for the right reason.

    python3 tests/compile_fail/run.py CXX INCLUDE_DIR [NAME ...]

Each .cpp beside this script must fail to compile with every text of its `// expect:` lines in the output (a line
`// or:` gives another compiler's wording of the line before) and with at most three errors, so that the sentence that
helps is not buried. As the control, the same program with -DFIXED must compile: then nothing else was wrong with it.
"""

import pathlib
import re
import subprocess
import sys


def compile_program(compiler, include, source, *options):
    command = [compiler, "-std=c++20", "-fsyntax-only", "-I", include, *options, str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def expectations(source):
    """One list of alternatives per expected text."""
    wanted = []
    for line in source.read_text().splitlines():
        if line.startswith("// expect: "):
            wanted.append([line[len("// expect: ") :]])
        elif line.startswith("// or: "):
            wanted[-1].append(line[len("// or: ") :])
    return wanted


def check(compiler, include, source):
    wanted = expectations(source)
    if not wanted:
        return "has no `// expect:` line"
    status, output = compile_program(compiler, include, source)
    if status == 0:
        return "compiles, but must not"
    # A compiler may quote a message as a string literal: compare without backslashes.
    plain = output.replace("\\", "")
    for alternatives in wanted:
        if not any(text in plain for text in alternatives):
            return f"fails without saying: {alternatives[0]}\n{output}"
    errors = len(re.findall(r"(?:^|\s)(?:fatal )?error:", output))
    if errors > 3:
        return f"has {errors} errors; the message is buried\n{output}"
    status, output = compile_program(compiler, include, source, "-DFIXED", "-Wall", "-Wextra", "-Werror")
    if status != 0:
        return f"does not compile with -DFIXED either\n{output}"
    return None


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    compiler, include, *names = sys.argv[1:]
    folder = pathlib.Path(__file__).resolve().parent
    sources = sorted(folder.glob("*.cpp"))
    if names:
        sources = [s for s in sources if s.stem in names]
    if not sources:
        sys.exit("no programs to check")
    failures = 0
    for source in sources:
        problem = check(compiler, include, source)
        print(f"{source.stem}: {'ok' if problem is None else problem}")
        failures += problem is not None
    print(f"{len(sources) - failures} of {len(sources)} as expected")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
