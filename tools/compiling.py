# SPDX-License-Identifier: BSL-1.0
"""Compiles small programs for the checks, and measures what that costs."""
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STANDARD = ["-std=c++20"]
# clang blames who calls std::stable_sort for what libstdc++ 12 has deprecated of its own.
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Wno-deprecated-declarations"]


def read_flags(path):
    """The options in a file that CMake wrote, one a line."""
    return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]


def run_measured(command, **options):
    """Runs a command; returns (exit status, its messages, user CPU seconds, peak memory in MB)."""
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=messages, stderr=messages, stdin=subprocess.DEVNULL, **options)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        messages.seek(0)
        text = messages.read().decode(errors="replace")
    return process.returncode, text, usage.ru_utime, usage.ru_maxrss / 1024


def in_parallel(function, items, workers=None):
    """Maps over the items with a few threads (each waits for a compiler) and keeps their order."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return list(pool.map(function, items))


def first_errors(text, count=12):
    """The first lines of a compiler's messages that say something."""
    lines = text.splitlines()
    wanted = [line for line in lines if "error" in line or "warning" in line]
    return "\n".join("    " + line for line in (wanted or lines)[:count])
