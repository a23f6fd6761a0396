// SPDX-License-Identifier: BSL-1.0
// A factor for each column, the quotient of a learnt number and a fixed one: the magnitudes of DoRA.
#pragma once

#include <plumb/autograd/tape.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// factor_j = m_j / n_j; a column of norm 0 holds zeros and stays.
template <class T>
struct column_factor_each {
  const T* magnitude;
  const T* norm;
  T* factor;
  PLUMB_HD void operator()(index_t j) const { factor[j] = norm[j] > 0 ? magnitude[j] / norm[j] : T(0); }
};
/// out_ij += x_ij factor_j, one number a functor: neighbours on a GPU write neighbours.
template <class T>
struct scale_columns_each {
  view<const T> x;
  const T* factor;
  T* out;
  PLUMB_HD void operator()(index_t i) const {
    out[i] += x.data[i] * factor[static_cast<std::uint32_t>(i) % static_cast<std::uint32_t>(x.columns)];
  }
};
/// The same, one row a functor: on a processor the division would take most of the time.
template <class T>
struct scale_columns_of_row {
  view<const T> x;
  const T* factor;
  view<T> out;
  PLUMB_HD void operator()(index_t i) const {
    const T* const from = x.row(i);
    T* const to = out.row(i);
    for (index_t j = 0; j < x.columns; ++j) to[j] += from[j] * factor[j];
  }
};
/// gradient_j += sum_j / n_j
template <class T>
struct magnitude_gradient_each {
  const T* sum;
  const T* norm;
  T* gradient;
  PLUMB_HD void operator()(index_t j) const { gradient[j] += norm[j] > 0 ? sum[j] / norm[j] : T(0); }
};

}  // namespace detail

/// y_ij = x_ij m_j / n_j; x, y [rows, columns], m [1, columns], the norms n [1, columns] count as constants.
template <class B, class T>
struct column_scaling {
  variable<B, T> x, magnitude;
  view<const T> norm;
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    y = t.make_like(x.value.extent(), x, magnitude);
    B::fill(t.device(), t.writable(y), T(0));
    run(t, x.value, t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    if (magnitude.slot) {
      const view<T> gradient = t.gradient(magnitude);
      typename tape<B, T>::scope forgotten(t, false);
      const auto each = t.memory().template make<T>(d.extent());
      const auto sum = t.memory().template make<T>(gradient.extent());
      B::multiply(t.device(), d, x.value, each);
      B::fill(t.device(), sum, T(0));
      B::sum_rows(t.device(), view<const T>(each), sum);
      B::for_each(t.device(), d.columns, detail::magnitude_gradient_each<T>{sum.data, norm.data, gradient.data});
    }
    if (x.slot) run(t, d, t.gradient(x));
  }

 private:
  void run(tape<B, T>& t, view<const T> from, view<T> out) const {
    typename tape<B, T>::scope forgotten(t, false);
    const auto factor = t.memory().template make<T>({1, from.columns});
    B::for_each(t.device(), from.columns, detail::column_factor_each<T>{magnitude.value.data, norm.data, factor.data});
    if constexpr (B::host_memory) {
      B::for_each(t.device(), from.rows, detail::scale_columns_of_row<T>{from, factor.data, out});
    } else {  // in runs of rows: the kernel counts numbers in 32 bits, which divide twice as fast
      const index_t most = from.columns > 0 ? std::max<index_t>(1, (index_t{1} << 31) / from.columns) : 1;
      for (index_t first = 0; first < from.rows; first += most) {
        const auto part = from.slice(first, std::min(most, from.rows - first));
        B::for_each(t.device(), part.size(), detail::scale_columns_each<T>{part, factor.data, out.row(first)});
      }
    }
  }
};

template <class B, class T>
variable<B, T> scale_columns(tape<B, T>& t, variable<B, T> x, variable<B, T> magnitude,
                             std::type_identity_t<view<const T>> norm) {
  return t.apply(column_scaling<B, T>{x, magnitude, norm, {}});
}

}  // namespace plumb::inline v0
