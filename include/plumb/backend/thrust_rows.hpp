// SPDX-License-Identifier: BSL-1.0
// Primitives that look at a whole row, one block of lanes a row: normalisation, the head's statistics, sums. A row's
// result depends on that row alone, never on its neighbours. Their meaning is explained in reference.hpp.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::blocks {

/// Kernels that share nothing but what `merge` needs.
struct no_shared {};

template <class T>
struct rms_norm_row {
  static constexpr int threads = 128;
  using shared = no_shared;
  view<const T> x;
  const T* weight;
  T epsilon;
  view<T> y;
  T* inverse;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    const T* from = x.row(i);
    T* to = y.row(i);
    typename Block::template lanes<T> squares;
    block.each([&](int lane) {
      T sum = 0;
      for (index_t j = lane; j < x.columns; j += threads) sum = fused(from[j], from[j], sum);
      squares[lane] = sum;
    });
    const T r = 1 / std::sqrt(block.merge(squares, sum_of{}) / static_cast<T>(x.columns) + epsilon);
    block.each([&](int lane) {
      if (lane == 0) inverse[i] = r;
      for (index_t j = lane; j < x.columns; j += threads) to[j] = from[j] * r * weight[j];
    });
  }
};

/// The part of rms_norm's way back that stays within a row: dx.
template <class T>
struct rms_norm_backward_row {
  static constexpr int threads = 128;
  using shared = no_shared;
  view<const T> x;
  const T* weight;
  const T* inverse;
  view<const T> dy;
  view<T> dx;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    const T* from = x.row(i);
    const T* above = dy.row(i);
    T* to = dx.row(i);
    const T r = inverse[i];
    typename Block::template lanes<T> products;
    block.each([&](int lane) {
      T sum = 0;
      for (index_t j = lane; j < x.columns; j += threads) sum = fused(above[j] * weight[j], from[j] * r, sum);
      products[lane] = sum;
    });
    const T mean = block.merge(products, sum_of{}) / static_cast<T>(x.columns);
    block.each([&](int lane) {
      for (index_t j = lane; j < x.columns; j += threads) to[j] += r * (above[j] * weight[j] - from[j] * r * mean);
    });
  }
};

// --- sums over rows: 64 rows to a partial sum, then partial sums in order, whatever the machine ------------------------

inline constexpr index_t rows_per_sum = 64;

/// Partial sum number i = chunk · columns + column of x, or of x ⊙ y with row factors when `y` is given (rms_norm's dw).
template <class T>
struct sum_rows_chunk {
  view<const T> x;
  const T* y;       ///< null: plain sum
  const T* factor;  ///< [rows], with y
  T* partial;       ///< [chunks, columns]
  PLUMB_HD void operator()(index_t i) const {
    const matrix_place at = place_of(i, x.columns);
    const index_t first = at.row * rows_per_sum;
    const index_t last = first + rows_per_sum < x.rows ? first + rows_per_sum : x.rows;
    T sum = 0;
    for (index_t r = first; r < last; ++r) {
      const index_t k = r * x.columns + at.column;
      sum = y ? fused(x.data[k], y[k] * factor[r], sum) : sum + x.data[k];
    }
    partial[i] = sum;
  }
};

/// out[column] += the partial sums of that column, first chunk first.
template <class T>
struct add_chunks {
  const T* partial;
  index_t chunks;
  index_t columns;
  T* out;
  PLUMB_HD void operator()(index_t column) const {
    T sum = 0;
    for (index_t c = 0; c < chunks; ++c) sum += partial[c * columns + column];
    out[column] += sum;
  }
};

/// Block i sums the squares of numbers [i · size, (i + 1) · size).
template <class T>
struct sum_of_squares_chunk {
  static constexpr int threads = 256;
  static constexpr index_t size = 16384;
  using shared = no_shared;
  const T* x;
  index_t count;
  double* partial;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    const index_t last = (i + 1) * size < count ? (i + 1) * size : count;
    typename Block::template lanes<double> sums;
    block.each([&](int lane) {
      double sum = 0;
      for (index_t k = i * size + lane; k < last; k += threads)
        sum = fused(static_cast<double>(x[k]), static_cast<double>(x[k]), sum);
      sums[lane] = sum;
    });
    const double total = block.merge(sums, sum_of{});
    block.each([&](int lane) {
      if (lane == 0) partial[i] = total;
    });
  }
};

