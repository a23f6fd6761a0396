// SPDX-License-Identifier: BSL-1.0
// Rows above rows.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// out = [top; bottom without its first `skipped` rows]; all of one width.
template <class B, class T>
struct row_stacking {
  variable<B, T> top, bottom;
  index_t skipped = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like({top.rows() + rest(), top.columns()}, top, bottom);
    const view<T> to = t.writable(out);
    B::copy(t.device(), top.value, to.slice(0, top.rows()));
    B::copy(t.device(), bottom.value.slice(skipped, rest()), to.slice(top.rows(), rest()));
    return out;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = out.slot->value;
    if (top.slot) B::add_scaled(t.device(), T(1), d.slice(0, top.rows()), t.gradient(top));
    if (bottom.slot)
      B::add_scaled(t.device(), T(1), d.slice(top.rows(), rest()), t.gradient(bottom).slice(skipped, rest()));
  }

 private:
  [[nodiscard]] index_t rest() const noexcept { return bottom.rows() - skipped; }
};

template <class B, class T>
variable<B, T> stack_rows(tape<B, T>& t, variable<B, T> top, variable<B, T> bottom, index_t skipped = 0) {
  return t.apply(row_stacking<B, T>{top, bottom, skipped, {}});
}

/// Rows [first, end) of x, copied.
template <class B, class T>
variable<B, T> rows_from(tape<B, T>& t, variable<B, T> x, index_t first) {
  const variable<B, T> none = t.constant(view<const T>(x.value.data, {0, x.columns()}));
  return stack_rows(t, none, x, first);
}

}  // namespace plumb::inline v0
