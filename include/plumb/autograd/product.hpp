// SPDX-License-Identifier: BSL-1.0
// The product of activations with a weight, and a bias: what a linear layer does.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// y = factor · x Wᵀ (+ base); x [tokens, in], W [out, in], base and y [tokens, out].
/// `base`, when given, is a product made just before: y takes over its memory, so that a low-rank term rides on it.
template <class B, class T>
struct linear_product {
  static constexpr bool output_is_free = true;
  variable<B, T> x, weight;
  T factor = 1;
  variable<B, T> base;  ///< value.data null: none
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    const bool onto = base.value.data != nullptr;
    y = onto ? t.take_over(base, x, weight, base) : t.make_like({x.rows(), weight.rows()}, x, weight);
    const T beta = onto ? T(1) : T(0);
    if constexpr (panel_products<B, T>)
      if (const T* const panels = t.panels() ? t.panels()->find(weight.value.data) : nullptr) {
        B::multiply_panels(t.device(), factor, x.value, panels, beta, t.writable(y));
        return y;
      }
    B::multiply(t.device(), product::nt, factor, x.value, weight.value, beta, t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    if (x.slot) {
      auto [dx, beta] = t.gradient_for_product(x);
      B::multiply(t.device(), product::nn, factor, d, weight.value, beta, dx);
    }
    if (weight.slot) {
      auto [dw, beta] = t.gradient_for_product(weight);
      B::multiply(t.device(), product::tn, factor, d, x.value, beta, dw);
    }
    if (base.slot) t.hand_gradient(base, y);
  }
};

/// y = x + bias on every row; bias [1, width].
template <class B, class T>
struct row_addition {
  static constexpr bool output_is_free = true;
  variable<B, T> x, bias, y;

  variable<B, T> forward(tape<B, T>& t) {
    y = t.make_like(x.value.extent(), x, bias);
    B::add_row(t.device(), x.value, bias.value, t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    if (bias.slot) B::sum_rows(t.device(), y.slot->value, t.gradient(bias));
    if (x.slot) t.hand_gradient(x, y);
  }
};

/// x Wᵀ; x [tokens, in], W [out, in] → [tokens, out]
template <class B, class T>
variable<B, T> product_with(tape<B, T>& t, variable<B, T> x, variable<B, T> weight,
                            std::type_identity_t<T> factor = 1) {
  return t.apply(linear_product<B, T>{x, weight, factor, {}, {}});
}
/// base + factor · x Wᵀ in base's memory; `base` must have been made just before and is not used again.
template <class B, class T>
variable<B, T> product_onto(tape<B, T>& t, variable<B, T> base, variable<B, T> x, variable<B, T> weight,
                            std::type_identity_t<T> factor) {
  return t.apply(linear_product<B, T>{x, weight, factor, base, {}});
}
template <class B, class T>
variable<B, T> add_row(tape<B, T>& t, variable<B, T> x, variable<B, T> bias) {
  return t.apply(row_addition<B, T>{x, bias, {}});
}

}  // namespace plumb::inline v0
