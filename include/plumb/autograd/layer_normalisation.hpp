// SPDX-License-Identifier: BSL-1.0
// Layer normalisation: rows get mean 0 and deviation 1. One functor a row, on every backend through for_each, unless it has kernels
// of its own.
#pragma once

#include <cmath>

#include <plumb/autograd/tape.hpp>
#include <plumb/backend/concept.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Mean and 1/√(variance + ε) of each row, and y = (x − mean) · inverse ⊙ weight.
template <class T>
struct normalise_row {
  view<const T> x;
  const T* weight;
  T epsilon;
  view<T> y;
  T* mean;
  T* inverse;
  PLUMB_HD void operator()(index_t i) const {
    const T* row = x.row(i);
    const T count = static_cast<T>(x.columns);
    T sum = 0, squares = 0;
    for (index_t k = 0; k < x.columns; ++k) sum += row[k];
    const T centre = sum / count;
    for (index_t k = 0; k < x.columns; ++k) squares += (row[k] - centre) * (row[k] - centre);
    const T factor = 1 / std::sqrt(squares / count + epsilon);
    for (index_t k = 0; k < x.columns; ++k) y.row(i)[k] = (row[k] - centre) * factor * weight[k];
    mean[i] = centre, inverse[i] = factor;
  }
};

/// dx += inverse (g − mean g − n · mean(g n)), with n the normalised row and g = d ⊙ weight.
template <class T>
struct normalise_row_back {
  view<const T> x;
  const T* weight;
  const T* mean;
  const T* inverse;
  view<const T> d;
  view<T> dx;
  PLUMB_HD void operator()(index_t i) const {
    const T count = static_cast<T>(x.columns);
    T sum = 0, along = 0;
    for (index_t k = 0; k < x.columns; ++k) {
      const T g = d.row(i)[k] * weight[k];
      sum += g, along += g * (x.row(i)[k] - mean[i]) * inverse[i];
    }
    sum /= count, along /= count;
    for (index_t k = 0; k < x.columns; ++k) {
      const T n = (x.row(i)[k] - mean[i]) * inverse[i];
      dx.row(i)[k] += inverse[i] * (d.row(i)[k] * weight[k] - sum - n * along);
    }
  }
};

/// dweight_k += Σ_i d_ik n_ik; one functor a column, so the order of the sum is fixed.
template <class T>
struct normalise_weight_back {
  view<const T> x;
  const T* mean;
  const T* inverse;
  view<const T> d;
  T* dweight;
  PLUMB_HD void operator()(index_t k) const {
    T sum = 0;
    for (index_t i = 0; i < x.rows; ++i) sum += d.row(i)[k] * (x.row(i)[k] - mean[i]) * inverse[i];
    dweight[k] += sum;
  }
};

}  // namespace detail

/// y = (x − mean x) / √(var x + ε) ⊙ weight per row (Ba et al. 2016, eq. 4, without its bias); weight [1, width].
template <class B, class T>
struct layer_normalisation {
  variable<B, T> x, weight;
  double epsilon = 1e-5;
  T* mean = nullptr;     ///< per row, kept for the way back
  T* inverse = nullptr;  ///< 1/√(var x + ε) per row
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    y = t.make_like(x.value.extent(), x, weight);
    mean = t.memory().template make_array<T>(x.rows());
    inverse = t.memory().template make_array<T>(x.rows());
    compute(t);
    return y;
  }
  void compute(tape<B, T>& t) {
    if constexpr (layer_norms<B, T>)
      B::layer_norm(t.device(), x.value, weight.value, epsilon, t.writable(y), mean, inverse);
    else
      B::for_each(
          t.device(), x.rows(),
          detail::normalise_row<T>{x.value, weight.value.data, static_cast<T>(epsilon), t.writable(y), mean, inverse});
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    if constexpr (layer_norms<B, T>) {
      B::layer_norm_backward(t.device(), x.value, weight.value, mean, inverse, d, x.slot ? t.gradient(x) : view<T>{},
                             weight.slot ? t.gradient(weight) : view<T>{});
    } else {
      if (x.slot)
        B::for_each(t.device(), x.rows(),
                    detail::normalise_row_back<T>{x.value, weight.value.data, mean, inverse, d, t.gradient(x)});
      if (weight.slot)
        B::for_each(t.device(), x.columns(),
                    detail::normalise_weight_back<T>{x.value, mean, inverse, d, t.gradient(weight).data});
    }
  }
};

template <class B, class T>
variable<B, T> centre_and_normalise(tape<B, T>& t, variable<B, T> x, variable<B, T> weight, double epsilon) {
  return t.apply(layer_normalisation<B, T>{x, weight, epsilon, nullptr, nullptr, {}});
}

}  // namespace plumb::inline v0
