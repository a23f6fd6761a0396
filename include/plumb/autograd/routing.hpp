// SPDX-License-Identifier: BSL-1.0
// Choosing a few columns of each row by their probability, and adding weighted rows where they belong: what a mixture of
// experts is made of beside its experts.
#pragma once

#include <cmath>

#include <plumb/autograd/tape.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

template <class T>
struct softmax_each {
  view<const T> x;
  view<T> out;
  PLUMB_HD void operator()(index_t i) const {
    const T* from = x.row(i);
    T* to = out.row(i);
    T most = from[0], total = 0;
    for (index_t j = 1; j < x.columns; ++j) most = from[j] > most ? from[j] : most;
    for (index_t j = 0; j < x.columns; ++j) total += to[j] = std::exp(from[j] - most);
    for (index_t j = 0; j < x.columns; ++j) to[j] /= total;
  }
};
/// dx += p ⊙ (d − Σ p d)
template <class T>
struct softmax_slope_each {
  view<const T> p, d;
  view<T> dx;
  PLUMB_HD void operator()(index_t i) const {
    T mean = 0;
    for (index_t j = 0; j < p.columns; ++j) mean += p.row(i)[j] * d.row(i)[j];
    for (index_t j = 0; j < p.columns; ++j) dx.row(i)[j] += p.row(i)[j] * (d.row(i)[j] - mean);
  }
};
/// The largest numbers of each row, largest first; of equal ones the one that comes first. Always different columns, even
/// where numbers are none (NaN).
template <class T>
struct choose_largest_each {
  view<const T> x;
  index_t count;
  std::int32_t* out;  ///< [rows, count]
  PLUMB_HD void operator()(index_t i) const {
    const T* row = x.row(i);
    std::int32_t* chosen = out + i * count;
    for (index_t k = 0; k < count; ++k) {
      index_t best = -1;
      for (index_t j = 0; j < x.columns; ++j) {
        bool taken = false;
        for (index_t m = 0; m < k; ++m) taken = taken || chosen[m] == j;
        if (!taken && (best < 0 || row[j] > row[best])) best = j;
      }
      chosen[k] = static_cast<std::int32_t>(best);
    }
  }
};
template <class T>
struct chosen_numbers_each {
  view<const T> x;
  const std::int32_t* columns;
  view<T> out;
  bool shared;
  PLUMB_HD void operator()(index_t i) const {
    const std::int32_t* chosen = columns + i * out.columns;
    T total = 0;
    for (index_t k = 0; k < out.columns; ++k) total += out.row(i)[k] = x.row(i)[chosen[k]];
    for (index_t k = 0; shared && k < out.columns; ++k) out.row(i)[k] /= total;
  }
};
/// Of y_k = x_k / Σ_chosen x: dx_k += (d_k − Σ y d) / Σ_chosen x. Otherwise dx_k += d_k.
template <class T>
struct chosen_slope_each {
  view<const T> x, y, d;
  const std::int32_t* columns;
  view<T> dx;
  bool shared;
  PLUMB_HD void operator()(index_t i) const {
    const std::int32_t* chosen = columns + i * y.columns;
    T mean = 0, total = shared ? T(0) : T(1);
    for (index_t k = 0; shared && k < y.columns; ++k) {
      mean += y.row(i)[k] * d.row(i)[k];
      total += x.row(i)[chosen[k]];
    }
    for (index_t k = 0; k < y.columns; ++k) dx.row(i)[chosen[k]] += (d.row(i)[k] - mean) / total;
  }
};
template <class T>
struct add_weighted_each {
  view<const T> y;
  const T* weight;
  const std::int32_t* rows;  ///< null: row i goes to row i
  view<T> out;
  PLUMB_HD void operator()(index_t n) const {
    const index_t i = n / y.columns;
    out.row(rows ? rows[i] : i)[n % y.columns] += weight[i] * y.data[n];
  }
};

}  // namespace detail

/// p_ij = exp(x_ij) / Σ_k exp(x_ik); x, p [rows, columns].
template <class B, class T>
struct row_softmax {
  variable<B, T> x, p;

  variable<B, T> forward(tape<B, T>& t) {
    p = t.make_like(x.value.extent(), x);
    B::for_each(t.device(), x.rows(), detail::softmax_each<T>{x.value, t.writable(p)});
    return p;
  }
  void backward(tape<B, T>& t) {
    if (x.slot) B::for_each(t.device(), x.rows(), detail::softmax_slope_each<T>{p.value, p.slot->value, t.gradient(x)});
  }
};

