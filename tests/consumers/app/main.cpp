// SPDX-License-Identifier: BSL-1.0
// A program that uses plumb as a stranger would; other.cpp includes the same headers, so that what a header defines
// twice would not link.
#include "everything.hpp"

#include <cstdio>

std::string_view version_seen_by_the_other_file();

int main() {
  if (plumb::version != version_seen_by_the_other_file()) return 1;
  try {
    throw plumb::error(plumb::errc::not_found, "model", plumb::join("expected ", 2, " files"));
  } catch (const plumb::error& problem) {
    std::printf("plumb %s: %s\n", plumb::version.data(), problem.what());
    return problem.code() == plumb::errc::not_found ? 0 : 1;
  }
}
