// SPDX-License-Identifier: BSL-1.0
// A stretch of columns: one map may make queries, keys and values side by side.
#pragma once

#include <plumb/autograd/tape.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

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

}  // namespace detail

/// out = x[:, first … first + count), copied.
template <class B, class T>
struct column_choice {
  variable<B, T> x;
  index_t first = 0, count = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like({x.rows(), count}, x);
    B::for_each(t.device(), out.value.size(), detail::take_columns_each<T>{x.value, t.writable(out), first});
    return out;
  }
  void backward(tape<B, T>& t) {
    if (x.slot)
      B::for_each(t.device(), out.value.size(), detail::give_columns_each<T>{out.slot->value, t.gradient(x), first});
  }
};

template <class B, class T>
variable<B, T> take_columns(tape<B, T>& t, variable<B, T> x, index_t first, index_t count) {
  return t.apply(column_choice<B, T>{x, first, count, {}});
}

}  // namespace plumb::inline v0
