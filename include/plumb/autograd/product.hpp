// SPDX-License-Identifier: BSL-1.0
// The product of activations with a weight, and a bias: what a linear layer does.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The weight as panels where the tape has them, or null.
template <class B, class T>
const T* panels_of(const tape<B, T>& t, view<const T> weight) {
  return t.panels() ? t.panels()->find(weight.data) : nullptr;
}
/// y = factor · x Wᵀ + beta · y.
template <class B, class T>
void multiply_weight(tape<B, T>& t, T factor, view<const T> x, view<const T> weight, T beta, view<T> y) {
  if constexpr (panel_products<B, T>)
    if (const T* const panels = panels_of(t, weight)) return B::multiply_panels(t.device(), factor, x, panels, beta, y);
  B::multiply(t.device(), product::nt, factor, x, weight, beta, y);
}
/// c = beta · c + op(a, b) + op(more_a, more_b), in one trip through c where the backend can.
template <class B, class T>
void multiply_both(tape<B, T>& t, product kind, view<const T> a, view<const T> b, view<const T> more_a,
                   view<const T> more_b, T beta, view<T> c) {
  if constexpr (summed_products<B, T>) {
    const bool weights = kind == product::nt;
    B::template multiply_sum<T>(t.device(), kind, {a, b, weights ? panels_of(t, b) : nullptr},
                                {more_a, more_b, weights ? panels_of(t, more_b) : nullptr}, beta, c);
  } else {
    B::multiply(t.device(), kind, T(1), a, b, beta, c);
    B::multiply(t.device(), kind, T(1), more_a, more_b, T(1), c);
  }
}

}  // namespace detail

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
    detail::multiply_weight(t, factor, x.value, weight.value, beta, t.writable(y));
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

/// y = x Wᵀ + factor · seen Aᵀ Bᵀ; x and seen [tokens, in], W [out, in], A [rank, in], B [out, rank], y [tokens, out].
/// `seen` is x, or x after dropout. The low-rank term rides on the product with W, forwards and backwards.
template <class B, class T>
struct adapted_product {
  static constexpr bool output_is_free = true;
  variable<B, T> x, weight, seen, a, b;
  T factor = 1;
  view<T> inner;  ///< factor · seen Aᵀ [tokens, rank]
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    inner = t.memory().template make<T>({x.rows(), a.rows()});
    detail::multiply_weight(t, factor, seen.value, a.value, T(0), inner);
    y = t.make_like({x.rows(), weight.rows()}, x, weight, seen, a, b);
    detail::multiply_both<B, T>(t, product::nt, x.value, weight.value, inner, b.value, T(0), t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    const view<T> d_inner = t.memory().template make<T>(inner.extent());  // of seen Aᵀ, [tokens, rank]
    B::multiply(t.device(), product::nn, factor, d, b.value, T(0), d_inner);
    if (a.slot) add_product(t, product::tn, d_inner, seen.value, a);
    if (b.slot) add_product(t, product::tn, d, inner, b);
    if (weight.slot) add_product(t, product::tn, d, x.value, weight);
    if (x.slot && x.slot == seen.slot) {
      auto [dx, beta] = t.gradient_for_product(x);
      return detail::multiply_both<B, T>(t, product::nn, d, weight.value, d_inner, a.value, beta, dx);
    }
    if (x.slot) add_product(t, product::nn, d, weight.value, x);
    if (seen.slot) add_product(t, product::nn, d_inner, a.value, seen);
  }

 private:
  static void add_product(tape<B, T>& t, product kind, view<const T> left, view<const T> right, variable<B, T> to) {
    auto [gradient, beta] = t.gradient_for_product(to);
    B::multiply(t.device(), kind, T(1), left, right, beta, gradient);
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
/// x Wᵀ + factor · seen Aᵀ Bᵀ → [tokens, out]
template <class B, class T>
variable<B, T> adapted_product_with(tape<B, T>& t, variable<B, T> x, variable<B, T> weight, variable<B, T> seen,
                                    variable<B, T> a, variable<B, T> b, std::type_identity_t<T> factor) {
  return t.apply(adapted_product<B, T>{x, weight, seen, a, b, factor, {}, {}});
}
template <class B, class T>
variable<B, T> add_row(tape<B, T>& t, variable<B, T> x, variable<B, T> bias) {
  return t.apply(row_addition<B, T>{x, bias, {}});
}

}  // namespace plumb::inline v0
