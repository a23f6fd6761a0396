// SPDX-License-Identifier: BSL-1.0
// LoRA of a table of tokens: a low-rank change of what is looked up.
#pragma once

#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// E' = E + s A Bᵀ for a table E [vocabulary, width]; s = alpha / rank. PEFT's lora_embedding_A is Aᵀ: here its rows are
/// tokens, as they are looked up. A head tied to the table keeps E, as in PEFT.
template <class B, class T>
struct embedding_lora {
  weight_ptr<B, T> a;  ///< [vocabulary, rank]
  weight_ptr<B, T> b;  ///< [width, rank]
  double scale = 1;    ///< s

  [[nodiscard]] index_t rank() const noexcept { return a->value.extent().columns; }
  /// The rows of the batch's tokens, given those of E, in their memory; [tokens, width].
  variable<B, T> looked_up(pass<B, T>& p, variable<B, T> base) const {
    auto& t = p.tape;
    const auto rows = gather_rows(t, t.leaf(*a), p.batch.token_ids, base.rows());  // [tokens, rank]
    return product_onto(t, base, rows, t.leaf(*b), static_cast<T>(scale));
  }
};

}  // namespace plumb::inline v0
