#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The laws that one can see in a header's text: length, first lines, and what a library must not do.

    check_source.py              check include/plumb
    check_source.py --self-test  plant one violation of each kind and see that it is found
"""
import re
import sys
import tempfile
from pathlib import Path

from source_text import ROOT, code_only, headers, report

MAX_LINES = 400
MAX_MACROS = 6

# Macros of other libraries that a header may define, when it chooses for a user who chose nothing.
SETTINGS = {"backend/thrust.hpp": "THRUST_DEVICE_SYSTEM"}

# A call that is not a member or a qualified name of ours: `abort(`, `std::abort(`, `::abort(`, not `x.abort(`.
_CALL = r"(?<![\w.>:])(?:std::|::)?(?:{})\s*\("

FORBIDDEN = [
    (_CALL.format("assert"), "throw plumb::error; a library does not stop its host"),
    (_CALL.format("abort|exit|_Exit|quick_exit|terminate"), "throw plumb::error; a library does not stop its host"),
    (_CALL.format("printf|fprintf|vprintf|puts|fputs|putchar|perror"), "the library never prints"),
    (r"\bstd::(cout|cerr|clog|cin)\b", "the library never prints"),
    (_CALL.format("setlocale|localeconv|sprintf|snprintf|sscanf|strtod|strtof|atof|stod|stof"),
     "depends on the locale: use <charconv>"),
    (r"\bstd::locale\b", "the library does not touch the locale"),
    (_CALL.format("getenv|setenv|putenv|secure_getenv"), "the library does not read or change the environment"),
    (_CALL.format("signal|sigaction|raise"), "the library installs no signal handlers"),
    (_CALL.format("system|popen"), "the library starts no programs"),
    (_CALL.format("srand|rand"), "use plumb's counter-based random numbers"),
    (r"\bstd::(regex|function)\b", "slow; see docs/design/conventions.md"),
    (r"\bthread_local\b", "no writable globals"),
    (r"^\s*(?:inline\s+static|static\s+inline|static)\s+(?!constexpr\b|const\b|consteval\b|constinit const\b)"
     r"[\w:<>,&* ]+?(?:=|;|\{)(?!.*\()", "no writable globals"),
    (r"^inline\s+(?!.*\boperator\b)(?!constexpr\b|const\b|consteval\b|constinit const\b|namespace\b)"
     r"[\w:<>,&* ]+?\s\w+\s*(?:=|;|\{[^()]*\};)", "no writable globals"),
]


def check_file(path, name):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{path}:{MAX_LINES + 1}: {len(lines)} lines, {MAX_LINES} at most: split it, one concept a file"
    if not lines or lines[0] != "// SPDX-License-Identifier: BSL-1.0":
        yield f"{path}:1: the first line is to be `// SPDX-License-Identifier: BSL-1.0`"
    elif len(lines) < 2 or not lines[1].startswith("// "):
        yield f"{path}:2: say in one or two sentences what this header is"
    if "#pragma once" not in lines[:12]:
        yield f"{path}:1: `#pragma once` is missing"
    if text and not text.endswith("\n"):
        yield f"{path}:{len(lines)}: the last line does not end"
    code = code_only(text).splitlines()
    for number, line in enumerate(code, 1):
        if line.lstrip().startswith("#"):
            macro = re.match(r"\s*#\s*define\s+(\w+)", line)
            if macro and name != "config.hpp" and macro.group(1) != SETTINGS.get(name):
                yield f"{path}:{number}: {macro.group(1)}: macros live in config.hpp alone"
            continue
        for pattern, reason in FORBIDDEN:
            found = re.search(pattern, line)
            if found:
                yield f"{path}:{number}: {found.group().strip()} : {reason}"
    if name == "config.hpp":
        macros = sorted(set(re.findall(r"^\s*#\s*define\s+(\w+)", "\n".join(code), re.MULTILINE)))
        own = [m for m in macros if m.startswith("PLUMB_")]
        if len(own) > MAX_MACROS:
            yield f"{path}:1: {len(own)} macros, {MAX_MACROS} at most: {', '.join(own)}"
        for macro in macros:
            if macro not in own and macro != "EIGEN_NO_CUDA":
                yield f"{path}:1: {macro}: plumb's macros begin with PLUMB_"


def check_version(root):
    """vcpkg.json cannot read the version from config.hpp, so it has to repeat it."""
    manifest, config = root / "vcpkg.json", root / "include" / "plumb" / "config.hpp"
    if manifest.exists() and config.exists():
        found = re.search(r"^#define PLUMB_VERSION (\d+)$", config.read_text(encoding="utf-8"), re.MULTILINE)
        number = int(found.group(1)) if found else 0
        version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
        if f'"version": "{version}"' not in manifest.read_text(encoding="utf-8"):
            yield f"{manifest}:1: the version is not {version}, as config.hpp says"


def check(root):
    problems = list(check_version(root))
    for path in headers(root):
        problems += check_file(path, path.relative_to(root / "include" / "plumb").as_posix())
    return problems


def self_test():
    head = "// SPDX-License-Identifier: BSL-1.0\n// A header.\n#pragma once\n"
    bad = [
        "// A header.\n#pragma once\n",
        "// SPDX-License-Identifier: BSL-1.0\n// A header.\nint x();\n",
        "// SPDX-License-Identifier: BSL-1.0\n#pragma once\n",
        head + "\n" * MAX_LINES,
        head + "int x();",
    ] + [head + line + "\n" for line in [
        "  assert(x > 0);", "  std::abort();", "  ::exit(1);", '  std::printf("x");', "  std::cout << 1;",
        "#define PLUMB_X 1", "  static int calls = 0;", "inline int counter = 0;", "  thread_local int x;",
        "  static std::vector<int> cache;", '  std::getenv("HOME");', "  std::function<void()> f;", "  srand(1);",
        "inline std::vector<int> all;", "  std::snprintf(b, 3, f);", "  static inline int n{};"]]
    good = [head + line + "\n" for line in [
        "  static_assert(x > 0);", "// assert(x)", 'throw error("never abort()");', "  loop.exit();",
        "  static constexpr int n = 0;", "  static const std::vector<int> table = make();",
        "inline constexpr int n = 0;", "inline namespace v0 {",
        "  static tokenizer load(const path& p);", "inline int f(int x) { return x; }", "inline std::string f();",
        "  static auto f() { return 1; }", "  int n = 1'000'000; char c = 'a';", "  static std::size_t f(int a = 0);",
        "  my::signal(1);", "inline bool operator==(const a& x, const a& y) { return x.v == y.v; }",
        "inline void f(int value = 3);"]]
    wrong = []
    # Each text is checked in a tree of its own.
    for text, guilty in [(t, True) for t in bad] + [(t, False) for t in good]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "include" / "plumb" / "core" / "a.hpp"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            if bool(check(Path(folder))) != guilty:
                verdict = "be refused" if guilty else "pass"
                wrong.append(f"self-test: should {verdict}: {text.replace(head, '')[:70]!r}")
    return report("source law, self-test", wrong, f"{len(bad) + len(good)} planted headers")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    sys.exit(report("source law", check(ROOT), f"{len(headers())} headers"))
