# SPDX-License-Identifier: BSL-1.0
"""What the checks share: where the headers are, and C++ text without its comments and literals."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_TOKEN = re.compile(
    r"""//[^\n]*                                # a comment to the end of the line
      | /\*.*?\*/                              # a comment that may span lines
      | R"(?P<d>[^()\\\s]{0,16})\(.*?\)(?P=d)" # a raw string
      | "(?:\\.|[^"\\\n])*"                    # a string
      | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'    # a character, but not a digit separator
    """,
    re.VERBOSE | re.DOTALL,
)


def headers(root=ROOT):
    """Every header of the library, as sorted paths."""
    folder = root / "include" / "plumb"
    return sorted(p for p in folder.rglob("*") if p.suffix in (".hpp", ".cuh"))


def code_only(text):
    """The text with comments and literals replaced by blanks; line numbers stay as they are."""
    return _TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def includes(text):
    """Pairs (line number, what stands after #include, with its brackets or quotes)."""
    no_comments = _TOKEN.sub(
        lambda m: re.sub(r"[^\n]", " ", m.group()) if m.group().startswith("/") else m.group(), text)
    for number, line in enumerate(no_comments.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(<[^>]+>|"[^"]+")', line)
        if found:
            yield number, found.group(1)


def report(name, problems, counted):
    """Prints the problems, or that there are none; returns the exit status."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problem(s) in {counted}" if problems else f"{name}: {counted}, all well")
    return 1 if problems else 0
