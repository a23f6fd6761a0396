// SPDX-License-Identifier: BSL-1.0
// Several replies to one prompt, from best to worst. Bodies: read_ranked_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json_fwd.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// A ranking: {"prompt", "completions": [best, …, worst]}, or ids {"prompt_ids", "completions_ids": [[…], …]}; at least
/// two replies. With one number per reply as "scores" or "rewards" (higher is better) or "ranks" (1 is best) the
/// replies are sorted by it; equal numbers keep the order of the row. Optional: "refs" (reference log-probabilities, nats)
/// and "weight". A preference (see `parse_pair`) is a ranking of two, and one with a gold
/// reply as "reference" (or "reference_ids") a ranking of three: gold, chosen, rejected. Errors name `place`.
example parse_ranked(const json::value& value, const std::string& place, const tokenizer* words,
                     const read_options& o = {});

namespace detail {
std::vector<example> read_ranked(const std::filesystem::path& path, const tokenizer* words, const read_options& o);
}  // namespace detail

/// Reads rankings; each row as `parse_ranked` takes it.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_ranked(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  return detail::read_ranked(path, model.has_tokenizer() ? &model.tokenizer() : nullptr, o);
}
inline std::vector<example> read_ranked(const std::filesystem::path& path, const tokenizer& words,
                                        const read_options& o = {}) {
  return detail::read_ranked(path, &words, o);
}

}  // namespace plumb::inline v0
