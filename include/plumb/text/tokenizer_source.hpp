// SPDX-License-Identifier: BSL-1.0
// Vocabularies that come in other files than a tokenizer.json: each becomes the tokenizer.json that says the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

class gguf_file;

namespace detail {

/// A merge of two tokens; equal ranks merge leftmost first, which a tokenizer.json cannot say.
struct ranked_merge {
  token_id left = 0, right = 0, result = 0;
  std::uint32_t rank = 0;
};

/// A tokenizer.json in the making.
struct tokenizer_source {
  json::object document;
  std::vector<ranked_merge> merges;  // instead of the document's, when not empty
  std::optional<token_id> bos, eos, pad;
  std::string chat_template;
};

/// Every way to put a piece together from two others: vocabularies with scores or ranks imply their merges.
///
/// `order[id]`: lower merges first; equal ones share a rank. Pieces of more than 512 bytes are not taken apart, so that
/// the time stays proportional to the file's size. The result is sorted by rank, then by the parts' order.
inline std::vector<ranked_merge> implied_merges(std::span<const std::string> pieces,
                                                std::span<const std::uint32_t> order) {
  std::unordered_map<std::string_view, token_id> ids;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (!pieces[i].empty()) ids.insert_or_assign(pieces[i], static_cast<token_id>(i));
  std::vector<ranked_merge> out;
  for (const auto& [piece, id] : ids) {
    if (piece.size() > 512) continue;
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      const auto left = ids.find(piece.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(piece.substr(cut));
      if (right != ids.end()) out.push_back({left->second, right->second, id, order[static_cast<std::size_t>(id)]});
    }
  }
  const auto at = [&](token_id id) { return order[static_cast<std::size_t>(id)]; };
  std::sort(out.begin(), out.end(), [&](const ranked_merge& a, const ranked_merge& b) {
    if (a.rank != b.rank) return a.rank < b.rank;
    if (a.result != b.result) return a.result < b.result;
    return at(a.left) != at(b.left) ? at(a.left) < at(b.left) : a.left < b.left;
  });
  return out;
}

/// Scores as an order: the highest is 0; equal scores are equal.
std::vector<std::uint32_t> order_of_scores(std::span<const float> scores);

inline json::string json_text(std::string_view text) { return json::string(text.data(), text.size()); }

/// The "vocab" of a BPE model and, from merges, its "merges".
json::object vocabulary_json(std::span<const std::string> pieces);
json::array merges_json(std::span<const std::string> pieces, std::span<const ranked_merge> merges);
/// An entry of "added_tokens".
json::object added_token_json(std::string_view content, token_id id, bool special);
/// A post_processor that puts tokens before and after a text; null for none.
json::value template_json(std::span<const std::string> pieces, std::optional<token_id> before,
                          std::optional<token_id> after);
/// The pre_tokenizer of a byte-level model: a Split by a published pattern, then ByteLevel.
json::object byte_level_json(std::string_view pattern);
/// {"String": …}, and a decoder or normalizer that replaces one text by another.
json::object replace_json(std::string_view from, std::string_view to);

/// The vocabulary in a GGUF file's metadata ("tokenizer.ggml.…").
tokenizer_source read_gguf_vocabulary(const gguf_file& file);
/// A tiktoken file: lines of a token in base64 and its rank.
tokenizer_source read_tiktoken(std::string_view text, const std::string& place);
bool is_tiktoken(std::string_view text);
/// A SentencePiece model (protobuf).
tokenizer_source read_sentencepiece(std::string_view bytes, const std::string& place);

}  // namespace detail

}  // namespace plumb::inline v0
