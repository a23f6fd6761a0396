#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Formats the C++ sources, or says with --check which are not formatted. Version 19 of clang-format alone is used, since
# others format requires-clauses differently; where it is missing --check returns 4, which ctest shows as "Skipped".
cd "$(dirname "$0")/.." || exit 1
format=
for candidate in clang-format-19 clang-format; do
  if "$candidate" --version 2>/dev/null | grep -q 'version 19\.'; then
    format=$candidate
    break
  fi
done
if [ -z "$format" ]; then
  echo "format: skipped, clang-format 19 is not installed (on Debian and Ubuntu: apt-get install clang-format-19)"
  [ "${1:-}" = --check ] && exit 4
  exit 1
fi
sources() {
  find include examples tests benchmarks src cmake \
    \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null | sort
}
if [ "${1:-}" = --check ]; then
  if ! said=$(sources | xargs "$format" --dry-run -Werror 2>&1); then
    wrong=$(printf '%s\n' "$said" | sed -n 's/:[0-9]*:[0-9]*: error: .*/: not formatted/p' | sort -u)
    printf '%s\nformat: run ./dev format\n' "${wrong:-$said}"
    exit 1
  fi
  echo "format: $(sources | wc -l) files, all well"
else
  sources | xargs "$format" -i
fi
