// SPDX-License-Identifier: BSL-1.0
// Learnt rows of the embedding for a few tokens, while the table stays frozen: PEFT's trainable tokens.
#pragma once

#include <plumb/autograd/product.hpp>
#include <plumb/autograd/replacement.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// E' = E with row tokens_j replaced by row j of `rows`. A head tied to the embedding scores with the same rows.
template <class B, class T>
struct token_rows {
  weight_ptr<B, T> rows;   ///< [n, width], those of the table at first
  index_tensor<B> tokens;  ///< [1, n] ids, each once
  index_tensor<B> slots;   ///< [1, vocabulary] row of each token, −1: none

  /// The rows of the batch's tokens, given those of the table; [tokens, width].
  variable<B, T> looked_up(pass<B, T>& p, variable<B, T> base) const {
    return p.tape.apply(
        row_replacement<B, T>{base, p.tape.leaf(*rows), p.batch.token_ids, std::as_const(slots).get().data, {}});
  }
  /// The scores of all tokens for states x [rows, width], given those with the table, [rows, vocabulary].
  variable<B, T> scored(pass<B, T>& p, variable<B, T> base, variable<B, T> x) const {
    auto& t = p.tape;
    const auto own = product_with(t, x, t.leaf(*rows));  // [rows, n]
    return t.apply(column_replacement<B, T>{base, own, std::as_const(tokens).get().data, {}});
  }
};

}  // namespace plumb::inline v0
