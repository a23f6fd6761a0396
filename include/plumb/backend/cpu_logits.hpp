// SPDX-License-Identifier: BSL-1.0
// The head's rows on the cpu: statistics of a row of logits, and the gradient that they send back.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Sums over a row of logits z with largest number m: Σ e^(z−m), Σ e^(z−m) (z−m), and where m is.
template <class T>
struct logit_sums {
  T highest = 0, total = 0, weighted = 0;
  index_t best = 0;
};

template <class T>
struct logit_sums_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, const T* z, logit_sums<T>* out) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    using integers = typename s::integers;
    constexpr T none = -std::numeric_limits<T>::infinity();

    vector highest, v, e, zero, total, weighted;
    integers where = {}, here = {};
    s::spread(highest, none);
    for (index_t j = 0; j < columns; j += s::lanes) {
      s::load_some(v, z + j, columns - j, none);
      where = v > highest ? here : where;  // only a larger number moves it: the first of equals stays
      highest = v > highest ? v : highest;
      here += static_cast<typename s::whole>(1);
    }
    T lane[s::lanes];
    s::store(lane, highest);
    out->highest = none;
    out->best = 0;
    for (index_t i = 0; i < s::lanes; ++i) {
      const index_t column = static_cast<index_t>(where[i]) * s::lanes + i;
      if (lane[i] > out->highest || (lane[i] == out->highest && lane[i] != none && column < out->best)) {
        out->highest = lane[i];
        out->best = column;
      }
    }

    zero = vector{};
    total = zero;
    weighted = zero;
    for (index_t j = 0; j < columns; j += s::lanes) {
      s::load_some(v, z + j, columns - j, none);
      v -= out->highest;
      e = v;
      s::exp(e);
      total += e;
      v = e == zero ? zero : v;  // 0 · −∞ counts as nothing
      s::fma(weighted, e, v);
    }
    out->total = s::sum(total);
    out->weighted = s::sum(weighted);
  }
};

template <class T>
void cpu_row_statistics(cpu_device& d, view<const T> z, const std::int32_t* targets, row_outputs<T> out) {
  d.run_pieces(z.rows, std::max<index_t>(1, 4096 / std::max<index_t>(1, z.columns)), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      logit_sums<T> sums;
      run_with<logit_sums_body<T>>(d.instructions(), z.columns, z.row(i), &sums);
      const T log_total = std::log(sums.total);
      if (out.logp) out.logp[i] = z.row(i)[targets[i]] - sums.highest - log_total;
      if (out.log_partition) out.log_partition[i] = sums.highest + log_total;
      if (out.entropy) out.entropy[i] = log_total - sums.weighted / sums.total;
      if (out.best) out.best[i] = static_cast<std::int32_t>(sums.best);
    }
  });
}

/// z_k ← −slope p_k − entropy_slope p_k (log p_k + entropy)
template <class T>
struct logit_gradient_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, T log_partition, T slope, bool with_entropy, T entropy,
                                                T entropy_slope, T* z) {
    using s = simd<Set, T>;
    typename s::vector log_p, p, gradient, extra, zero = {};
    for (index_t j = 0; j < columns; j += s::lanes) {
      s::load_some(log_p, z + j, columns - j);
      log_p -= log_partition;
      p = log_p;
      s::exp(p);
      gradient = -slope * p;
      if (with_entropy) {
        extra = entropy_slope * p * (log_p + entropy);
        gradient = p == zero ? gradient : gradient - extra;
      }
      s::store_some(z + j, gradient, columns - j);
    }
  }
};

template <class T>
void cpu_row_gradients(cpu_device& d, view<T> z, const std::int32_t* targets, const T* log_partition, const T* entropy,
                       const T* slope, const T* entropy_slope) {
  d.run_pieces(z.rows, std::max<index_t>(1, 4096 / std::max<index_t>(1, z.columns)), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const T s = slope ? slope[i] : T(1);
      run_with<logit_gradient_body<T>>(d.instructions(), z.columns, log_partition[i], s, entropy_slope != nullptr,
                                       entropy_slope ? entropy[i] : T(0), entropy_slope ? entropy_slope[i] : T(0),
                                       z.row(i));
      z.row(i)[targets[i]] += s;
    }
  });
}

template <class T>
struct token_weights_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, const T* z, double temperature, double* weights,
                                                token_weights* out) {
    using s = simd<Set, T>;
    using d = simd<Set, double>;
    typename s::vector v, highest;
    typename s::integers where = {}, here = {}, broken = {};
    s::spread(highest, -std::numeric_limits<T>::infinity());
    for (index_t j = 0; j < columns; j += s::lanes) {
      s::load_some(v, z + j, columns - j, -std::numeric_limits<T>::infinity());
      broken |= v != v;
      where = v > highest ? here : where;  // only a larger number moves it: the first of equals stays
      highest = v > highest ? v : highest;
      here += static_cast<typename s::whole>(1);
    }
    const T top = s::largest(highest);
    index_t best = columns;
    for (index_t i = 0; i < s::lanes; ++i) {
      out->nan = out->nan || broken[i] != 0;
      if (highest[i] == top) best = std::min<index_t>(best, static_cast<index_t>(where[i]) * s::lanes + i);
    }
    out->best = best;
    if (!weights) return;
    typename d::vector e, total = {};
    for (index_t j = 0; j < columns; j += d::lanes) {
      alignas(64) double staged[d::lanes] = {};
      const index_t count = std::min<index_t>(d::lanes, columns - j);
      for (index_t i = 0; i < count; ++i) staged[i] = static_cast<double>(z[j + i]);
      d::load(e, staged);
      e = (e - static_cast<double>(top)) / temperature;
      d::exp(e);
      d::store_some(weights + j, e, columns - j);
      if (count == d::lanes) total += e;
    }
    out->total = d::sum(total);
    for (index_t j = columns - columns % d::lanes; j < columns; ++j) out->total += weights[j];
  }
};

template <class T>
token_weights cpu_token_weights(index_t columns, const T* z, double temperature, double* weights) {
  token_weights out;
  run_with<token_weights_body<T>>(best_instruction_set(), columns, z, temperature, weights, &out);
  return out;
}

/// log Σ exp(sharpness z) of one row.
template <class T>
double cpu_log_partition(cpu_device& d, index_t columns, const T* z, double sharpness) {
  if (sharpness != 1) return log_partition_of(z, columns, sharpness);
  logit_sums<T> sums;
  run_with<logit_sums_body<T>>(d.instructions(), columns, z, &sums);
  return static_cast<double>(sums.highest) + std::log(static_cast<double>(sums.total));
}

}  // namespace plumb::inline v0::detail
