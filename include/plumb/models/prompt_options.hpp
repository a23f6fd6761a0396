// SPDX-License-Identifier: BSL-1.0
// How many tokens are learnt ahead of every sequence, and what they start from.
#pragma once

#include <cstdint>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// Prompt tuning or prefix tuning; see nn/virtual_tokens.hpp.
struct prompt_options {
  index_t count = 20;   ///< virtual tokens
  bool prefix = false;  ///< learn their keys and values in every layer; false: their embeddings
  /// Prompt tuning starts from the embeddings of these tokens, over and over until there are `count`; empty: tokens of the
  /// vocabulary at random. A text that asks for the task is a good start (Lester et al. 2021, section 3.2).
  std::vector<token_id> from = {};
  double deviation = 0.1;  ///< of a prefix's first numbers, which are normal
  std::uint64_t seed = 0;
};

}  // namespace plumb::inline v0
