// SPDX-License-Identifier: BSL-1.0
// The product of activations with a weight, and a bias: what a linear layer does.
#pragma once

#include <plumb/autograd/weight_product.hpp>

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
    detail::multiply_weight(t, product::nt, factor, x.value, weight, beta, t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    if (x.slot) {
      auto [dx, beta] = t.begin_gradient(x);
      detail::multiply_weight(t, product::nn, factor, d, weight, beta, dx);
    }
    if (weight.slot) {
      auto [dw, beta] = t.begin_gradient(weight);
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
    y = t.make_like({x.rows(), weight.rows()}, x, weight, seen, a, b);
    if (seen.value.data == x.value.data) {
      detail::multiply_adapted<B, T>(t, product::nt, x.value, weight, a, factor, inner, b, T(0), t.writable(y));
    } else {
      detail::multiply_weight(t, product::nt, factor, seen.value, a, T(0), inner);
      detail::multiply_both<B, T>(t, product::nt, x.value, weight, inner, b, T(0), t.writable(y));
    }
    return y;
  }
  void backward(tape<B, T>& t) {
    const view<const T> d = y.slot->value;
    const view<T> d_inner = t.borrow(inner.extent());  // of seen Aᵀ, [tokens, rank]
    if (x.slot && x.slot == seen.slot) {
      auto [dx, beta] = t.begin_gradient(x);
      detail::multiply_adapted<B, T>(t, product::nn, d, weight, b, factor, d_inner, a, beta, dx);
    } else {
      B::multiply(t.device(), product::nn, factor, d, b.value, T(0), d_inner);
      if (x.slot) {
        auto [dx, beta] = t.begin_gradient(x);
        detail::multiply_weight(t, product::nn, T(1), d, weight, beta, dx);
      }
      if (seen.slot) add_product(t, product::nn, d_inner, a.value, seen);
    }
    if (a.slot) add_product(t, product::tn, d_inner, seen.value, a);
    if (b.slot) add_product(t, product::tn, d, inner, b);
    if (weight.slot) add_product(t, product::tn, d, x.value, weight);
    t.give_back(d_inner);
  }

 private:
  static void add_product(tape<B, T>& t, product kind, view<const T> left, view<const T> right, variable<B, T> to) {
    auto [gradient, beta] = t.begin_gradient(to);
    B::multiply(t.device(), kind, T(1), left, right, beta, gradient);
  }
};

/// y = x + bias on every row; bias [1, width]. `onto`: in x's memory where that is free.
template <class B, class T>
struct row_addition {
  static constexpr bool output_is_free = true;
  variable<B, T> x, bias, y;
  bool onto = false;

  variable<B, T> forward(tape<B, T>& t) {
    y = onto && t.may_take_over(x) ? t.take_over(x, x, bias) : t.make_like(x.value.extent(), x, bias);
    compute(t);
    return y;
  }
  void compute(tape<B, T>& t) { B::add_row(t.device(), x.value, bias.value, t.writable(y)); }
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
/// The same in x's memory where its maker needs it no more; `x` must have been made just before and is not used again.
template <class B, class T>
variable<B, T> add_row_onto(tape<B, T>& t, variable<B, T> x, variable<B, T> bias) {
  return t.apply(row_addition<B, T>{x, bias, {}, true});
}

}  // namespace plumb::inline v0
