// SPDX-License-Identifier: BSL-1.0
// Merging: the adapter's change added to the weights, so that the model needs no adapter any more.
#pragma once

#include <algorithm>
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

/// [first; second], rows below rows of the same width.
template <class T>
std::vector<T> stacked(std::vector<T> first, const std::vector<T>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}
/// [first, −second] with `rows` rows each.
template <class T>
std::vector<T> side_by_side(const std::vector<T>& first, const std::vector<T>& second, index_t rows) {
  std::vector<T> out;
  out.reserve(first.size() + second.size());
  const auto width = [&](const auto& m) { return static_cast<std::ptrdiff_t>(m.size()) / std::max<index_t>(1, rows); };
  for (index_t i = 0; i < rows; ++i) {
    out.insert(out.end(), first.begin() + i * width(first), first.begin() + (i + 1) * width(first));
    for (auto at = second.begin() + i * width(second); at != second.begin() + (i + 1) * width(second); ++at)
      out.push_back(-*at);
  }
  return out;
}

/// What an adapter makes of one weight: a low-rank change (of a map or a table), a copy, or rows of a few tokens; one of
/// them is set.
template <class B, class T>
struct changed_weight {
  const lora<B, T>* low_rank = nullptr;
  const weight_tensor<B, T>* copy = nullptr;
  const token_rows<B, T>* tokens = nullptr;
  const embedding_lora<B, T>* table = nullptr;  ///< a low-rank change of a table of tokens
  friend bool operator==(const changed_weight&, const changed_weight&) = default;
};

/// W' = W + s B A − s B₀ A₀, with a magnitude its rows scaled to the length m; [out, in] in new memory. W itself stays.
template <class B, class T>
tensor<B, T> low_rank_merged(const weight_tensor<B, T>& weight, const lora<B, T>& adapter) {
  tensor<B, T> out = weight.plain();
  auto& device = *out.device();
  const auto add = [&](double factor, const weight_ptr<B, T>& b, const weight_ptr<B, T>& a) {
    B::multiply(device, product::nn, static_cast<T>(factor), std::as_const(b->value).get(),
                std::as_const(a->value).get(), T(1), out.get());
  };
  if (adapter.first_a) add(-adapter.scale, adapter.first_b, adapter.first_a);
  add(adapter.scale, adapter.b, adapter.a);
  if (!adapter.magnitude) return out;
  auto numbers = out.host();
  const auto magnitude = adapter.magnitude->value.host();
  const auto width = static_cast<std::size_t>(out.extent().columns);
  for (std::size_t j = 0; j < magnitude.size(); ++j) {
    const std::span<T> row(numbers.data() + j * width, width);
    double square = 0;
    for (const T x : row) square += static_cast<double>(x) * static_cast<double>(x);
    const double factor = square > 0 ? static_cast<double>(magnitude[j]) / std::sqrt(square) : 0;
    for (T& x : row) x = static_cast<T>(static_cast<double>(x) * factor);
  }
  out.assign(numbers);
  return out;
}

/// The weight as the policy computes with it, in new memory.
template <class B, class T>
tensor<B, T> merged_weight(const weight_tensor<B, T>& weight, const changed_weight<B, T>& change) {
  if (change.low_rank) return low_rank_merged(weight, *change.low_rank);
  if (change.copy) return change.copy->value.clone();
  if (change.table) {
    tensor<B, T> out = weight.plain();
    B::multiply(*out.device(), product::nt, static_cast<T>(change.table->scale),
                std::as_const(change.table->a->value).get(), std::as_const(change.table->b->value).get(), T(1),
                out.get());
    return out;
  }
  auto numbers = weight.host();
  const auto rows = change.tokens->rows->value.host();
  const auto tokens = change.tokens->tokens.host();
  const auto width = static_cast<std::size_t>(weight.extent().columns);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                numbers.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(tokens[i]) * width));
  return tensor<B, T>(change.tokens->rows->value.device(), weight.extent(), std::span<const T>(numbers));
}

template <class B, class T>
using weight_changes = std::map<std::string, changed_weight<B, T>>;

/// What sits on a model, by the names of the weights that it changes.
template <class B, class T>
weight_changes<B, T> changes_on(network<B, T>& net) {
  weight_changes<B, T> out;
  std::set<std::string> tables;
  net.for_each_table([&](const std::string& name, embedding<B, T>& table) {
    tables.insert(name + ".weight");
    if (table.stand_in)
      out[name + ".weight"].copy = table.stand_in.get();
    else if (table.learnt)
      out[name + ".weight"].tokens = table.learnt.get();
    else if (table.low_rank)
      out[name + ".weight"].table = table.low_rank.get();
  });
  net.for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (w->stand_in && !tables.contains(name)) out[name].copy = w->stand_in.get();
  });
  net.for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (map.adapter)
      out[name + ".weight"].low_rank = &*map.adapter;
    else if (map.learnt)
      out[name + ".weight"].tokens = map.learnt.get();
  });
  return out;
}

