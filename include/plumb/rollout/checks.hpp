// SPDX-License-Identifier: BSL-1.0
// Checks that functions on rewards, values and advantages share.
#pragma once

#include <cmath>
#include <plumb/core/error.hpp>
#include <span>
#include <string_view>

namespace plumb::inline v0::detail {

inline void check_finite_numbers(std::string_view place, std::string_view what, std::span<const double> numbers) {
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!std::isfinite(numbers[i]))
      throw error(
          errc::bad_argument, std::string(place),
          join("expected finite ", what, ", found ", numbers[i], " at ", i, "; leave out what could not be scored"));
  }
}
inline void check_size(std::string_view place, std::string_view what, std::size_t expected, std::size_t found) {
  if (expected != found)
    throw error(errc::bad_argument, std::string(place), join("expected ", expected, " ", what, ", found ", found));
}
inline void check_share(std::string_view place, std::string_view what, double x) {
  if (!(x >= 0 && x <= 1))
    throw error(errc::bad_argument, std::string(place), join("expected ", what, " from 0 to 1, found ", x));
}
inline void check_not_negative(std::string_view place, std::string_view what, double x) {
  if (!(x >= 0) || std::isinf(x))
    throw error(errc::bad_argument, std::string(place), join("expected a finite ", what, " of at least 0, found ", x));
}

/// A mask as it is given: empty means that every token counts.
struct token_mask {
  std::span<const unsigned char> given;
  [[nodiscard]] bool operator[](std::size_t i) const { return given.empty() || given[i] != 0; }
};

}  // namespace plumb::inline v0::detail
