// SPDX-License-Identifier: BSL-1.0
// Dual numbers: a number that carries its own derivatives, so that a formula, written once, also yields its slopes.
#pragma once

// A lesson in three steps.
//
// 1. Take a number and remember how fast it moves:        x = (value, slope), say (3, 1): "3, and I am the variable".
// 2. Teach arithmetic the rules of calculus:              (a, a') * (b, b') = (a b, a' b + a b').
// 3. Evaluate any formula with such numbers:              x * x + 2 = (3, 1) * (3, 1) + (2, 0) = (11, 6).
//
// 11 is the value of x² + 2 at 3, and 6 is its derivative 2x there: exact, not a finite difference, and nobody derived
// anything by hand. With N slopes a number follows N variables at once, which is all that an alignment objective
// needs: its formula sees a handful of head outputs per record (two log-probabilities for a preference pair), however
// large the model is. Each evaluation costs about N + 1 plain ones, and all of it is `constexpr`: it runs on a GPU too.
//
// examples/dual_number.cpp is this lesson as a program.

namespace plumb::inline v0 {

/// A value and its N partial derivatives.
///
/// A plain number converts to a dual with all slopes zero (a constant); `dual::variable(x, i)` has slope 1 in slot i.
/// There is no conversion back: a formula that drops its slopes by accident does not compile. Ask for it by name with
/// `value_of(x)` (a plain number) or `detach(x)` (a constant dual), both in core/math.hpp.
/// Comparisons look at the value alone.
template <int N, class T = double>
struct dual {
  static_assert(N > 0, "a dual number needs at least one slot");
  using scalar = T;
  static constexpr int slots = N;

  T value{};
  T slope[N]{};

  constexpr dual() = default;
  /// A constant.
  constexpr dual(T constant) : value(constant) {}  // implicit on purpose: formulas mix numbers and duals

  /// The variable of slot `slot` in [0, N): value x, slope 1 there and 0 elsewhere.
  static constexpr dual variable(T x, int slot) {
    dual result(x);
    result.slope[slot] = T(1);
    return result;
  }

  /// The chain rule: f(x) from f's value, its derivative `factor` at x, and x itself.
  /// A slope of zero stays zero even where the derivative is infinite: what does not move, does not move.
  static constexpr dual chain(T value, T factor, const dual& x) {
    dual result(value);
    for (int i = 0; i < N; ++i) result.slope[i] = x.slope[i] == T(0) ? T(0) : factor * x.slope[i];
    return result;
  }
  /// The chain rule for f(a, b) with partial derivatives `by_a` and `by_b`.
  static constexpr dual chain(T value, T by_a, const dual& a, T by_b, const dual& b) {
    dual result = chain(value, by_a, a);
    for (int i = 0; i < N; ++i) {
      if (b.slope[i] != T(0)) result.slope[i] += by_b * b.slope[i];
    }
    return result;
  }

  friend constexpr dual operator+(const dual& a) { return a; }
  friend constexpr dual operator-(const dual& a) { return chain(-a.value, T(-1), a); }

  friend constexpr dual operator+(const dual& a, const dual& b) { return chain(a.value + b.value, T(1), a, T(1), b); }
  friend constexpr dual operator-(const dual& a, const dual& b) { return chain(a.value - b.value, T(1), a, T(-1), b); }
  friend constexpr dual operator*(const dual& a, const dual& b) {
    return chain(a.value * b.value, b.value, a, a.value, b);
  }
  friend constexpr dual operator/(const dual& a, const dual& b) {
    const T quotient = a.value / b.value;
    return chain(quotient, T(1) / b.value, a, -quotient / b.value, b);
  }

  // The same with a plain number on one side: no work on slopes that are zero anyway. An int converts to T.
  friend constexpr dual operator+(const dual& a, T b) { return chain(a.value + b, T(1), a); }
  friend constexpr dual operator+(T a, const dual& b) { return chain(a + b.value, T(1), b); }
  friend constexpr dual operator-(const dual& a, T b) { return chain(a.value - b, T(1), a); }
  friend constexpr dual operator-(T a, const dual& b) { return chain(a - b.value, T(-1), b); }
  friend constexpr dual operator*(const dual& a, T b) { return chain(a.value * b, b, a); }
  friend constexpr dual operator*(T a, const dual& b) { return chain(a * b.value, a, b); }
  friend constexpr dual operator/(const dual& a, T b) { return chain(a.value / b, T(1) / b, a); }
  friend constexpr dual operator/(T a, const dual& b) {
    const T quotient = a / b.value;
    return chain(quotient, -quotient / b.value, b);
  }

  constexpr dual& operator+=(const dual& b) { return *this = *this + b; }
  constexpr dual& operator-=(const dual& b) { return *this = *this - b; }
  constexpr dual& operator*=(const dual& b) { return *this = *this * b; }
  constexpr dual& operator/=(const dual& b) { return *this = *this / b; }

  friend constexpr bool operator==(const dual& a, const dual& b) { return a.value == b.value; }
  friend constexpr bool operator<(const dual& a, const dual& b) { return a.value < b.value; }
  friend constexpr bool operator>(const dual& a, const dual& b) { return a.value > b.value; }
  friend constexpr bool operator<=(const dual& a, const dual& b) { return a.value <= b.value; }
  friend constexpr bool operator>=(const dual& a, const dual& b) { return a.value >= b.value; }
};

}  // namespace plumb::inline v0
