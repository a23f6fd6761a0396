// SPDX-License-Identifier: BSL-1.0
// A range of rows by itself, and back among the others.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// out = rows [first, first + count) of x, where they lie: nothing is copied.
template <class B, class T>
struct row_range {
  variable<B, T> x;
  index_t first = 0, count = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    const auto rows = x.value.slice(first, count);
    return out = t.make_reshaped(variable<B, T>{rows, x.slot}, rows.extent());
  }
  void backward(tape<B, T>& t) {
    B::add_scaled(t.device(), T(1), view<const T>(out.slot->value), t.gradient(x).slice(first, count));
  }
};

/// all with `part` in its rows from `first` on, in the memory of `all`, whose rows there have no numbers yet.
template <class B, class T>
struct row_placement {
  variable<B, T> all, part;
  index_t first = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.take_over(all, all, part);
    B::copy(t.device(), part.value, t.writable(out).slice(first, part.rows()));
    return out;
  }
  void backward(tape<B, T>& t) {
    if (part.slot) t.add_gradient(part, view<const T>(out.slot->value).slice(first, part.rows()));
    if (all.slot) t.hand_gradient(all, out);
  }
};

template <class B, class T>
variable<B, T> rows_between(tape<B, T>& t, variable<B, T> x, index_t first, index_t count) {
  return t.apply(row_range<B, T>{x, first, count, {}});
}
template <class B, class T>
variable<B, T> place_rows(tape<B, T>& t, variable<B, T> all, variable<B, T> part, index_t first) {
  return t.apply(row_placement<B, T>{all, part, first, {}});
}

}  // namespace plumb::inline v0
