// SPDX-License-Identifier: BSL-1.0
// Score heads in model folders: transformers' …ForSequenceClassification with one label.
// Bodies: score_head_files_impl.hpp.
#pragma once

#include <filesystem>

#include <plumb/models/score_head.hpp>

namespace plumb::inline v0 {

/// Does a model folder hold a score head beside its weights? False for what is no folder.
bool holds_score_head(const std::filesystem::path& folder);

/// Puts the score head of a model folder on a policy, in place of an earlier one. Errors: errc::bad_model when the folder
/// has none or one of another shape (several labels), errc::not_finite, and those of reading files.
template <class B, class T>
void load_score_head(policy<B, T>& p, const std::filesystem::path& folder) {
  if (!holds_score_head(folder))
    throw error(errc::bad_model, folder.string(), "there is no score head (score.weight); attach_score_head makes one");
  const auto files = weight_files::open(folder);
  const model_config& config = p.model().config();
  const std::string name = score_module(config);
  const auto read = [&](const char* part, shape extent) {
    return std::move(detail::read_weight<B, T>(p.model().device(), files, config, name + part, extent)->value);
  };
  auto weight = read(".weight", {1, p.network().sizes().width});
  detail::put_score_head(p, std::move(weight), config.encodes() ? read(".bias", {1, 1}) : tensor<B, T>());
}

namespace detail {
/// Makes config.json say that the folder is a classifier with one label: LlamaForCausalLM → LlamaForSequenceClassification.
void mark_as_classifier(const std::filesystem::path& folder);
}  // namespace detail

}  // namespace plumb::inline v0
