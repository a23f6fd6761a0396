// SPDX-License-Identifier: BSL-1.0
// Reverse-mode differentiation of numbers: a formula over any number of variables, all slopes in one walk back.
#pragma once

#include <plumb/core/dual.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/math.hpp>
#include <plumb/core/scalar.hpp>
#include <vector>

// A lesson in three steps; core/dual.hpp comes before it.
//
// 1. A dual number carries its slopes along, one per variable. With ten thousand variables (the rewards of a whole
//    batch) each addition would drag ten thousand slopes. But only the end of the formula is wanted, so write down what
//    happened instead:          y = x * x   becomes the line   "node 1 comes from node 0, local slope 2 x".
// 2. Every line knows one or two parents and how fast it moves with each: numbers, nothing else. The dual numbers
//    already know these rules: each operation below is evaluated once with duals of one or two slots, which yields the
//    value and the local slopes. No rule is written twice.
// 3. To differentiate, start with slope 1 at the last line and walk back: each line passes its slope, times the
//    local slope, to its parents, where contributions add up. One walk gives the slope of every variable:
//
//      scalar_tape tape;
//      const scalar x = tape.variable(3), y = tape.variable(2);
//      const scalar z = x * x + exp(y);
//      tape.differentiate(z);          // tape.slope(x) is 6, tape.slope(y) is e²
//
// The cost is a few plain evaluations of the formula, however many variables there are; the price is memory, 32 bytes
// per operation. Objectives over few variables (a pair) use duals, which need no memory and run on a GPU; objectives
// over many (a group of replies, a whole batch) use this tape, on the host.

namespace plumb::inline v0 {

/// The lines of a calculation. It may be cleared and used again without asking for memory again.
class scalar_tape {
 public:
  scalar_tape() = default;
  scalar_tape(const scalar_tape&) = delete;  // its scalars point at it
  scalar_tape& operator=(const scalar_tape&) = delete;

  /// A new variable.
  scalar variable(double value) { return push(value, -1, 0, -1, 0); }
  /// Forgets all scalars made on it.
  void clear() {
    lines_.clear();
    slopes_.clear();
  }
  [[nodiscard]] index_t size() const noexcept { return static_cast<index_t>(lines_.size()); }

  /// Computes ∂result/∂x for every scalar x on the tape. As with duals, a line that does not move with its parent
  /// (local slope 0) or does not matter to the result (slope 0) passes 0, even where the other factor is infinite.
  void differentiate(const scalar& result) {
    slopes_.assign(lines_.size(), 0.0);
    if (result.tape_ != this) return;  // a constant: nothing moves it
    slopes_[static_cast<std::size_t>(result.node_)] = 1;
    for (std::size_t i = static_cast<std::size_t>(result.node_) + 1; i-- > 0;) {
      const double slope = slopes_[i];
      if (slope == 0) continue;
      const line& l = lines_[i];
      if (l.first >= 0 && l.by_first != 0) slopes_[static_cast<std::size_t>(l.first)] += slope * l.by_first;
      if (l.second >= 0 && l.by_second != 0) slopes_[static_cast<std::size_t>(l.second)] += slope * l.by_second;
    }
  }
  /// ∂result/∂x of the last `differentiate`; 0 for a constant and for what came after it.
  [[nodiscard]] double slope(const scalar& x) const {
    return x.tape_ == this && x.node_ < static_cast<index_t>(slopes_.size())
               ? slopes_[static_cast<std::size_t>(x.node_)]
               : 0;
  }

  /// f(x) as a new line; f maps a dual to a dual.
  template <class F>
  static scalar apply(const F& f, const scalar& x) {
    const dual<1> y = f(dual<1>::variable(x.value_, 0));
    return x.tape_ ? x.tape_->push(y.value, x.node_, y.slope[0], -1, 0) : scalar(y.value);
  }
  /// f(a, b). Throws errc::bad_argument when they are on different tapes.
  template <class F>
  static scalar apply(const F& f, const scalar& a, const scalar& b) {
    const dual<2> y = f(dual<2>::variable(a.value_, 0), dual<2>::variable(b.value_, 1));
    scalar_tape* const tape = a.tape_ ? a.tape_ : b.tape_;
    if (b.tape_ && b.tape_ != tape)
      throw error(errc::bad_argument, "scalar", "two numbers of one operation lie on different tapes; use one tape");
    return tape ? tape->push(y.value, a.node_, y.slope[0], b.node_, y.slope[1]) : scalar(y.value);
  }

 private:
  struct line {
    index_t first, second;  // parents; -1: none
    double by_first, by_second;
  };
  scalar push(double value, index_t first, double by_first, index_t second, double by_second) {
    lines_.push_back({first, second, by_first, by_second});
    return {value, this, size() - 1};
  }

  std::vector<line> lines_;
  std::vector<double> slopes_;
};

// ---- the vocabulary of core/math.hpp, each word by its rule for duals ----------------------------------------------

inline scalar operator+(const scalar& a) { return a; }
inline scalar operator-(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return -x; }, a);
}
inline scalar operator+(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return x + y; }, a, b);
}
inline scalar operator-(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return x - y; }, a, b);
}
inline scalar operator*(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return x * y; }, a, b);
}
inline scalar operator/(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return x / y; }, a, b);
}
inline scalar& operator+=(scalar& a, const scalar& b) { return a = a + b; }
inline scalar& operator-=(scalar& a, const scalar& b) { return a = a - b; }
inline scalar& operator*=(scalar& a, const scalar& b) { return a = a * b; }
inline scalar& operator/=(scalar& a, const scalar& b) { return a = a / b; }

inline scalar exp(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return exp(x); }, a);
}
inline scalar log(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return log(x); }, a);
}
inline scalar log1p(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return log1p(x); }, a);
}
inline scalar expm1(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return expm1(x); }, a);
}
inline scalar sqrt(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return sqrt(x); }, a);
}
inline scalar tanh(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return tanh(x); }, a);
}
inline scalar abs(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return abs(x); }, a);
}
inline scalar square(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return square(x); }, a);
}
inline scalar sigmoid(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return sigmoid(x); }, a);
}
inline scalar softplus(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return softplus(x); }, a);
}
inline scalar log_sigmoid(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return log_sigmoid(x); }, a);
}
inline scalar log1mexp(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return log1mexp(x); }, a);
}
inline scalar relu(const scalar& a) {
  return scalar_tape::apply([](const auto& x) { return relu(x); }, a);
}
inline scalar clamp(const scalar& a, double lower, double upper) {
  return scalar_tape::apply([=](const auto& x) { return clamp(x, lower, upper); }, a);
}
inline scalar pow(const scalar& base, const scalar& exponent) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return pow(x, y); }, base, exponent);
}
inline scalar log_add_exp(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return log_add_exp(x, y); }, a, b);
}
inline scalar min(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return min(x, y); }, a, b);
}
inline scalar max(const scalar& a, const scalar& b) {
  return scalar_tape::apply([](const auto& x, const auto& y) { return max(x, y); }, a, b);
}

}  // namespace plumb::inline v0
