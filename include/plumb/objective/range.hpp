// SPDX-License-Identifier: BSL-1.0
// What a parameter may be: a number in an interval whose ends are in or out, or one of a few words.
#pragma once

namespace plumb::inline v0 {

/// An interval of numbers. NaN lies in none. With `words` the numbers 0, 1, … stand for words: an enum or a bool.
struct range {
  double lower = -__builtin_inf();
  double upper = __builtin_inf();
  bool with_lower = false;  ///< whether the end itself belongs to it
  bool with_upper = false;
  const char* const* words = nullptr;  ///< [upper + 1], or null for plain numbers

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
/// (a, b]: above a, up to b.
constexpr range above_up_to(double a, double b) { return {.lower = a, .upper = b, .with_upper = true}; }
/// (a, b): above a and below b.
constexpr range inside(double a, double b) { return {.lower = a, .upper = b}; }
/// Any finite number.
constexpr range any_number() { return {}; }

/// One of these words; word k stands for value k of an enum. The array must outlive the program's use of it:
///
///     enum class colour { red, green };
///     inline constexpr const char* colour_words[] = {"red", "green"};
///     about("colour", self.colour, "which", plumb::one_of(colour_words));
template <unsigned long Count>
constexpr range one_of(const char* const (&words)[Count]) {
  return {.lower = 0, .upper = Count - 1, .with_lower = true, .with_upper = true, .words = words};
}

namespace detail {
inline constexpr const char* no_yes_words[] = {"false", "true"};
}  // namespace detail

/// A bool.
constexpr range yes_or_no() { return one_of(detail::no_yes_words); }

}  // namespace plumb::inline v0
