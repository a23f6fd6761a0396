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
/// A weight as an operand, with its panels where the product reads rows of it.
template <class B, class T>
product_operands<T> operands_of(const tape<B, T>& t, product kind, view<const T> a, const variable<B, T>& weight) {
  const bool panels = kind == product::nt;
  return {a, weight.value, panels ? panels_of(t, weight) : nullptr, weight.packed,
          panels ? packed_panels_of(t, weight) : nullptr};
}
/// c = beta · c + op(a, W) + op(more_a, V), in one trip through c where the backend can; V is never packed.
template <class B, class T>
void multiply_both(tape<B, T>& t, product kind, view<const T> a, const variable<B, T>& weight, view<const T> more_a,
                   const variable<B, T>& more, T beta, view<T> c) {
  if constexpr (summed_products<B, T> && packed_products<B, T>) {
    B::template multiply_sum<T>(t.device(), kind, operands_of(t, kind, a, weight), operands_of(t, kind, more_a, more),
                                beta, c);
  } else {
    multiply_weight(t, kind, T(1), a, weight, beta, c);
    B::multiply(t.device(), kind, T(1), more_a, more.value, T(1), c);
  }
}
/// inner = factor · op(a, D), c = beta · c + op(a, W) + op(inner, V), reading `a` once where the backend can; D and V are
/// never packed.
template <class B, class T>
void multiply_adapted(tape<B, T>& t, product kind, view<const T> a, const variable<B, T>& weight,
                      const variable<B, T>& down, T factor, view<T> inner, const variable<B, T>& up, T beta,
                      view<T> c) {
  if constexpr (summed_products<B, T> && packed_products<B, T>) {
    B::template multiply_adapted<T>(t.device(), kind, operands_of(t, kind, a, weight), operands_of(t, kind, a, down),
                                    factor, inner, operands_of(t, kind, view<const T>(inner), up), beta, c);
  } else {
    multiply_weight(t, kind, factor, a, down, T(0), inner);
    multiply_both<B, T>(t, kind, a, weight, inner, up, beta, c);
  }
}

}  // namespace detail

}  // namespace plumb::inline v0
