// SPDX-License-Identifier: BSL-1.0
// Functions of single numbers between linear maps. They are functors that run on every backend through for_each.
#pragma once

#include <cmath>

#include <plumb/autograd/tape.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

template <class T>
struct gelu_number {
  T value, slope;
};

/// gelu(x) and its derivative.
template <class T>
PLUMB_HD gelu_number<T> gelu_at(T x, bool by_tanh) {
  if (by_tanh) {  // x/2 (1 + tanh u), u = √(2/π) (x + 0.044715 x³)
    constexpr T root = T(0.79788456080286535588), cubic = T(0.044715);
    const T t = std::tanh(root * (x + cubic * x * x * x));
    return {T(0.5) * x * (1 + t), T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * root * (1 + 3 * cubic * x * x)};
  }
  const T below = T(0.5) * std::erfc(-x * T(0.70710678118654752440));  // Φ(x)
  return {x * below, below + x * T(0.39894228040143267794) * std::exp(T(-0.5) * x * x)};
}

template <class T>
struct gelu_each {
  const T* x;
  T* out;
  bool by_tanh;
  PLUMB_HD void operator()(index_t i) const { out[i] = gelu_at(x[i], by_tanh).value; }
};
template <class T>
struct gelu_slope_each {
  const T* x;
  const T* d;
  T* dx;
  bool by_tanh;
  PLUMB_HD void operator()(index_t i) const { dx[i] += d[i] * gelu_at(x[i], by_tanh).slope; }
};
template <class T>
struct cap_each {
  const T* x;
  T* out;
  T cap;
  PLUMB_HD void operator()(index_t i) const { out[i] = capped_score(x[i], cap); }
};
template <class T>
struct cap_slope_each {
  const T* out;
  const T* d;
  T* dx;
  T cap;
  PLUMB_HD void operator()(index_t i) const { dx[i] += d[i] * cap_slope(out[i], cap); }
};

}  // namespace detail

/// out = gelu(x), number by number.
template <class B, class T>
struct gelu_function {
  variable<B, T> x;
  bool by_tanh = true;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    B::for_each(t.device(), x.value.size(), detail::gelu_each<T>{x.value.data, t.writable(out).data, by_tanh});
    return out;
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const detail::gelu_slope_each<T> add{x.value.data, out.slot->value.data, t.gradient(x).data, by_tanh};
    B::for_each(t.device(), x.value.size(), add);
  }
};

/// out = cap tanh(x / cap): numbers far beyond the cap come to rest there (Gemma 2).
template <class B, class T>
struct soft_capping {
  variable<B, T> x;
  T cap = 1;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    B::for_each(t.device(), x.value.size(), detail::cap_each<T>{x.value.data, t.writable(out).data, cap});
    return out;
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const detail::cap_slope_each<T> add{out.value.data, out.slot->value.data, t.gradient(x).data, cap};
    B::for_each(t.device(), x.value.size(), add);
  }
};

/// out = x + by
template <class B, class T>
struct shifting {
  variable<B, T> x;
  T by = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    B::fill(t.device(), t.writable(out), by);
    B::add_scaled(t.device(), T(1), x.value, t.writable(out));
    return out;
  }
  void backward(tape<B, T>& t) {
    if (x.slot) B::add_scaled(t.device(), T(1), out.slot->value, t.gradient(x));
  }
};

template <class B, class T>
variable<B, T> gelu(tape<B, T>& t, variable<B, T> x, activation which = activation::gelu_tanh) {
  return t.apply(gelu_function<B, T>{x, which == activation::gelu_tanh, {}});
}
template <class B, class T>
variable<B, T> soft_cap(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> cap) {
  return t.apply(soft_capping<B, T>{x, cap, {}});
}
template <class B, class T>
variable<B, T> shift(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> by) {
  return t.apply(shifting<B, T>{x, by, {}});
}

}  // namespace plumb::inline v0
