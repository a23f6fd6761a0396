// SPDX-License-Identifier: BSL-1.0
// Token ids become vectors.
#pragma once

#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/embedding_lora.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>
#include <plumb/nn/token_rows.hpp>
#include <plumb/nn/virtual_tokens.hpp>

namespace plumb::inline v0 {

/// The rows of a table [vocabulary, width] that the batch's tokens name, times `factor`.
template <class B, class T>
struct embedding {
  weight_ptr<B, T> weight;
  double factor = 1;               ///< Gemma: √width
  weight_ptr<B, T> stand_in = {};  ///< a learnt copy of the table in its place while adapters are on; null: none
  std::shared_ptr<const token_rows<B, T>> learnt = {};        ///< rows of a few tokens; null: none
  std::shared_ptr<const embedding_lora<B, T>> low_rank = {};  ///< a low-rank change of the table; null: none

  variable<B, T> operator()(pass<B, T>& p) const {
    auto& t = p.tape;
    // A tied head's learnt copy, `weight->stand_in`, is not the embedding's.
    const auto table = p.adapters && stand_in ? t.leaf(*stand_in)
                       : weight->stand_in     ? t.frozen(*weight)
                                              : t.leaf(*weight);                            // [vocabulary, width]
    auto x = gather_rows(t, table, p.batch.token_ids, p.batch.tokens - p.batch.ahead);  // [tokens, width]
    if (p.adapters && low_rank) x = low_rank->looked_up(p, x);                          // [tokens, width]
    if (p.adapters && learnt) x = learnt->looked_up(p, x);                              // [tokens, width]
    if (factor != 1) x = scale(t, x, static_cast<T>(factor));                           // [tokens, width]
    if (!p.noise.empty()) x = add(t, x, variable<B, T>{p.noise});                       // [tokens, width]
    return p.batch.ahead > 0 ? p.ahead->ahead_of(p, x) : x;  // [virtual tokens + tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
  }
};

}  // namespace plumb::inline v0
