// SPDX-License-Identifier: BSL-1.0
// Catch2, version 3 where it is installed and version 2 elsewhere, with one vocabulary: `Approx`, `SKIP` and the macros
// common to both.
//
// SKIP("why") leaves a test that lacks something (data, a GPU). A program whose every test was skipped returns 4,
// which ctest shows as "Skipped". Under version 2, SKIP works in the body of a TEST_CASE only, not in a helper.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)

#include <catch2/catch_all.hpp>
using Catch::Approx;

#else

#include <catch2/catch.hpp>

namespace plumb_test {
/// How many tests of this program were skipped; main.cpp reads it.
inline int& skipped_tests() {
  static int count = 0;
  return count;
}
}  // namespace plumb_test

#if !defined(SKIP)
#define SKIP(...)                     \
  do {                                \
    WARN("skipped: " << __VA_ARGS__); \
    ++plumb_test::skipped_tests();    \
    return;                           \
  } while (false)
#endif

#endif
