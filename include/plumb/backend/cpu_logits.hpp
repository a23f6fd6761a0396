// SPDX-License-Identifier: BSL-1.0
// The head's rows on the cpu: statistics of a row of logits, and the gradient that they send back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/config.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Sums over a row of logits z with largest number m: Σ e^(z−m), Σ e^(z−m) (z−m), and where m is.
template <class T>
struct logit_sums {
  T highest = 0, total = 0, weighted = 0;
  index_t best = 0;
};

/// The largest number of a row, and the first place where it stands; −∞ and 0 where there is none, as in a row of NaN.
template <class Set, class T>
struct row_maximum {
  using s = simd<Set, T>;
  T highest = -std::numeric_limits<T>::infinity();
  index_t place = 0;
  bool nan = false;  ///< some number is none

  /// In four chains, since each comparison waits for the one before.
  [[gnu::always_inline]] inline void find(index_t columns, const T* z) {
    constexpr index_t chains = 4;
    typename s::vector v, top[chains];
    typename s::integers where[chains] = {}, here = {}, broken = {};
    for (auto& each : top) s::spread(each, highest);
    for (index_t j = 0; j < columns; j += chains * s::lanes) {
      for (index_t c = 0; c < chains; ++c) {
        s::load_some(v, z + j + c * s::lanes, columns - j - c * s::lanes, highest);
        broken |= v != v;
        where[c] = v > top[c] ? here : where[c];  // only a larger number moves it: the first of equals stays
        top[c] = v > top[c] ? v : top[c];
      }
      here += static_cast<typename s::whole>(1);
    }
    for (index_t c = 0; c < chains; ++c)
      for (index_t i = 0; i < s::lanes; ++i) {
        nan = nan || broken[i] != 0;
        const T x = top[c][i];
        const index_t at = (static_cast<index_t>(where[c][i]) * chains + c) * s::lanes + i;
        if (x > highest || (x == highest && at < place)) highest = x, place = at;
      }
  }
};

template <class T>
struct logit_sums_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, const T* z, logit_sums<T>* out) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    constexpr T none = -std::numeric_limits<T>::infinity();

    row_maximum<Set, T> top;
    top.find(columns, z);
    out->highest = top.highest;
    out->best = top.place;

    vector v, e, zero, total, weighted;
    zero = vector{};
    total = zero;
    weighted = zero;
    for (index_t j = 0; j < columns; j += s::lanes) {
      s::load_some(v, z + j, columns - j, none);
      v -= out->highest;
      e = v;
      s::exp_of_negative(e);
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
      s::exp_of_negative(p);
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

/// The numbers from `from` on as a vector of doubles.
template <class Set, class T>
[[gnu::always_inline]] inline void load_doubles(typename simd<Set, double>::vector& to, const T* from) {
  using d = simd<Set, double>;
  if constexpr (std::is_same_v<T, double>) {
    d::load(to, from);
  } else {
    typename vector_types<T, d::lanes* static_cast<int>(sizeof(T))>::type staged;
    std::memcpy(&staged, from, sizeof staged);
#if defined(__clang__)
    to = __builtin_convertvector(staged, typename d::vector);
#else
#if defined(PLUMB_X86)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // about how a builtin "returns" its vector: it never does, it is inlined
    if constexpr (Set::bytes == 64)
      to = __builtin_ia32_cvtps2pd512_mask(staged, to, -1, 4);
    else if constexpr (Set::bytes == 32)
      to = __builtin_ia32_cvtps2pd256(staged);
    else
#pragma GCC diagnostic pop
#endif
      for (int i = 0; i < d::lanes; ++i) to[i] = static_cast<double>(staged[i]);
#endif
  }
}

template <class T>
struct token_weights_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, const T* z, double temperature, double* weights,
                                                token_weights* out) {
    using d = simd<Set, double>;
    constexpr T none = -std::numeric_limits<T>::infinity();
    row_maximum<Set, T> top;
    top.find(columns, z);
    out->nan = top.nan;
    out->best = top.place;
    if (!weights) return;
    const double sharpness = std::min(1 / temperature, 1e300);  // finite: 0 · ∞ is no number
    typename d::vector e = {}, total = {};
    for (index_t j = 0; j < columns; j += d::lanes) {
      if (j + d::lanes <= columns) {
        load_doubles<Set>(e, z + j);
      } else {
        T rest[d::lanes];
        for (index_t i = 0; i < d::lanes; ++i) rest[i] = j + i < columns ? z[j + i] : none;
        load_doubles<Set>(e, static_cast<const T*>(rest));
      }
      e = (e - static_cast<double>(top.highest)) * sharpness;
      d::exp(e);
      total += e;  // beyond the last column: e^−∞
      d::store_some(weights + j, e, columns - j);
    }
    out->total = d::sum(total);
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
