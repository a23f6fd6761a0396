// SPDX-License-Identifier: BSL-1.0
// A stretch of columns: one map may make queries, keys and values side by side.
#pragma once

#include <plumb/autograd/tape.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// One number a functor: neighbours on a GPU write neighbours.
template <class T>
struct take_columns_each {
  view<const T> x;
  view<T> out;
  index_t first;
  PLUMB_HD void operator()(index_t i) const { out.data[i] = x.row(i / out.columns)[first + i % out.columns]; }
};
template <class T>
struct give_columns_each {
  view<const T> d;
  view<T> dx;
  index_t first;
  PLUMB_HD void operator()(index_t i) const { dx.row(i / d.columns)[first + i % d.columns] += d.data[i]; }
};
/// One row a functor: on a processor the division would take most of the time.
template <class T>
struct take_columns_of_row {
  view<const T> x;
  view<T> out;
  index_t first;
  PLUMB_HD void operator()(index_t i) const {
    const T* const from = x.row(i) + first;
    T* const to = out.row(i);
    for (index_t j = 0; j < out.columns; ++j) to[j] = from[j];
  }
};
template <class T>
struct give_columns_of_row {
  view<const T> d;
  view<T> dx;
  index_t first;
  PLUMB_HD void operator()(index_t i) const {
    const T* const from = d.row(i);
    T* const to = dx.row(i) + first;
    for (index_t j = 0; j < d.columns; ++j) to[j] += from[j];
  }
};

}  // namespace detail

/// out = x[:, first … first + count), copied.
template <class B, class T>
struct column_choice {
  variable<B, T> x;
  index_t first = 0, count = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like({x.rows(), count}, x);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) {
    if constexpr (B::host_memory)
      B::for_each(t.device(), x.rows(), detail::take_columns_of_row<T>{x.value, t.writable(out), first});
    else
      B::for_each(t.device(), out.value.size(), detail::take_columns_each<T>{x.value, t.writable(out), first});
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    if constexpr (B::host_memory)
      B::for_each(t.device(), x.rows(), detail::give_columns_of_row<T>{out.slot->value, t.gradient(x), first});
    else
      B::for_each(t.device(), out.value.size(), detail::give_columns_each<T>{out.slot->value, t.gradient(x), first});
  }
};

template <class B, class T>
variable<B, T> take_columns(tape<B, T>& t, variable<B, T> x, index_t first, index_t count) {
  return t.apply(column_choice<B, T>{x, first, count, {}});
}

}  // namespace plumb::inline v0
