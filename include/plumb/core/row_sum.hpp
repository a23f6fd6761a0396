// SPDX-License-Identifier: BSL-1.0
// Sums over the vocabulary of a function of log-probabilities, and their gradient: the plain loop, for one row.
#pragma once

#include <plumb/core/dual.hpp>
#include <plumb/core/math.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// log Σ_k exp(sharpness z_k) of a row of `count` logits.
template <class T>
double log_partition_of(const T* z, index_t count, double sharpness) {
  double highest = -__builtin_inf();
  for (index_t k = 0; k < count; ++k) {
    const double x = sharpness * static_cast<double>(z[k]);
    highest = x > highest ? x : highest;
  }
  double total = 0;
  for (index_t k = 0; k < count; ++k) total += exp(sharpness * static_cast<double>(z[k]) - highest);
  return highest + log(total);
}

/// φ and its derivative by log p at one word. A word that both rows forbid (probability 0) adds nothing.
template <class Phi>
constexpr dual<1> row_term(const Phi& phi, double log_p, double other) {
  const double never = -__builtin_inf();
  if (log_p == never && (!Phi::compares || other == never)) return 0.0;
  return phi(dual<1>::variable(log_p, 0), other);
}

/// S = Σ_k φ(log p_k, o_k) with p = softmax(sharpness · z) and o the log-probabilities of `other` (logits, or null when
/// φ does not compare), both rows of `count` numbers. With `gradient`, adds slope · ∂S/∂z to it:
///
///   ∂S/∂z_k = sharpness (φ'_k − p_k Σ_j φ'_j)
///
/// because ∂ log p_j / ∂z_k = sharpness (1[j = k] − p_k).
template <class T, class Phi>
double row_sum_of(const Phi& phi, const T* z, const T* other, index_t count, double sharpness, double slope = 0,
                  T* gradient = nullptr) {
  const double own_total = log_partition_of(z, count, sharpness);
  const double other_total = other ? log_partition_of(other, count, sharpness) : 0;
  const auto term = [&](index_t k) {
    return row_term(phi, sharpness * static_cast<double>(z[k]) - own_total,
                    other ? sharpness * static_cast<double>(other[k]) - other_total : 0.0);
  };
  double sum = 0, slopes = 0;
  for (index_t k = 0; k < count; ++k) {
    const dual<1> at = term(k);
    sum += at.value;
    slopes += at.slope[0];
  }
  if (gradient)
    for (index_t k = 0; k < count; ++k) {
      const double p = exp(sharpness * static_cast<double>(z[k]) - own_total);
      gradient[k] += static_cast<T>(slope * sharpness * (term(k).slope[0] - p * slopes));
    }
  return sum;
}

}  // namespace plumb::inline v0
