// SPDX-License-Identifier: BSL-1.0
// The number type of formulas over any number of variables: what a formula sees of the tape in core/scalar_tape.hpp.
#pragma once

#include <plumb/core/types.hpp>

// Only the type and the names of its words are here, so that objectives may use them at no cost; the tape that gives
// them their meaning, and the lesson how it works, is core/scalar_tape.hpp.

namespace plumb::inline v0 {

class scalar_tape;

/// A number whose history is on a tape, or a constant. A plain number converts to a constant; there is no way back but
/// value_of(x). It must not be used after its tape was cleared. Comparisons look at the value alone.
class scalar {
 public:
  constexpr scalar() = default;
  /// A constant.
  constexpr scalar(double constant) : value_(constant) {}  // implicit on purpose: formulas mix numbers and scalars

  friend constexpr double value_of(const scalar& x);
  friend constexpr bool operator==(const scalar& a, const scalar& b) { return a.value_ == b.value_; }
  friend constexpr bool operator<(const scalar& a, const scalar& b) { return a.value_ < b.value_; }
  friend constexpr bool operator>(const scalar& a, const scalar& b) { return a.value_ > b.value_; }
  friend constexpr bool operator<=(const scalar& a, const scalar& b) { return a.value_ <= b.value_; }
  friend constexpr bool operator>=(const scalar& a, const scalar& b) { return a.value_ >= b.value_; }

 private:
  friend class scalar_tape;
  constexpr scalar(double value, scalar_tape* tape, index_t node) : value_(value), tape_(tape), node_(node) {}

  double value_ = 0;
  scalar_tape* tape_ = nullptr;  // null: a constant
  index_t node_ = -1;
};

/// The plain number inside.
constexpr double value_of(const scalar& x) { return x.value_; }
/// x as a constant: no slope passes.
constexpr scalar detach(const scalar& x) { return value_of(x); }

// ---- the vocabulary of core/math.hpp; defined in core/scalar_tape.hpp --------------------------------------------

scalar operator+(const scalar& a);
scalar operator-(const scalar& a);
scalar operator+(const scalar& a, const scalar& b);
scalar operator-(const scalar& a, const scalar& b);
scalar operator*(const scalar& a, const scalar& b);
scalar operator/(const scalar& a, const scalar& b);
scalar& operator+=(scalar& a, const scalar& b);
scalar& operator-=(scalar& a, const scalar& b);
scalar& operator*=(scalar& a, const scalar& b);
scalar& operator/=(scalar& a, const scalar& b);
scalar exp(const scalar& x);
scalar log(const scalar& x);
scalar log1p(const scalar& x);
scalar expm1(const scalar& x);
scalar sqrt(const scalar& x);
scalar tanh(const scalar& x);
scalar abs(const scalar& x);
scalar square(const scalar& x);
scalar sigmoid(const scalar& x);
scalar softplus(const scalar& x);
scalar log_sigmoid(const scalar& x);
scalar log1mexp(const scalar& x);
scalar relu(const scalar& x);
scalar pow(const scalar& base, const scalar& exponent);
scalar log_add_exp(const scalar& a, const scalar& b);
/// Where both are equal each passes half of its slope.
scalar min(const scalar& a, const scalar& b);
scalar max(const scalar& a, const scalar& b);
scalar clamp(const scalar& x, double lower, double upper);

}  // namespace plumb::inline v0
