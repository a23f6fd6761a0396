// SPDX-License-Identifier: BSL-1.0
// Replies that people liked or disliked, one a row; and preferences taken apart into such rows.
// Bodies: read_unpaired_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json_fwd.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// A reply with a thumb up or down: {"prompt", "completion", "label": true or false}, with the ids or the keys that
/// `parse_demonstration` takes in place of texts; "desirable" is another name of "label". Optional: "kl" (the row's baseline
/// of the log-ratio, nats), "ref" (reference log-probability, nats) and "weight" (from 0; 0 leaves the row out).
/// Errors name `place`.
example parse_unpaired(const json::value& value, const std::string& place, const tokenizer* words,
                       const read_options& o = {});

/// Preferences as single replies: all chosen ones, liked, and after them all rejected ones, disliked. Rows of one reply
/// keep their place among the former.
std::vector<example> unpair(std::vector<example> rows);

namespace detail {
std::vector<example> read_unpaired(const std::filesystem::path& path, const tokenizer* words, const read_options& o);
}  // namespace detail

/// Reads single replies with labels; rows with "chosen" and "rejected" are preferences and give two.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_unpaired(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  return detail::read_unpaired(path, model.has_tokenizer() ? &model.tokenizer() : nullptr, o);
}
inline std::vector<example> read_unpaired(const std::filesystem::path& path, const tokenizer& words,
                                          const read_options& o = {}) {
  return detail::read_unpaired(path, &words, o);
}

}  // namespace plumb::inline v0
