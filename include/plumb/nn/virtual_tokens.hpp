// SPDX-License-Identifier: BSL-1.0
// Learnt tokens ahead of every sequence: prompt tuning and prefix tuning.
#pragma once

#include <plumb/autograd/columns.hpp>
#include <plumb/autograd/row_stack.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// `count` tokens that every sequence begins with while adapters are on; its own tokens start at position `count`.
///
/// Prompt tuning (Lester et al. 2021): their embeddings are learnt, [count, width]. Prefix tuning (Li and Liang 2021): the
/// keys and values that they have in each layer are, [count, layers · 2 · kv_width], a layer's keys before its values; keys
/// are not turned by their position.
template <class B, class T>
struct virtual_tokens {
  index_t count = 0;
  bool prefix = false;
  weight_ptr<B, T> rows;

  /// Embeddings [count + tokens, width] from those of the tokens.
  variable<B, T> ahead_of(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    if (!prefix) return stack_rows(t, t.leaf(*rows), x);
    const view<T> nothing = t.memory().template make<T>({count, x.columns()});  // their keys and values are given
    B::fill(t.device(), nothing, T(0));
    return stack_rows(t, t.constant(nothing), x);
  }
  /// Keys (part 0) or values (part 1) of layer p.layer with those of the virtual tokens in their first rows.
  variable<B, T> instead_of(pass<B, T>& p, variable<B, T> x, index_t part) const {
    auto& t = p.tape;
    const auto own = take_columns(t, t.leaf(*rows), (2 * p.layer + part) * x.columns(), x.columns());
    return stack_rows(t, own, x, count);
  }
};

/// The layout with `count` virtual tokens ahead of every root. `fresh`: they are rows of this batch, the first ones;
/// otherwise they are only seen. Row i of theirs among the keys is `first_key` + i, and key row k of the batch becomes
/// k + `shift`.
batch_layout with_virtual_tokens(const batch_layout& own, std::int32_t count, bool fresh, std::int32_t first_key,
                                 std::int32_t shift);

}  // namespace plumb::inline v0
