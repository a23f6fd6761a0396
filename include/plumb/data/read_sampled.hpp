// SPDX-License-Identifier: BSL-1.0
// Replies that a policy sampled, with what is known of each token: rows of PPO, GRPO and their kin.
// Bodies: read_sampled_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json_fwd.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// A demonstration (see `parse_demonstration`) with, each optional, lists of one number per token of the reply: "old"
/// (log-probability when the token was sampled, nats; without it the policy counts as the sampler), "ref"
/// (log-probability under the reference, nats; without it the reference scores it), "advantage" (or one number for the
/// whole reply), "return" (what the value head regresses on), "old_value" or "value" (what it said when the token was
/// sampled; without it, what it says now); and "teacher_ids" with "teacher_logp", a list of words and of their
/// log-probabilities per token (`give_teacher_words`). The end token that is added to text counts, too; ids are taken as they are. Errors name `place`.
example parse_sampled(const json::value& value, const std::string& place, const tokenizer* words,
                      const read_options& o = {});

namespace detail {
std::vector<example> read_sampled(const std::filesystem::path& path, const tokenizer* words, const read_options& o);
}  // namespace detail

/// Reads sampled replies; each row as `parse_sampled` takes it.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_sampled(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  return detail::read_sampled(path, model.has_tokenizer() ? &model.tokenizer() : nullptr, o);
}
inline std::vector<example> read_sampled(const std::filesystem::path& path, const tokenizer& words,
                                         const read_options& o = {}) {
  return detail::read_sampled(path, &words, o);
}

}  // namespace plumb::inline v0
