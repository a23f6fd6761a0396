// SPDX-License-Identifier: BSL-1.0
// Functions of single numbers between linear maps. They are functors that run on every backend through for_each; a backend may
// have kernels of its own for them.
#pragma once

#include <cmath>

#include <plumb/autograd/tape.hpp>
#include <plumb/backend/concept.hpp>
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

/// out_i = f(x_i)
template <class T, class Function>
struct function_each {
  Function f;
  const T* x;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = f(x[i]); }
};
/// dx_i += d_i f'(x_i)
template <class T, class Function>
struct function_slope_each {
  Function f;
  const T* x;
  const T* out;
  const T* d;
  T* dx;
  PLUMB_HD void operator()(index_t i) const { dx[i] += d[i] * f.slope(x[i], out[i]); }
};

template <class T>
struct gelu_of {
  bool by_tanh;
  [[nodiscard]] number_function_kind kind() const {
    return by_tanh ? number_function_kind::gelu_tanh : number_function_kind::gelu;
  }
  [[nodiscard]] T parameter() const { return 0; }
  PLUMB_HD T operator()(T x) const { return gelu_at(x, by_tanh).value; }
  PLUMB_HD T slope(T x, T) const { return gelu_at(x, by_tanh).slope; }
};
/// x σ(x)
template <class T>
struct silu_of {
  [[nodiscard]] number_function_kind kind() const { return number_function_kind::silu; }
  [[nodiscard]] T parameter() const { return 0; }
  static PLUMB_HD T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }
  PLUMB_HD T operator()(T x) const { return x * sigmoid(x); }
  PLUMB_HD T slope(T x, T out) const { return sigmoid(x) * (1 + x - out); }
};
template <class T>
struct sigmoid_of {
  [[nodiscard]] number_function_kind kind() const { return number_function_kind::sigmoid; }
  [[nodiscard]] T parameter() const { return 0; }
  PLUMB_HD T operator()(T x) const { return 1 / (1 + std::exp(-x)); }
  PLUMB_HD T slope(T, T out) const { return out * (1 - out); }
};
template <class T>
struct relu_of {
  [[nodiscard]] number_function_kind kind() const { return number_function_kind::relu; }
  [[nodiscard]] T parameter() const { return 0; }
  PLUMB_HD T operator()(T x) const { return x > 0 ? x : T(0); }
  PLUMB_HD T slope(T x, T) const { return x > 0 ? T(1) : T(0); }
};
/// cap tanh(x / cap): numbers far beyond the cap come to rest there (Gemma 2).
template <class T>
struct soft_cap_of {
  T cap;
  [[nodiscard]] number_function_kind kind() const { return number_function_kind::soft_cap; }
  [[nodiscard]] T parameter() const { return cap; }
  PLUMB_HD T operator()(T x) const { return capped_score(x, cap); }
  PLUMB_HD T slope(T, T out) const { return cap_slope(out, cap); }
};
/// Numbers beyond ±most come to rest there; their slope is 0.
template <class T>
struct clip_of {
  T most;
  [[nodiscard]] number_function_kind kind() const { return number_function_kind::clip; }
  [[nodiscard]] T parameter() const { return most; }
  PLUMB_HD T operator()(T x) const { return x > most ? most : x < -most ? -most : x; }
  PLUMB_HD T slope(T x, T) const { return x > most || x < -most ? T(0) : T(1); }
};

}  // namespace detail

/// out = f(x), number by number. `Function` gives f(x) and f.slope(x, f(x)), on host and device, and says what a kernel is to compute.
template <class B, class T, class Function>
struct number_function {
  variable<B, T> x;
  Function f;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) {
    if constexpr (number_functions<B, T>)
      B::number_function(t.device(), f.kind(), f.parameter(), x.value, t.writable(out));
    else
      B::for_each(t.device(), x.value.size(),
                  detail::function_each<T, Function>{f, x.value.data, t.writable(out).data});
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    if constexpr (number_functions<B, T>) {
      auto [dx, beta] = t.begin_gradient(x);
      B::number_function_backward(t.device(), f.kind(), f.parameter(), x.value, out.slot->value, beta != 0, dx);
    } else {
      const detail::function_slope_each<T, Function> add{f, x.value.data, out.value.data, out.slot->value.data,
                                                         t.gradient(x).data};
      B::for_each(t.device(), x.value.size(), add);
    }
  }
};

template <class B, class T>
variable<B, T> gelu(tape<B, T>& t, variable<B, T> x, activation which = activation::gelu_tanh) {
  return t.apply(number_function<B, T, detail::gelu_of<T>>{x, {which == activation::gelu_tanh}, {}});
}
/// The bend that `which` names, number by number.
template <class B, class T>
variable<B, T> activate(tape<B, T>& t, variable<B, T> x, activation which) {
  if (which == activation::silu) return t.apply(number_function<B, T, detail::silu_of<T>>{x, {}, {}});
  if (which == activation::relu) return t.apply(number_function<B, T, detail::relu_of<T>>{x, {}, {}});
  return gelu(t, x, which);
}
template <class B, class T>
variable<B, T> sigmoid(tape<B, T>& t, variable<B, T> x) {
  return t.apply(number_function<B, T, detail::sigmoid_of<T>>{x, {}, {}});
}
template <class B, class T>
variable<B, T> clip(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> most) {
  return t.apply(number_function<B, T, detail::clip_of<T>>{x, {most}, {}});
}
template <class B, class T>
variable<B, T> soft_cap(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> cap) {
  return t.apply(number_function<B, T, detail::soft_cap_of<T>>{x, {cap}, {}});
}

}  // namespace plumb::inline v0
