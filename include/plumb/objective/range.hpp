// SPDX-License-Identifier: BSL-1.0
// Where a parameter may lie: an interval whose ends are in or out.
#pragma once

namespace plumb::inline v0 {

/// An interval of numbers. NaN lies in none.
struct range {
  double lower = -__builtin_inf();
  double upper = __builtin_inf();
  bool with_lower = false;  ///< whether the end itself belongs to it
  bool with_upper = false;

  [[nodiscard]] constexpr bool contains(double x) const {
    return (with_lower ? x >= lower : x > lower) && (with_upper ? x <= upper : x < upper);
  }
};

/// (a, ∞): finite and greater than a.
constexpr range above(double a) { return {.lower = a}; }
/// [a, ∞): finite and at least a.
constexpr range at_least(double a) { return {.lower = a, .with_lower = true}; }
/// [a, b]: from a to b, both included.
constexpr range between(double a, double b) { return {.lower = a, .upper = b, .with_lower = true, .with_upper = true}; }
/// [a, b): from a to below b.
constexpr range from_below(double a, double b) { return {.lower = a, .upper = b, .with_lower = true}; }
/// Any finite number.
constexpr range any_number() { return {}; }

}  // namespace plumb::inline v0
