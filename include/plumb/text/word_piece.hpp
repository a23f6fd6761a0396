// SPDX-License-Identifier: BSL-1.0
// WordPiece: from the left, always the longest piece that fits; pieces inside a word are marked with a prefix (##).
// Devlin et al., 2019, https://arxiv.org/abs/1810.04805
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/unigram.hpp>

namespace plumb::inline v0::detail {

/// The WordPiece model of a tokenizer.
struct word_piece_model {
  piece_tree first, inner;         // pieces that begin a word, and those inside, without their prefix
  token_id unknown = -1;           // stands for a word that cannot be put together
  std::size_t longest_word = 100;  // characters; longer words are unknown

  /// Appends the tokens of `word`, in time proportional to its length.
  void encode(std::string_view word, std::vector<token_id>& out) const {
    std::size_t count = 0;
    for (std::size_t at = 0; at < word.size() && count <= longest_word; ++count) at += utf8_at(word, at).size;
    const std::size_t begin = out.size();
    bool whole = count <= longest_word;
    for (std::size_t at = 0; whole && at < word.size();) {
      token_id best = -1;
      std::size_t size = 0;
      (at == 0 ? first : inner).match(word.substr(at), [&](token_id id, std::size_t length) {
        best = id;
        size = length;
      });
      whole = best >= 0;
      if (whole) out.push_back(best);
      at += size;
    }
    if (whole) return;
    out.resize(begin);
    if (unknown >= 0) out.push_back(unknown);
  }
};

}  // namespace plumb::inline v0::detail
