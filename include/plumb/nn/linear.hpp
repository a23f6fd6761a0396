// SPDX-License-Identifier: BSL-1.0
// The linear map of a network, which an adapter may ride on.
#pragma once

#include <optional>

#include <plumb/nn/adapter_mixture.hpp>
#include <plumb/nn/lora.hpp>
#include <plumb/nn/token_rows.hpp>

namespace plumb::inline v0 {

/// y = W x + bias (+ the adapter's change); x [tokens, in], W [out, in], bias [1, out], y [tokens, out].
template <class B, class T>
struct linear {
  weight_ptr<B, T> weight;
  weight_ptr<B, T> bias;  ///< null: none
  std::optional<lora<B, T>> adapter;
  std::shared_ptr<const token_rows<B, T>> learnt = {};  ///< of a head tied to an embedding that has them; null: none

  [[nodiscard]] index_t inputs() const noexcept { return weight->extent().columns; }
  [[nodiscard]] index_t outputs() const noexcept { return weight->extent().rows; }
  /// Would training change anything here? (A frozen head gives unit gradients; see head.hpp.)
  [[nodiscard]] bool learns(const pass<B, T>& p) const noexcept {
    return p.learns(*weight) || (bias && p.learns(*bias)) ||
           (p.adapters && ((adapter && adapter->learns()) || (learnt && learnt->rows->trainable()) ||
                           (p.mixture && p.mixture->learns(this))));
  }

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    const auto w = p.leaf(*weight);
    const lora<B, T>* const own = adapter ? &*adapter : nullptr;
    auto y = p.mixture && p.adapters ? p.mixture->product(p, x, w, this, own)
             : own && p.adapters     ? (*own)(p, x, w)
                                     : product_with(t, x, w);   // [tokens, out]
    if (p.adapters && learnt) y = learnt->scored(p, y, x);  // [tokens, out]
    if (bias) y = add_row_onto(t, y, p.leaf(*bias));        // [tokens, out]
    return y;
  }

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace plumb::inline v0
