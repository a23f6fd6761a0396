// SPDX-License-Identifier: BSL-1.0
// Merging: the adapter's change added to the weights, so that the model needs no adapter any more.
#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/llama.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/models/score_head_files.hpp>

namespace plumb::inline v0 {

namespace detail {

/// W' = W + s B A, [out, in], in new memory; W itself stays.
template <class B, class T>
tensor<B, T> merged_weight(const linear<B, T>& map, typename B::device& device) {
  tensor<B, T> out = map.weight->value.clone();
  const auto& adapter = *map.adapter;
  B::multiply(device, product::nn, static_cast<T>(adapter.scale), std::as_const(adapter.b->value).get(),
              std::as_const(adapter.a->value).get(), T(1), out.get());
  return out;
}

/// The linear maps that carry the policy's adapter, by the name of their weight. Adapters sit in the model that policies
/// share, so a later policy of the same model may have taken this one's away: errc::bad_argument.
template <class B, class T>
std::map<std::string, linear<B, T>*> adapted_maps(const policy<B, T>& p) {
  std::set<const void*> own;
  if (p.lora())
    for (const auto& [name, parameter] : p.trainable())
      if (!p.score_head() || parameter != p.score_head()->weight) own.insert(parameter.get());
  std::map<std::string, linear<B, T>*> out;
  p.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (map.adapter && own.contains(map.adapter->a.get()) && own.contains(map.adapter->b.get()))
      out.emplace(name + ".weight", &map);
  });
  if (2 * out.size() != own.size())
    throw error(errc::bad_argument, "policy",
                "its adapter is no longer on the model: another policy was made of the same model since");
  return out;
}

/// The configuration after merging. A tied head with an adapter of its own becomes a weight of its own: the embedding
/// must not change with it.
template <class Maps>
model_config merged_config(model_config config, const Maps& adapted) {
  if (adapted.contains("lm_head.weight")) config.tied_head = false;
  return config;
}

/// A model of its own beside `model`, with its tokenizer: `value(name, shape)` makes the tensor of each weight.
template <class B, class T, class Value>
language_model<B, T> remade(const language_model<B, T>& model, const model_config& config, Value&& value) {
  const auto make = [&](const std::string& name, shape extent) {
    auto out = std::make_shared<weight_tensor<B, T>>();
    out->value = value(name, extent);
    return out;
  };
  auto net = make_network<B, T>(model.device(), config, model.network().sizes().positions, make);
  auto words = model.has_tokenizer() ? std::optional(model.tokenizer()) : std::nullopt;
  return {model.device(), std::move(net), std::move(words), config, model.source()};
}

}  // namespace detail

/// The policy as a model of its own, without adapters: W' = W + s B A in every adapted map, all else copied.
///
/// The policy and its model stay as they are. When the head has an adapter and is tied to the embedding, the new model's
/// head is a separate weight (`config().tied_head` is false).
template <class B, class T>
language_model<B, T> merge_adapter(const policy<B, T>& p) {
  const auto& model = p.model();
  const auto adapted = detail::adapted_maps(p);
  std::map<std::string, const weight_tensor<B, T>*> weights;
  p.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) { weights.emplace(name, w.get()); });
  const model_config config = detail::merged_config(model.config(), adapted);
  return detail::remade(model, config, [&](const std::string& name, shape) {
    const auto at = adapted.find(name);
    return at != adapted.end() ? detail::merged_weight(*at->second, *model.device()) : weights.at(name)->value.clone();
  });
}

/// Writes the policy as a Hugging Face folder that needs no adapter: model.safetensors (fp32 or fp64), the tokenizer,
/// then config.json. Each file is whole or not at all; one merged weight at a time is in the device's memory.
///
/// With a score head the folder is transformers' …ForSequenceClassification with one label; `load_score_head` reads it back.
/// A tied head with an adapter is written as `lm_head.weight` with "tie_word_embeddings": false.
/// Errors: errc::not_finite, errc::io.
template <class B, class T>
void save_merged(const policy<B, T>& p, const std::filesystem::path& folder) {
  const auto& model = p.model();
  const auto adapted = detail::adapted_maps(p);
  std::vector<std::vector<T>> numbers;
  std::vector<tensor_data> tensors;
  const auto check_finite = [&](const std::string& name) {
    for (const T x : numbers.back())
      if (!std::isfinite(x))
        throw error(errc::not_finite, name, "the weight holds NaN or infinite numbers; training diverged");
  };
  std::set<const void*> seen;
  p.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    const auto at = adapted.find(name);
    if (at == adapted.end() && !seen.insert(w.get()).second) return;  // a tied head is stored once
    const auto extent = w->value.extent();
    numbers.push_back(detail::as_stored(
        model.config(), name, extent,
        at == adapted.end() ? w->value.host() : detail::merged_weight(*at->second, *model.device()).host()));
    check_finite(name);
    tensors.push_back(as_tensor(detail::written_name(model.config(), name),
                                detail::stored_shape(model.config(), name, extent),
                                std::span<const T>(numbers.back())));
  });
  const bool scores = p.score_head() && !p.score_head()->critic;  // a critic is no part of the language model
  if (scores) {
    const auto& head = p.score_head()->weight->value;
    numbers.push_back(head.host());
    check_finite(score_name);
    tensors.push_back(as_tensor(score_name, {1, head.extent().columns}, std::span<const T>(numbers.back())));
  }
  model_config config = detail::merged_config(model.config(), adapted);
  config.dtype = sizeof(T) == 8 ? "float64" : "float32";
  make_folder(folder);
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  if (model.has_tokenizer()) model.tokenizer().save(folder);
  write_config(config, folder);
  if (scores) detail::mark_as_classifier(folder);
}

}  // namespace plumb::inline v0
