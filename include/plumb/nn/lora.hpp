// SPDX-License-Identifier: BSL-1.0
// LoRA and DoRA: a low-rank change of a linear map, learnt while the map itself stays frozen.
#pragma once

#include <plumb/autograd/column_scale.hpp>
#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>
#include <plumb/nn/row_norms.hpp>

namespace plumb::inline v0 {

/// y = W x + s B A drop(x), s = alpha / rank; A [rank, in], B [out, rank] (Hu et al. 2021, eq. 3).
///
/// With a magnitude m [1, out] (DoRA, Liu et al. 2024, eq. 5): y = g ⊙ (W + s B A) drop(x) + W (x − drop(x)),
/// g_j = m_j / ‖W_j + s B_j A‖. The norm follows A and B, but no gradient goes through it (section 4.3 there, and PEFT).
///
/// With first values A₀, B₀ that came out of W itself (PiSSA, Meng et al. 2024; OLoRA, Büyükakyüz 2024), what they say is
/// taken out of the map again: y = W x − s B₀ A₀ x + s B A drop(x). PEFT stores W − s B₀ A₀ in W's place, which is the same
/// map; keeping W leaves the model without its adapter what it was.
template <class B, class T>
struct lora {
  weight_ptr<B, T> a;                           ///< [rank, in]
  weight_ptr<B, T> b;                           ///< [out, rank]
  double scale = 1;                             ///< s
  double dropout = 0;                           ///< share of the inputs dropped in training
  double alpha = 1;                             ///< as written to adapter_config.json
  weight_ptr<B, T> first_a;                     ///< A₀ [rank, in], frozen; null: none
  weight_ptr<B, T> first_b;                     ///< B₀ [out, rank]
  weight_ptr<B, T> magnitude;                   ///< m [1, out]; null: LoRA
  std::shared_ptr<const tensor<B, T>> squares;  ///< Σ_i W_ji² [1, out], with a magnitude

  [[nodiscard]] index_t rank() const noexcept { return a->value.extent().rows; }
  [[nodiscard]] bool learns() const noexcept {
    return a->trainable() || b->trainable() || (magnitude && magnitude->trainable());
  }

  /// The whole map but its bias: x [tokens, in], W `weight` [out, in] → [tokens, out].
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x, variable<B, T> weight) const {
    if (!p.dropout || !(dropout > 0)) return map(p.tape, x, weight, x);  // [tokens, out]
    const std::uint64_t key = p.next_key();
    return p.tape.recompute([&] { return plumb::dropout(p.tape, x, dropout, key); },             // [tokens, in]
                            [&](variable<B, T> seen) { return map(p.tape, x, weight, seen); });  // [tokens, out]
  }

 private:
  /// The map of x, whose adapter sees `seen`: x, or x after dropout.
  variable<B, T> map(tape<B, T>& t, variable<B, T> x, variable<B, T> weight, variable<B, T> seen) const {
    if (first_a) {
      const auto base = low_rank(t, product_with(t, x, weight), x, t.leaf(*first_a), t.leaf(*first_b), -scale);
      return low_rank(t, base, seen, t.leaf(*a), t.leaf(*b), scale);
    }
    const auto whole = adapted_product_with(t, magnitude ? seen : x, weight, seen, t.leaf(*a), t.leaf(*b),
                                            static_cast<T>(scale));  // [tokens, out]
    if (!magnitude) return whole;
    const auto norms = adapted_row_norms(t, weight, squares->get(), std::as_const(a->value).get(),
                                         std::as_const(b->value).get(), scale);
    const auto y = scale_columns(t, whole, t.leaf(*magnitude), norms);  // [tokens, out]
    if (seen.value.data == x.value.data) return y;
    return product_onto(t, y, add(t, x, plumb::scale(t, seen, T(-1))), weight, T(1));  // [tokens, out]
  }
  /// base + factor · x Aᵀ Bᵀ in base's memory.
  static variable<B, T> low_rank(tape<B, T>& t, variable<B, T> base, variable<B, T> x, variable<B, T> a,
                                 variable<B, T> b, double factor) {
    return product_onto(t, base, product_with(t, x, a), b, static_cast<T>(factor));  // [tokens, out]
  }
};

}  // namespace plumb::inline v0
