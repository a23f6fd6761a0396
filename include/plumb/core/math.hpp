// SPDX-License-Identifier: BSL-1.0
// The vocabulary in which objectives are written: exp, log_sigmoid, clamp, … for plain numbers and for dual numbers.
#pragma once

#include <concepts>
#include <plumb/core/dual.hpp>

// Each word is a primitive: it has its own formula for the value and its own for the derivative, both chosen so that
// nothing overflows or cancels for arguments of any size. log(sigmoid(x)) composed from parts is -inf at x = -800 with
// slope NaN; log_sigmoid(x) is -800 with slope 1. The compiler's built-in functions stand in for <cmath>, which alone
// would take longer to compile than a whole objective; they work in CUDA device code as they are.
//
// Write `plumb::exp(x)` or `using namespace plumb` in objectives of your own: `std::exp` does not know dual numbers.

namespace plumb::inline v0 {

/// float or double.
template <class T>
concept plain_number = std::same_as<T, float> || std::same_as<T, double>;

/// The natural logarithm of 2: the loss of every sigmoid-based objective while policy and reference agree.
inline constexpr double ln2 = 0.693147180559945309417232121458;

// ---- plain numbers -------------------------------------------------------------------------------------------------

/// e^x.
template <plain_number T>
constexpr T exp(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_expf(x);
  else
    return __builtin_exp(x);
}
/// The natural logarithm: -inf at 0, NaN below.
template <plain_number T>
constexpr T log(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_logf(x);
  else
    return __builtin_log(x);
}
/// log(1 + x) without cancellation near 0.
template <plain_number T>
constexpr T log1p(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_log1pf(x);
  else
    return __builtin_log1p(x);
}
/// e^x - 1 without cancellation near 0.
template <plain_number T>
constexpr T expm1(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_expm1f(x);
  else
    return __builtin_expm1(x);
}
template <plain_number T>
constexpr T sqrt(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_sqrtf(x);
  else
    return __builtin_sqrt(x);
}
template <plain_number T>
constexpr T tanh(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_tanhf(x);
  else
    return __builtin_tanh(x);
}
template <plain_number T>
constexpr T pow(T base, std::type_identity_t<T> exponent) {
  if constexpr (std::same_as<T, float>)
    return __builtin_powf(base, exponent);
  else
    return __builtin_pow(base, exponent);
}
template <plain_number T>
constexpr T abs(T x) {
  if constexpr (std::same_as<T, float>)
    return __builtin_fabsf(x);
  else
    return __builtin_fabs(x);
}
/// x².
template <plain_number T>
constexpr T square(T x) {
  return x * x;
}
/// σ(x) = 1 / (1 + e^-x); exact to the last digits in both tails.
template <plain_number T>
constexpr T sigmoid(T x) {
  if (x >= T(0)) return T(1) / (T(1) + exp(-x));
  const T small = exp(x);
  return small / (T(1) + small);
}
/// log(1 + e^x): x for large x, e^x for very negative x.
template <plain_number T>
constexpr T softplus(T x) {
  return (x > T(0) ? x : T(0)) + log1p(exp(x > T(0) ? -x : x));
}
/// log σ(x) = -softplus(-x), never positive; x for very negative x.
template <plain_number T>
constexpr T log_sigmoid(T x) {
  return -softplus(-x);
}
/// log(1 - e^x) for x < 0: the log-probability of "not", from the log-probability x. -inf at 0, NaN above.
/// Branches at -ln 2, where expm1 and log1p trade places as the accurate one (Mächler 2012).
template <plain_number T>
constexpr T log1mexp(T x) {
  return x > T(-ln2) ? log(-expm1(x)) : log1p(-exp(x));
}
/// log(e^a + e^b).
template <plain_number T>
constexpr T log_add_exp(T a, std::type_identity_t<T> b) {
  if (a == b) return a + T(ln2);  // also where both are the same infinity
  return a > b ? a + log1p(exp(b - a)) : b + log1p(exp(a - b));
}
template <plain_number T>
constexpr T min(T a, std::type_identity_t<T> b) {
  return a < b ? a : (b < a ? b : T(0.5) * a + T(0.5) * b);  // the last case: equal, or NaN, which must not vanish
}
template <plain_number T>
constexpr T max(T a, std::type_identity_t<T> b) {
  return a > b ? a : (b > a ? b : T(0.5) * a + T(0.5) * b);
}
/// max(x, 0).
template <plain_number T>
constexpr T relu(T x) {
  return max(x, T(0));
}
/// x limited to [lower, upper]; lower <= upper.
template <plain_number T>
constexpr T clamp(T x, std::type_identity_t<T> lower, std::type_identity_t<T> upper) {
  return x < lower ? lower : (x > upper ? upper : x);
}
/// The plain number inside x: x itself, or a dual's value.
template <plain_number T>
constexpr T value_of(T x) {
  return x;
}
/// x without its slopes (stop-gradient), in x's own type.
template <plain_number T>
constexpr T detach(T x) {
  return x;
}

// ---- dual numbers: the value as above, and the derivative ----------------------------------------------------------

template <int N, class T>
constexpr dual<N, T> exp(const dual<N, T>& x) {
  const T value = exp(x.value);
  return dual<N, T>::chain(value, value, x);
}
template <int N, class T>
constexpr dual<N, T> log(const dual<N, T>& x) {
  return dual<N, T>::chain(log(x.value), T(1) / x.value, x);
}
template <int N, class T>
constexpr dual<N, T> log1p(const dual<N, T>& x) {
  return dual<N, T>::chain(log1p(x.value), T(1) / (T(1) + x.value), x);
}
template <int N, class T>
constexpr dual<N, T> expm1(const dual<N, T>& x) {
  return dual<N, T>::chain(expm1(x.value), exp(x.value), x);
}
template <int N, class T>
constexpr dual<N, T> sqrt(const dual<N, T>& x) {
  const T value = sqrt(x.value);
  return dual<N, T>::chain(value, T(0.5) / value, x);
}
template <int N, class T>
constexpr dual<N, T> tanh(const dual<N, T>& x) {
  const T value = tanh(x.value);
  return dual<N, T>::chain(value, (T(1) - value) * (T(1) + value), x);
}
/// base^exponent; either may vary. A constant exponent allows a negative base where the power is defined.
template <int N, class T>
constexpr dual<N, T> pow(const dual<N, T>& base, const dual<N, T>& exponent) {
  const T value = pow(base.value, exponent.value);
  const T by_base = exponent.value == T(0) ? T(0) : exponent.value * pow(base.value, exponent.value - T(1));
  const T by_exponent = value == T(0) ? T(0) : value * log(base.value);
  return dual<N, T>::chain(value, by_base, base, by_exponent, exponent);
}
template <int N, class T>
constexpr dual<N, T> pow(const dual<N, T>& base, std::type_identity_t<T> exponent) {
  return pow(base, dual<N, T>(exponent));
}
template <int N, class T>
constexpr dual<N, T> pow(std::type_identity_t<T> base, const dual<N, T>& exponent) {
  return pow(dual<N, T>(base), exponent);
}
/// Slope 0 at 0, the middle of its two sides.
template <int N, class T>
constexpr dual<N, T> abs(const dual<N, T>& x) {
  return dual<N, T>::chain(abs(x.value), x.value > T(0) ? T(1) : (x.value < T(0) ? T(-1) : T(0)), x);
}
template <int N, class T>
constexpr dual<N, T> square(const dual<N, T>& x) {
  return dual<N, T>::chain(x.value * x.value, T(2) * x.value, x);
}
template <int N, class T>
constexpr dual<N, T> sigmoid(const dual<N, T>& x) {
  return dual<N, T>::chain(sigmoid(x.value), sigmoid(x.value) * sigmoid(-x.value), x);
}
template <int N, class T>
constexpr dual<N, T> softplus(const dual<N, T>& x) {
  return dual<N, T>::chain(softplus(x.value), sigmoid(x.value), x);
}
template <int N, class T>
constexpr dual<N, T> log_sigmoid(const dual<N, T>& x) {
  return dual<N, T>::chain(log_sigmoid(x.value), sigmoid(-x.value), x);
}
template <int N, class T>
constexpr dual<N, T> log1mexp(const dual<N, T>& x) {
  return dual<N, T>::chain(log1mexp(x.value), T(-1) / expm1(-x.value), x);
}
template <int N, class T>
constexpr dual<N, T> log_add_exp(const dual<N, T>& a, const dual<N, T>& b) {
  const T gap = a.value == b.value ? T(0) : a.value - b.value;
  return dual<N, T>::chain(log_add_exp(a.value, b.value), sigmoid(gap), a, sigmoid(-gap), b);
}
/// The smaller; where both are equal each passes half of its slope.
template <int N, class T>
constexpr dual<N, T> min(const dual<N, T>& a, const dual<N, T>& b) {
  return a < b ? a : (b < a ? b : T(0.5) * a + T(0.5) * b);
}
/// The larger; where both are equal each passes half of its slope.
template <int N, class T>
constexpr dual<N, T> max(const dual<N, T>& a, const dual<N, T>& b) {
  return a > b ? a : (b > a ? b : T(0.5) * a + T(0.5) * b);
}
template <int N, class T>
constexpr dual<N, T> relu(const dual<N, T>& x) {
  return max(x, dual<N, T>(T(0)));
}
/// x limited to [lower, upper]; the slope passes on the closed interval, ends included, and is 0 outside.
template <int N, class T>
constexpr dual<N, T> clamp(const dual<N, T>& x, std::type_identity_t<T> lower, std::type_identity_t<T> upper) {
  return x.value < lower ? dual<N, T>(lower) : (x.value > upper ? dual<N, T>(upper) : x);
}
template <int N, class T>
constexpr T value_of(const dual<N, T>& x) {
  return x.value;
}
template <int N, class T>
constexpr dual<N, T> detach(const dual<N, T>& x) {
  return dual<N, T>(x.value);
}

// A dual with a plain number, either way round.

template <int N, class T>
constexpr dual<N, T> log_add_exp(const dual<N, T>& a, std::type_identity_t<T> b) {
  return log_add_exp(a, dual<N, T>(b));
}
template <int N, class T>
constexpr dual<N, T> log_add_exp(std::type_identity_t<T> a, const dual<N, T>& b) {
  return log_add_exp(dual<N, T>(a), b);
}
template <int N, class T>
constexpr dual<N, T> min(const dual<N, T>& a, std::type_identity_t<T> b) {
  return min(a, dual<N, T>(b));
}
template <int N, class T>
constexpr dual<N, T> min(std::type_identity_t<T> a, const dual<N, T>& b) {
  return min(dual<N, T>(a), b);
}
template <int N, class T>
constexpr dual<N, T> max(const dual<N, T>& a, std::type_identity_t<T> b) {
  return max(a, dual<N, T>(b));
}
template <int N, class T>
constexpr dual<N, T> max(std::type_identity_t<T> a, const dual<N, T>& b) {
  return max(dual<N, T>(a), b);
}

}  // namespace plumb::inline v0
