// SPDX-License-Identifier: BSL-1.0
// The linear map of a network, which an adapter may ride on.
#pragma once

#include <optional>

#include <plumb/nn/lora.hpp>

namespace plumb::inline v0 {

/// y = W x + bias (+ the adapter's change); x [tokens, in], W [out, in], bias [1, out], y [tokens, out].
template <class B, class T>
struct linear {
  weight_ptr<B, T> weight;
  weight_ptr<B, T> bias;  ///< null: none
  std::optional<lora<B, T>> adapter;

  [[nodiscard]] index_t inputs() const noexcept { return weight->value.extent().columns; }
  [[nodiscard]] index_t outputs() const noexcept { return weight->value.extent().rows; }
  /// Would training change anything here? (A frozen head gives unit gradients; see head.hpp.)
  [[nodiscard]] bool learns(const pass<B, T>& p) const noexcept {
    return weight->trainable() || (bias && bias->trainable()) ||
           (adapter && p.adapters && (adapter->a->trainable() || adapter->b->trainable()));
  }

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    auto y = product_with(t, x, t.leaf(*weight));           // [tokens, out]
    if (adapter && p.adapters) y = adapter->onto(p, y, x);  // [tokens, out]
    if (bias) y = add_row(t, y, t.leaf(*bias));             // [tokens, out]
    return y;
  }

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace plumb::inline v0
