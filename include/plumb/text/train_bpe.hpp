// SPDX-License-Identifier: BSL-1.0
// Learning a byte-level BPE tokenizer from texts: the pair of neighbours that occurs most often becomes a token, again
// and again. Sennrich et al., 2016, https://arxiv.org/abs/1508.07909. Bodies: train_bpe_impl.hpp.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Learns a byte-level BPE tokenizer (GPT-2's way of cutting words) of at most `vocabulary_size` tokens.
///
/// Tokens are numbered: special tokens as given, the 256 bytes, the merges. Any text can be encoded and comes back
/// exactly. The result depends on nothing but the arguments: of equally frequent pairs the one of smaller numbers wins.
/// Learning stops early when no pair occurs `least_count` times. Special tokens are cut out of the texts first; name
/// the roles of some with `set_bos` and `set_eos`. Errors: `bad_argument` for a size below 256 + special tokens, or
/// special tokens that are empty, repeated or a single byte.
tokenizer train_bpe(std::span<const std::string> texts, index_t vocabulary_size,
                    const std::vector<std::string>& special_tokens = {}, index_t least_count = 2);

}  // namespace plumb::inline v0
