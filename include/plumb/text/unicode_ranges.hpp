// SPDX-License-Identifier: BSL-1.0
// Sets of code points as ranges in ascending order.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace plumb::inline v0::detail {

/// Code points from `first` to `last`.
struct code_range {
  char32_t first, last;
};

template <std::size_t Count>
constexpr bool is_in(const std::array<code_range, Count>& ranges, char32_t code) noexcept {
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code, [](char32_t c, const code_range& r) { return c < r.first; });
  return after != ranges.begin() && code <= (after - 1)->last;
}

}  // namespace plumb::inline v0::detail
