// SPDX-License-Identifier: BSL-1.0
// Trees of messages, as Open Assistant publishes them: at each turn several replies, ranked by people.
// Bodies: read_trees_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json_lines.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Is the row a tree, {"message_tree_id", "prompt": {"text", "role": "prompter", "replies": [..]}}?
bool is_tree(const json::value& row);

/// The turns of a tree: for every message of the prompter that has replies, the conversation up to it as prompt, and its
/// replies, those with a "rank" first, the best (0) before all. So every reply of the tree comes once, and replies to the
/// same message share their prompt. Messages that are deleted, or that reviewers refused ("review_result": false), are
/// left out with all below them.
///
/// `ranked`: only replies that people ranked, and only where there are two; for preferences and rankings. Köpf et al.
/// 2023, arXiv:2304.07327. The chat template writes the conversation. Errors name `place`.
std::vector<example> parse_tree(const json::value& value, const std::string& place, const tokenizer* words,
                                const read_options& o = {}, bool ranked = false);

/// Reads trees, one a row, as `parse_tree` takes them. Errors name file and line.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_trees(const std::filesystem::path& path, const Model& model, const read_options& o = {},
                                bool ranked = false) {
  std::vector<example> out;
  json::for_each_row(path, [&](const json::value& value, const std::string& place) {
    for (example& e : parse_tree(value, place, model.has_tokenizer() ? &model.tokenizer() : nullptr, o, ranked))
      out.push_back(std::move(e));
  });
  return out;
}

/// All preferences that a ranking says: K (K − 1) / 2 pairs, each better reply against each worse one, as in Ouyang et al.
/// 2022, arXiv:2203.02155, section 3.5. They share their prompt, one after the other.
std::vector<example> pairs_of(const example& ranking);

}  // namespace plumb::inline v0
