// SPDX-License-Identifier: BSL-1.0
// Sums over the vocabulary as blocks: a row each, its words dealt to the block's threads.
#pragma once

#include <cmath>
#include <limits>

#include <plumb/backend/thrust_rows.hpp>
#include <plumb/core/row_sum.hpp>

namespace plumb::inline v0::detail::blocks {

/// The larger of two numbers.
struct larger_of {
  PLUMB_HD constexpr double operator()(double a, double b) const { return a > b ? a : b; }
};

/// A sum of φ and of its derivatives.
struct value_and_slope {
  double value;
  double slope;
  friend PLUMB_HD constexpr value_and_slope operator+(value_and_slope a, value_and_slope b) {
    return {a.value + b.value, a.slope + b.slope};
  }
};

/// Row i: out[i] = Σ_k φ(log p_k, o_k) when `out` is given; dz += slope_i ∂/∂z of it when `slope` is.
template <class T, class Phi>
struct row_sum_row {
  static constexpr int threads = 256;
  using shared = no_shared;
  view<const T> z;
  view<const T> other;  ///< without data: φ does not compare
  double sharpness;
  Phi phi;
  const T* slope;
  T* out;
  view<T> dz;

  template <class Block>
  PLUMB_HD double log_partition(Block& block, const T* row) const {
    typename Block::template lanes<double> numbers;
    block.each([&](int lane) {
      double highest = -std::numeric_limits<double>::infinity();
      for (index_t k = lane; k < z.columns; k += threads)
        highest = larger_of{}(highest, sharpness * static_cast<double>(row[k]));
      numbers[lane] = highest;
    });
    const double highest = block.merge(numbers, larger_of{});
    block.each([&](int lane) {
      double sum = 0;
      for (index_t k = lane; k < z.columns; k += threads)
        sum += std::exp(sharpness * static_cast<double>(row[k]) - highest);
      numbers[lane] = sum;
    });
    return highest + std::log(block.merge(numbers, sum_of{}));
  }
  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    const T* const row = z.row(i);
    const T* const beside = other.data ? other.row(i) : nullptr;
    const double total = log_partition(block, row);
    const double other_total = beside ? log_partition(block, beside) : 0;
    const double scale = slope ? static_cast<double>(slope[i]) * sharpness : 0;
    typename Block::template lanes<value_and_slope> sums;
    block.each([&](int lane) {
      value_and_slope sum{0, 0};
      for (index_t k = lane; k < z.columns; k += threads) {
        const dual<1> at = row_term(phi, sharpness * static_cast<double>(row[k]) - total,
                                    beside ? sharpness * static_cast<double>(beside[k]) - other_total : 0.0);
        sum = sum + value_and_slope{at.value, at.slope[0]};
        if (slope) dz.row(i)[k] += static_cast<T>(scale * at.slope[0]);
      }
      sums[lane] = sum;
    });
    const value_and_slope sum = block.merge(sums, sum_of{});
    block.each([&](int lane) {
      if (out && lane == 0) out[i] = static_cast<T>(sum.value);
      if (!slope) return;
      for (index_t k = lane; k < z.columns; k += threads)
        dz.row(i)[k] -= static_cast<T>(scale * sum.slope * std::exp(sharpness * static_cast<double>(row[k]) - total));
    });
  }
};

}  // namespace plumb::inline v0::detail::blocks
