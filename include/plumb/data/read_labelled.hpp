// SPDX-License-Identifier: BSL-1.0
// Rows for heads that say a number: replies with a rating, and solutions with a label after each step.
// Bodies: read_labelled_impl.hpp.
#pragma once

#include <optional>

#include <plumb/data/read.hpp>
#include <plumb/data/row.hpp>

namespace plumb::inline v0 {

/// How solutions in steps become tokens.
struct step_options {
  std::string separator = "\n";  ///< ends each step, the last one too; its last token carries the label
  bool last_step_only = false;   ///< the other steps' labels are left out
};

/// A reply with a rating: {"prompt", "completion", "rating": x} with the keys that `parse_demonstration` takes for prompt and
/// reply; "target" is another name of "rating". A rating of null is none: nothing is returned. Errors name `place`.
std::optional<example> parse_rated(const json::value& value, const std::string& place, const tokenizer* words,
                                   const read_options& o = {});

/// A solution in steps: {"prompt", "completions": [step, …], "labels": [true, false, …]}, or ids {"prompt_ids",
/// "completions_ids": [[…], …], "labels"}, which get no separator. Labels may be null (none) or probabilities.
///
/// Each label lies on the last token of its step, separator included, which has seen the whole step; where a token spans
/// the end of a step, on that one. Nothing is appended. Errors name `place`.
example parse_steps(const json::value& value, const std::string& place, const tokenizer* words,
                    const step_options& steps = {});

/// Reads replies with ratings; those without are left out. Errors name file and line.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_rated(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  const tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  std::vector<example> out;
  json::for_each_row(path, [&](json::value&& value, const std::string& place) {
    if (auto e = parse_rated(value, place, words, o)) out.push_back(*std::move(e));
    return o.limit <= 0 || static_cast<index_t>(out.size()) < o.limit;
  });
  if (out.empty()) throw error(errc::bad_data, path.string(), "the file has no rated replies");
  return out;
}

/// Reads solutions in steps; each row as `parse_steps` takes it. Errors name file and line.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_steps(const std::filesystem::path& path, const Model& model, const step_options& steps = {}) {
  const tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  return detail::read_rows(path, {}, [&](const json::value& value, const std::string& place) {
    return parse_steps(value, place, words, steps);
  });
}

}  // namespace plumb::inline v0