/// The weights that the policy's adapter changes, by name. Adapters sit in the model that policies share, so a later policy
/// of the same model may have taken this one's away: errc::bad_argument.
template <class B, class T>
weight_changes<B, T> changed_weights(const policy<B, T>& p) {
  if (p.prompt())
    throw error(errc::unsupported, "policy",
                "virtual tokens are no change of a weight: they cannot be merged; keep the adapter beside the model");
  if (!p.lora()) return {};
  auto out = changes_on(p.network());
  std::set<const void*> there;
  for (const auto& [name, change] : out) {
    if (change.copy) there.insert(change.copy);
    if (change.tokens) there.insert(change.tokens->rows.get());
    if (change.table) there.insert(change.table->a.get()), there.insert(change.table->b.get());
    if (!change.low_rank) continue;
    for (const auto* each : {&change.low_rank->a, &change.low_rank->b, &change.low_rank->magnitude})
      if (*each) there.insert(each->get());
  }
  std::size_t own = 0;
  bool missing = false;
  for (const auto& [name, parameter] : p.trainable()) {
    if (p.score_head() && (parameter == p.score_head()->weight || parameter == p.score_head()->bias)) continue;
    ++own;
    missing = missing || !there.contains(parameter.get());
  }
  if (missing || own != there.size())
    throw error(errc::bad_argument, "policy",
                "its adapter is no longer on the model: another policy was made of the same model since");
  return out;
}

/// The configuration after merging. A tied head that changes otherwise than its embedding becomes a weight of its own:
/// neither must change with the other.
template <class B, class T, class Change>
model_config merged_config(const language_model<B, T>& model, const std::map<std::string, Change>& changes) {
  model_config config = model.config();
  if (!config.tied_head) return config;
  auto table = changes.end();
  model.network().for_each_table(
      [&](const std::string& name, embedding<B, T>&) { table = changes.find(name + ".weight"); });
  const auto head = changes.find("lm_head.weight");
  const bool both = head != changes.end() && table != changes.end();
  config.tied_head = both ? head->second == table->second : head == changes.end() && table == changes.end();
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

/// The policy as a model of its own, without adapters: W' = W + s B A in every adapted map (with DoRA, its rows scaled to
/// the magnitudes), copies and tokens in their places, all else copied.
///
/// The policy and its model stay as they are. When the head is tied to the embedding and one of them changes alone, the
/// new model's head is a separate weight (`config().tied_head` is false).
template <class B, class T>
language_model<B, T> merge_adapter(const policy<B, T>& p) {
  const auto& model = p.model();
  const auto changes = detail::changed_weights(p);
  std::map<std::string, const weight_tensor<B, T>*> weights;
  p.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) { weights.emplace(name, w.get()); });
  const model_config config = detail::merged_config(model, changes);
  return detail::remade(model, config, [&](const std::string& name, shape) {
    const auto at = changes.find(name);
    const auto& own = *weights.at(name);
    return at != changes.end() ? detail::merged_weight(own, at->second) : own.plain();
  });
}

/// Writes the policy as a Hugging Face folder that needs no adapter: model.safetensors (fp32 or fp64), the tokenizer,
/// then config.json. Each file is whole or not at all; one merged weight at a time is in the device's memory.
///
/// With a score head the folder is transformers' …ForSequenceClassification with one label; `load_score_head` reads it back.
/// A tied head that changes alone is written as `lm_head.weight` with "tie_word_embeddings": false.
/// Errors: errc::not_finite, errc::io.
template <class B, class T>
void save_merged(const policy<B, T>& p, const std::filesystem::path& folder) {
  const auto& model = p.model();
  const auto changes = detail::changed_weights(p);
  model_config config = detail::merged_config(model, changes);
  detail::stored_tensors<T> tensors(model.config(), detail::dtype_of<T>);
  const auto finite = [](const std::string& name, std::vector<T> numbers) {
    detail::check_written(name, std::span<const T>(numbers), "the weight");
    return numbers;
  };
  p.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (config.tied_head && name == "lm_head.weight") return;  // stored once, as the embedding
    const auto at = changes.find(name);
    tensors.add(name, w->extent(),
                finite(name, at == changes.end() ? w->host() : detail::merged_weight(*w, at->second).host()));
  });
  const bool scores = p.score_head() && !p.score_head()->critic;  // a critic is no part of the language model
  if (scores) {
    const auto& head = *p.score_head();
    const std::string weight = head.name + ".weight", bias = head.name + ".bias";
    tensors.put(weight, {1, head.weight->value.extent().columns}, finite(weight, head.weight->value.host()));
    if (head.bias) tensors.put(bias, {1}, finite(bias, head.bias->value.host()));
  }
  config.dtype = sizeof(T) == 8 ? "float64" : "float32";
  make_folder(folder);
  write_safetensors(folder / "model.safetensors", tensors.list(), {{"format", "pt"}});
  if (model.has_tokenizer()) model.tokenizer().save(folder);
  write_config(config, folder);
  if (scores) detail::mark_as_classifier(folder);
}

}  // namespace plumb::inline v0
