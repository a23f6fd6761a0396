#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The programs in README.md and docs/ compile and run: what a reader copies works.

    check_snippets.py --cxx g++ --flags build/flags/plumb.txt [--link option]... [file.md...]
    check_snippets.py ... --self-test

Every ```cpp block that contains `int main` is a program: it is compiled and linked at -O0. A comment on the last
non-empty line before the block changes that:

    <!-- run -->        also run it, in an empty folder; it has to return 0
    <!-- fragment -->   leave it alone
"""
import argparse
import re
import sys
import tempfile
from pathlib import Path

from compiling import STANDARD, first_errors, in_parallel, read_flags, run_measured
from source_text import ROOT

SECONDS_TO_RUN = "60"


def programs(path):
    """Pairs (line of the block's first line, text, whether to run it) of one Markdown file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marker, start, indent = "", None, ""
    for number, line in enumerate(lines):
        if start is None:
            opening = re.match(r"(\s*)```\s*(\S*)", line)
            if opening:
                start, indent, language = number + 1, opening.group(1), opening.group(2)
            elif line.strip():
                marker = line.strip()
        elif line.strip() == "```":
            text = "\n".join(one.removeprefix(indent) for one in lines[start:number]) + "\n"
            if language in ("cpp", "c++") and re.search(r"\bint main\b", text) and marker != "<!-- fragment -->":
                yield start + 1, text, marker == "<!-- run -->"
            start, marker = None, ""


def try_program(where, text, run, options):
    """None when all is well, otherwise what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "snippet.cpp", Path(folder) / "snippet"
        source.write_text(f'#line {where.rsplit(":", 1)[1]} "{where.rsplit(":", 1)[0]}"\n{text}', encoding="utf-8")
        status, messages, _, _ = run_measured(
            [options.cxx, *STANDARD, "-O0", *read_flags(options.flags), str(source), "-o", str(program), "-pthread",
             *options.link])
        if status != 0:
            return f"{where}: does not compile:\n{first_errors(messages)}"
        if run:
            here = Path(folder) / "here"
            here.mkdir()
            status, messages, _, _ = run_measured(["timeout", SECONDS_TO_RUN, str(program)], cwd=here)
            if status != 0:
                return f"{where}: returned {status}:\n{messages[-2000:]}"
    return None


def check(files, options):
    found = [(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}", text, run)
             for path in files for line, text, run in programs(path)]
    problems = [p for p in in_parallel(lambda one: try_program(*one, options), found) if p]
    return found, problems


def self_test(options):
    blocks = {  # text of a Markdown file: (programs in it, problems)
        "```cpp\nint main() {}\n```\n": (1, 0),
        "```cpp\nint main() { return x; }\n```\n": (1, 1),
        "```cpp\nint main() { return 3; }\n```\n": (1, 0),
        "<!-- run -->\n```cpp\nint main() { return 3; }\n```\n": (1, 1),
        "<!-- run -->\n\n```cpp\nint main() { return 0; }\n```\n": (1, 0),
        "<!-- fragment -->\n```cpp\nint main() { return x; }\n```\n": (0, 0),
        "```cpp\nint f();\nint main() { return f(); }\n```\n": (1, 1),
        "```cpp\nx + 1\n```\n": (0, 0),
        "```\nint main() { return x; }\n```\n": (0, 0),
        "1. indented\n   ```cpp\n   int main() {}\n   ```\n": (1, 0),
        "<!-- run -->\ntext\n```cpp\nint main() { return 3; }\n```\n": (1, 0),
    }
    wrong = 0
    for text, expected in blocks.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.md"
            path.write_text(text, encoding="utf-8")
            found, problems = check([path], options)
        if (len(found), len(problems)) != expected:
            wrong += 1
            print(f"self-test: {text!r}: expected {expected}, found {(len(found), len(problems))}: {problems}")
    print(f"snippets, self-test: {wrong} problem(s) in {len(blocks)} pages")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--flags", required=True)
    parser.add_argument("--link", action="append", default=[])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    if options.self_test:
        return self_test(options)
    readme = ROOT / "README.md"
    files = options.files or ([readme] if readme.exists() else []) + sorted((ROOT / "docs").rglob("*.md"))
    found, problems = check(files, options)
    for problem in problems:
        print(problem)
    run = sum(one[2] for one in found)
    print(f"snippets: {len(problems)} problem(s) in {len(found)} program(s), {run} of them run; {len(files)} page(s)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
