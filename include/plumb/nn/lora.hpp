// SPDX-License-Identifier: BSL-1.0
// LoRA: a low-rank change of a linear map, learnt while the map itself stays frozen (Hu et al. 2021, eq. 3).
#pragma once

#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// y = W x + s B A drop(x), s = alpha / rank; A [rank, in], B [out, rank].
template <class B, class T>
struct lora {
  weight_ptr<B, T> a;  ///< [rank, in], uniform in ±1/√in at first
  weight_ptr<B, T> b;  ///< [out, rank], zero at first: the adapter starts as no change
  double scale = 1;    ///< s
  double dropout = 0;  ///< share of the inputs dropped in training
  double alpha = 1;    ///< as written to adapter_config.json

  [[nodiscard]] index_t rank() const noexcept { return a->value.extent().rows; }

  /// base + s B A drop(x), in base's memory.
  variable<B, T> onto(pass<B, T>& p, variable<B, T> base, variable<B, T> x) const {
    auto& t = p.tape;
    if (p.dropout && dropout > 0) x = plumb::dropout(t, x, dropout, p.next_key());
    const auto inner = product_with(t, x, t.leaf(*a));                       // [tokens, rank]
    return product_onto(t, base, inner, t.leaf(*b), static_cast<T>(scale));  // [tokens, out]
  }
};

}  // namespace plumb::inline v0
