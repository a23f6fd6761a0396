// SPDX-License-Identifier: BSL-1.0
// The cpu primitives that treat numbers one by one, and AdamW. Each number's result depends on nothing beside it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Numbers per task: large enough that handing it out costs little.
inline constexpr index_t elementwise_grain = 1 << 14;

/// out = a + b, out = a b, out += a b or out += factor a.
template <class T, pointwise Kind>
struct pointwise_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, T factor, const T* a, const T* b, T* out) {
    using s = simd<Set, T>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector x, y, result;
      s::load_some(x, a + i, count - i);
      if constexpr (Kind == pointwise::add_scaled)
        s::spread(y, factor);
      else
        s::load_some(y, b + i, count - i);
      if constexpr (Kind == pointwise::add)
        result = x + y;
      else if constexpr (Kind == pointwise::multiply)
        result = x * y;
      else {
        s::load_some(result, out + i, count - i);
        s::fma(result, x, y);
      }
      s::store_some(out + i, result, count - i);
    }
  }
};

template <pointwise Kind, class T>
void cpu_pointwise(cpu_device& d, T factor, view<const T> a, const T* b, view<T> out) {
  d.run_pieces(a.size(), elementwise_grain, [&](index_t first, index_t last) {
    run_with<pointwise_body<T, Kind>>(d.instructions(), last - first, factor, a.data + first, b ? b + first : b,
                                      out.data + first);
  });
}

/// out = silu(gate) up
template <class T>
struct swiglu_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, const T* gate, const T* up, T* out) {
    using s = simd<Set, T>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector x, y, e;
      s::load_some(x, gate + i, count - i);
      s::load_some(y, up + i, count - i);
      e = -x;
      s::exp(e);
      x = x / (e + T(1)) * y;
      s::store_some(out + i, x, count - i);
    }
  }
};

/// to (+)= value
template <class Set, class T>
[[gnu::always_inline]] inline void give(typename simd<Set, T>::vector& value, bool accumulate, T* to, index_t left) {
  typename simd<Set, T>::vector before{};
  if (accumulate) simd<Set, T>::load_some(before, to, left);
  value += before;
  simd<Set, T>::store_some(to, value, left);
}

/// d_gate (+)= d up silu'(gate), d_up (+)= d silu(gate)
template <class T>
struct swiglu_backward_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, const T* gate, const T* up, const T* d, bool accumulate,
                                                T* d_gate, T* d_up) {
    using s = simd<Set, T>;
    typename s::vector one;
    s::spread(one, T(1));
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector x, y, slope, e;
      s::load_some(x, gate + i, count - i);
      s::load_some(slope, d + i, count - i);
      e = -x;
      s::exp(e);
      const typename s::vector sigmoid = one / (e + one);
      if (d_gate) {
        s::load_some(y, up + i, count - i);
        y = slope * y * sigmoid * (one + x * (one - sigmoid));
        give<Set, T>(y, accumulate, d_gate + i, count - i);
      }
      if (d_up) {
        y = slope * x * sigmoid;
        give<Set, T>(y, accumulate, d_up + i, count - i);
      }
    }
  }
};

template <class T>
void cpu_swiglu(cpu_device& d, view<const T> gate, view<const T> up, view<T> out) {
  d.run_pieces(gate.size(), elementwise_grain / 4, [&](index_t first, index_t last) {
    run_with<swiglu_body<T>>(d.instructions(), last - first, gate.data + first, up.data + first, out.data + first);
  });
}
template <class T>
void cpu_swiglu_backward(cpu_device& d, view<const T> gate, view<const T> up, view<const T> slope, bool accumulate,
                         view<T> d_gate, view<T> d_up) {
  const auto at = [](T* memory, index_t i) { return memory ? memory + i : memory; };
  d.run_pieces(gate.size(), elementwise_grain / 4, [&](index_t first, index_t last) {
    run_with<swiglu_backward_body<T>>(d.instructions(), last - first, gate.data + first, up.data + first,
                                      slope.data + first, accumulate, at(d_gate.data, first), at(d_up.data, first));
  });
}

/// What AdamW multiplies with, worked out once.
template <class T>
struct adamw_factors {
  explicit adamw_factors(const adamw_step& s)
      : gradient(static_cast<T>(s.gradient_scale)),
        beta1(static_cast<T>(s.beta1)),
        rest1(static_cast<T>(1 - s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        rest2(static_cast<T>(1 - s.beta2)),
        root(static_cast<T>(std::sqrt(s.correction2))),
        epsilon(static_cast<T>(s.epsilon)),
        keep(static_cast<T>(1 - s.rate * s.weight_decay)),
        rate(static_cast<T>(s.rate / s.correction1)) {}
  T gradient, beta1, rest1, beta2, rest2, root, epsilon, keep, rate;
};

template <class T>
struct adamw_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, const adamw_factors<T>* f, T* gradient, T* m, T* v,
                                                T* p) {
    using s = simd<Set, T>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector g, first, second, root, weight, zero = {};
      s::load_some(g, gradient + i, count - i);
      s::load_some(first, m + i, count - i);
      s::load_some(second, v + i, count - i);
      s::load_some(weight, p + i, count - i);
      g *= f->gradient;
      first = f->beta1 * first + f->rest1 * g;
      second = f->beta2 * second + f->rest2 * g * g;
      root = second;
      s::square_root(root);
      root = root / f->root + f->epsilon;
      weight = weight * f->keep - f->rate * first / root;
      s::store_some(gradient + i, zero, count - i);
      s::store_some(m + i, first, count - i);
      s::store_some(v + i, second, count - i);
      s::store_some(p + i, weight, count - i);
    }
  }
};

template <class T>
void cpu_adamw(cpu_device& d, const adamw_step& step, view<T> gradient, view<T> m, view<T> v, view<T> p) {
  const adamw_factors<T> factors(step);
  d.run_pieces(p.size(), elementwise_grain, [&](index_t first, index_t last) {
    run_with<adamw_body<T>>(d.instructions(), last - first, &factors, gradient.data + first, m.data + first,
                            v.data + first, p.data + first);
  });
}

/// *sum = Σ x² in double, eight chains.
template <class T>
struct squares_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, const T* x, double* sum) {
    constexpr index_t chains = 8;
    double chain[chains] = {};
    index_t i = 0;
    for (; i + chains <= count; i += chains)
      for (index_t j = 0; j < chains; ++j) chain[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
    for (index_t j = 0; i + j < count; ++j) chain[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
    *sum = ((chain[0] + chain[4]) + (chain[2] + chain[6])) + ((chain[1] + chain[5]) + (chain[3] + chain[7]));
  }
};

/// Pieces of a fixed length, their sums added in order.
template <class T>
double cpu_sum_of_squares(cpu_device& d, view<const T> x) {
  const index_t pieces = (x.size() + elementwise_grain - 1) / elementwise_grain;
  double* const parts = d.shared_scratch<double>(pieces);
  d.run_pieces(x.size(), elementwise_grain, [&](index_t first, index_t last) {
    run_with<squares_body<T>>(d.instructions(), last - first, x.data + first, parts + first / elementwise_grain);
  });
  double sum = 0;
  for (index_t i = 0; i < pieces; ++i) sum += parts[i];
  return sum;
}

}  // namespace plumb::inline v0::detail