/// y_ik = x_i,columns(i,k), divided by their sum in the row where `shared`; y [rows, count], columns [rows, count] on the
/// device, different ones in each row.
template <class B, class T>
struct number_choice {
  variable<B, T> x;
  const std::int32_t* columns = nullptr;
  index_t count = 0;
  bool shared = false;
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    y = t.make_like({x.rows(), count}, x);
    B::for_each(t.device(), x.rows(), detail::chosen_numbers_each<T>{x.value, columns, t.writable(y), shared});
    return y;
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const detail::chosen_slope_each<T> add{x.value, y.value, y.slot->value, columns, t.gradient(x), shared};
    B::for_each(t.device(), x.rows(), add);
  }
};

/// out = base with weight_i · y_i added to row rows(i), in the memory of `base`, which its maker and nobody else has used;
/// y [count, width], weight [count, 1]. `rows` [count] on the device, no row twice; null: row i.
template <class B, class T>
struct weighted_rows {
  variable<B, T> base, y, weight;
  const std::int32_t* rows = nullptr;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.take_over(base, base, y, weight);
    B::for_each(t.device(), y.value.size(),
                detail::add_weighted_each<T>{y.value, weight.value.data, rows, t.writable(out)});
    return out;
  }
  void backward(tape<B, T>& t) {
    const view<T> dy = y.slot ? t.gradient(y) : view<T>(), dw = weight.slot ? t.gradient(weight) : view<T>();
    if (dy.data || dw.data) {
      typename tape<B, T>::scope forgotten(t, false);
      view<const T> d = out.slot->value;
      if (rows) {
        const view<T> own = t.memory().template make<T>(y.value.extent());
        B::gather_rows(t.device(), d, rows, own);
        d = own;
      }
      if (dy.data) B::add_scaled_rows(t.device(), weight.value.data, d, dy);
      if (dw.data) {  // Σ_j y_ij d_ij, a product with ones
        const view<T> each = t.memory().template make<T>(y.value.extent());
        const view<T> ones = t.memory().template make<T>({1, y.columns()});
        B::multiply(t.device(), y.value, d, each);
        B::fill(t.device(), ones, T(1));
        B::multiply(t.device(), product::nt, T(1), view<const T>(each), view<const T>(ones), T(1), dw);
      }
    }
    if (base.slot) t.hand_gradient(base, out);
  }
};

/// s_j = Σ_i x_ij; x [rows, columns], s [1, columns].
template <class B, class T>
struct column_sums {
  variable<B, T> x, s;

  variable<B, T> forward(tape<B, T>& t) {
    s = t.make_like({1, x.columns()}, x);
    B::fill(t.device(), t.writable(s), T(0));
    B::sum_rows(t.device(), x.value, t.writable(s));
    return s;
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const view<T> dx = t.gradient(x);
    B::add_row(t.device(), view<const T>(dx), s.slot->value, dx);
  }
};

template <class B, class T>
variable<B, T> softmax_rows(tape<B, T>& t, variable<B, T> x) {
  return t.apply(row_softmax<B, T>{x, {}});
}
/// The columns of the `count` largest numbers of each row, [rows, count] on the device; count ≤ columns.
template <class B, class T>
std::int32_t* choose_largest(tape<B, T>& t, view<const T> x, index_t count) {
  auto* const out = t.memory().template make_array<std::int32_t>(x.rows * count);
  B::for_each(t.device(), x.rows, detail::choose_largest_each<T>{x, count, out});
  return out;
}
template <class B, class T>
variable<B, T> choose_numbers(tape<B, T>& t, variable<B, T> x, const std::int32_t* columns, index_t count,
                              bool shared) {
  return t.apply(number_choice<B, T>{x, columns, count, shared, {}});
}
template <class B, class T>
variable<B, T> add_weighted_rows(tape<B, T>& t, variable<B, T> base, variable<B, T> y, variable<B, T> weight,
                                 const std::int32_t* rows = nullptr) {
  return t.apply(weighted_rows<B, T>{base, y, weight, rows, {}});
}
template <class B, class T>
variable<B, T> sum_columns(tape<B, T>& t, variable<B, T> x) {
  return t.apply(column_sums<B, T>{x, {}});
}

}  // namespace plumb::inline v0