/// One block adds `count` numbers into *out.
struct sum_doubles {
  static constexpr int threads = 256;
  using shared = no_shared;
  const double* x;
  index_t count;
  double* out;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t) const {
    typename Block::template lanes<double> sums;
    block.each([&](int lane) {
      double sum = 0;
      for (index_t k = lane; k < count; k += threads) sum += x[k];
      sums[lane] = sum;
    });
    const double total = block.merge(sums, sum_of{});
    block.each([&](int lane) {
      if (lane == 0) *out = total;
    });
  }
};

// --- the head ---------------------------------------------------------------------------------------------------------

/// A logit and where it stands.
template <class T>
struct candidate {
  T value;
  std::int32_t index;
};

/// The larger logit, of equals the one that stands first.
struct better_of {
  template <class T>
  PLUMB_HD constexpr candidate<T> operator()(candidate<T> a, candidate<T> b) const {
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
  }
};

/// Σ e and Σ e (z − max) with e = exp(z − max).
template <class T>
struct exponential_sums {
  T total;
  T weighted;
  friend PLUMB_HD constexpr exponential_sums operator+(exponential_sums a, exponential_sums b) {
    return {a.total + b.total, a.weighted + b.weighted};
  }
};

template <class T>
struct row_statistics_row {
  static constexpr int threads = 256;
  using shared = no_shared;
  view<const T> z;
  const std::int32_t* targets;
  row_outputs<T> out;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    const T* row = z.row(i);
    typename Block::template lanes<candidate<T>> candidates;
    block.each([&](int lane) {
      candidate<T> best{-std::numeric_limits<T>::infinity(), std::numeric_limits<std::int32_t>::max()};
      if (lane < z.columns) best = {row[lane], lane};
      for (index_t k = lane + threads; k < z.columns; k += threads)
        if (row[k] > best.value) best = {row[k], static_cast<std::int32_t>(k)};
      candidates[lane] = best;
    });
    const candidate<T> best = block.merge(candidates, better_of{});
    typename Block::template lanes<exponential_sums<T>> exponentials;
    block.each([&](int lane) {
      exponential_sums<T> sums{0, 0};
      for (index_t k = lane; k < z.columns; k += threads) {
        const T distance = row[k] - best.value, e = std::exp(distance);
        sums.total += e;
        if (e != 0) sums.weighted = fused(e, distance, sums.weighted);  // a forbidden token (−∞) weighs nothing
      }
      exponentials[lane] = sums;
    });
    const exponential_sums<T> sums = block.merge(exponentials, sum_of{});
    block.each([&](int lane) {
      if (lane != 0) return;
      const T log_total = std::log(sums.total);
      if (out.logp) out.logp[i] = row[targets[i]] - best.value - log_total;
      if (out.log_partition) out.log_partition[i] = best.value + log_total;
      if (out.entropy) out.entropy[i] = log_total - sums.weighted / sums.total;
      if (out.best) out.best[i] = best.index;
    });
  }
};

template <class T>
struct row_gradients_row {
  static constexpr int threads = 256;
  using shared = no_shared;
  view<T> z;
  const std::int32_t* targets;
  const T* log_partition;
  const T* entropy;
  const T* slope;          ///< null: one
  const T* entropy_slope;  ///< null: zero

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t i) const {
    T* row = z.row(i);
    const index_t target = targets[i];
    const T s = slope ? slope[i] : T(1);
    block.each([&](int lane) {
      for (index_t k = lane; k < z.columns; k += threads) {
        const T log_p = row[k] - log_partition[i], p = std::exp(log_p);
        T gradient = -s * p;
        if (entropy_slope && p > 0) gradient -= entropy_slope[i] * p * (log_p + entropy[i]);
        row[k] = k == target ? gradient + s : gradient;
      }
    });
  }
};

}  // namespace plumb::inline v0::detail::blocks
