// SPDX-License-Identifier: BSL-1.0
// Products with a weight however it lies: as plain numbers, as panels for sampling, or packed into fewer bits.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The weight as panels where the tape has them, or null.
template <class B, class T>
const T* panels_of(const tape<B, T>& t, const variable<B, T>& weight) {
  return t.panels() && weight.value.data ? t.panels()->find(weight.value.data) : nullptr;
}
/// The codes of a packed weight as panels where the tape has them, or null.
template <class B, class T>
const std::uint8_t* packed_panels_of(const tape<B, T>& t, const variable<B, T>& weight) {
  return t.panels() && weight.packed ? t.panels()->find_packed(*weight.packed) : nullptr;
}
/// Calls f(W) with the plain numbers of the weight, which a packed one has during the call only.
template <class B, class T, class F>
void with_plain(tape<B, T>& t, const variable<B, T>& weight, F&& f) {
  if (!weight.packed) return f(weight.value);
  typename tape<B, T>::scope forgotten(t, false);
  const view<T> plain = t.memory().template make<T>(weight.value.extent());
  unpack_on<B>(t.device(), *weight.packed, plain);
  f(view<const T>(plain));
}
/// y = factor · x Wᵀ + beta · y (nt), or factor · x W + beta · y (nn).
template <class B, class T>
void multiply_weight(tape<B, T>& t, product kind, T factor, view<const T> x, const variable<B, T>& weight, T beta,
                     view<T> y) {
  if constexpr (panel_products<B, T>)
    if (kind == product::nt)
      if (const T* const panels = panels_of(t, weight))
        return B::multiply_panels(t.device(), factor, x, panels, beta, y);
  if constexpr (packed_products<B, T>)
    if (weight.packed)
      return B::multiply_packed(t.device(), kind, factor, x, *weight.packed,
                                kind == product::nt ? packed_panels_of(t, weight) : nullptr, beta, y);
  with_plain(t, weight, [&](view<const T> plain) { B::multiply(t.device(), kind, factor, x, plain, beta, y); });
}
/// c = beta · c + op(a, W) + op(more_a, V), in one trip through c where the backend can; V is never packed.
template <class B, class T>
void multiply_both(tape<B, T>& t, product kind, view<const T> a, const variable<B, T>& weight, view<const T> more_a,
                   const variable<B, T>& more, T beta, view<T> c) {
  if constexpr (summed_products<B, T> && packed_products<B, T>) {
    const bool panels = kind == product::nt;
    B::template multiply_sum<T>(t.device(), kind,
                                {a, weight.value, panels ? panels_of(t, weight) : nullptr, weight.packed,
                                 panels ? packed_panels_of(t, weight) : nullptr},
                                {more_a, more.value, panels ? panels_of(t, more) : nullptr}, beta, c);
  } else {
    multiply_weight(t, kind, T(1), a, weight, beta, c);
    B::multiply(t.device(), kind, T(1), more_a, more.value, T(1), c);
  }
}

}  // namespace detail

}  // namespace plumb::inline v0
