// SPDX-License-Identifier: BSL-1.0
// Adapter folders that PEFT reads and writes: saving the adapter of a policy, and making a policy from a saved one.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/io/safetensors_write.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/adapter_config.hpp>
#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/attach_lora.hpp>
#include <plumb/models/attach_prompt.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/models/score_head.hpp>

namespace plumb::inline v0 {

namespace detail {

/// What PEFT puts before the name of a module in adapter_model.safetensors.
inline constexpr std::string_view peft_prefix = "base_model.model.";
/// Where the critic of a policy lies in its adapter's folder.
inline constexpr const char* value_head_file = "value_head.safetensors";

/// A list of tensors for a message, cut after a few.
std::string some_of(const std::vector<std::string>& names);

/// Target names with "all-linear" written out by kind: a list is understood by every reader of adapters.
template <class B, class T>
std::vector<std::string> target_names(const language_model<B, T>& model, const lora_options& o) {
  std::set<std::string> names;
  for (const std::string& target : o.targets) {
    if (target != "all-linear")
      names.insert(target);
    else
      model.network().for_each_linear([&](const std::string& name, linear<B, T>&) {
        if (name != "lm_head") names.insert(name.substr(name.rfind('.') + 1));
      });
  }
  return {names.begin(), names.end()};
}

/// Checks that an adapter's tensor has the shape and a format that can be read; nothing is allocated yet.
void check_adapter_tensor(const weight_files& files, const std::string& key, const std::vector<index_t>& expected);

template <class T>
std::vector<T> read_finite(const weight_files& files, const std::string& key) {
  std::vector<T> host(static_cast<std::size_t>(files.info(key).elements));
  files.read(key, std::span<T>(host));
  check_read(key, std::span<const T>(host));
  return host;
}

/// PEFT stores a frozen weight beside an adapter of the head. It may stay when it is the model's own; else refuse.
template <class B, class T>
bool is_base_copy(const language_model<B, T>& model, const weight_files& files, const std::string& key) {
  if (!key.starts_with(peft_prefix)) return false;
  std::string base_name = key.substr(peft_prefix.size());
  if (const auto at = base_name.find(".base_layer."); at != std::string::npos)
    base_name.erase(at, std::string_view(".base_layer").size());
  bool found = false;
  model.network().for_each_weight([&](const std::string& weight, weight_ptr<B, T>& w) {
    if (weight != base_name || found) return;
    found = true;
    const auto extent = w->extent();
    const auto& sizes = files.shape(key);
    const bool fits =
        sizes == std::vector{extent.rows, extent.columns} || (extent.rows == 1 && sizes == std::vector{extent.columns});
    std::vector<T> stored(fits ? static_cast<std::size_t>(extent.size()) : 0);
    if (fits) files.read(key, std::span<T>(stored));
    if (!fits || stored != w->host())
      throw error(errc::unsupported, key,
                  "the adapter brings a base weight that is not the model's (a resized vocabulary, or another "
                  "base model); merge it in Python, or load the model that it was trained on");
  });
  return found;
}

}  // namespace detail

namespace detail {

/// What the adapter is saved as. PEFT's conversion of pissa and olora: ΔW = s B A − s B₀ A₀ = s [B, −B₀] [A; A₀], twice the
/// rank, which needs no changed base model.
lora_options saved_options(lora_options o);

/// The numbers of every tensor of the adapter as files hold them: [A; A₀] and [B, −B₀] where there are first values.
template <class B, class T>
std::vector<std::pair<tensor_data, std::vector<T>>> saved_tensors(const policy<B, T>& p) {
  std::map<const void*, const lora<B, T>*> with_first;
  p.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
    if (!map.adapter || !map.adapter->first_a) return;
    with_first.emplace(map.adapter->a.get(), &*map.adapter);
    with_first.emplace(map.adapter->b.get(), &*map.adapter);
  });
  std::vector<std::pair<tensor_data, std::vector<T>>> out;
  for (const auto& [name, parameter] : p.trainable()) {
    std::vector<T> numbers = parameter->value.host();
    shape extent = parameter->value.extent();
    if (const auto at = with_first.find(parameter.get()); at != with_first.end()) {
      const bool is_a = parameter == at->second->a;
      const auto first = (is_a ? at->second->first_a : at->second->first_b)->value.host();
      numbers = is_a ? stacked(numbers, first) : side_by_side(numbers, first, extent.rows);
      (is_a ? extent.rows : extent.columns) *= 2;
    }
    const auto& config = p.model().config();
    numbers = as_stored(config, name, extent, std::move(numbers));
    out.emplace_back(as_tensor(name, stored_shape(config, name, extent), std::span<const T>(numbers)),
                     std::move(numbers));
  }
  return out;
}

/// Files of virtual tokens: one tensor, without a prefix before its name.
template <class B, class T>
void save_prompt(const policy<B, T>& p, const std::filesystem::path& folder) {
  const auto& model = p.model();
  const model_config& c = model.config();
  const bool prefix = p.prompt()->prefix;
  const auto& rows = *p.trainable().front().parameter;
  if (!model.network().ahead() || model.network().ahead()->rows.get() != &rows)
    throw error(errc::bad_argument, "policy",
                "its virtual tokens are no longer on the model: another policy was made of the same model since");
  const std::vector<T> numbers = rows.value.host();
  check_written(prompt_name, std::span<const T>(numbers), "the adapter");
  adapter_config about;
  about.base_model = model.source();
  about.virtual_tokens = p.prompt()->count;
  about.prefix = prefix;
  const std::string config = prompt_config_text(about, prefix ? model.network().sizes().kv_width : c.hidden_size,
                                                prefix ? c.kv_heads : c.heads, c.layers);
  const shape extent = rows.value.extent();
  const std::vector<tensor_data> tensors{
      as_tensor(prompt_name, {extent.rows, extent.columns}, std::span<const T>(numbers))};
  make_folder(folder);
  write_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "adapter_config.json", [&](writer& out) { out.write(config); });
}

template <class B, class T>
policy<B, T> load_prompt(const language_model<B, T>& model, const adapter_config& config, const weight_files& files,
                         const std::filesystem::path& folder) {
  const shape extent = prompt_extent(model, config.virtual_tokens, config.prefix);
  if (files.names() != std::vector<std::string>{prompt_name})
    throw error(errc::bad_model, folder.string(),
                join("expected the one tensor ", prompt_name, ", found ", some_of(files.names())));
  check_adapter_tensor(files, prompt_name, {extent.rows, extent.columns});
  const auto host = read_finite<T>(files, prompt_name);
  return put_prompt(model, prompt_options{.count = config.virtual_tokens, .prefix = config.prefix},
                    tensor<B, T>(model.device(), extent, std::span<const T>(host)));
}

}  // namespace detail

/// Writes the adapter as a PEFT folder: adapter_model.safetensors, then adapter_config.json, each whole or not at all.
///
/// A score head goes with it ("modules_to_save": ["score"], "task_type": "SEQ_CLS"): PEFT puts both on transformers'
/// …ForSequenceClassification with num_labels=1. A critic lies apart, in value_head.safetensors, which PEFT does not read.
/// Everything is checked before the first byte is written. Errors: errc::bad_argument for a policy without an adapter,
/// errc::not_finite for a weight that is NaN or infinite, errc::io.
template <class B, class T>
void save_adapter(const policy<B, T>& p, const std::filesystem::path& folder) {
  if (p.prompt()) return detail::save_prompt(p, folder);
  if (!p.lora())
    throw error(errc::bad_argument, folder.string(),
                "the policy trains the model's own weights; write them with save_model");
  const auto& model = p.model();
  const bool critic = p.score_head() && p.score_head()->critic;
  if (p.score_head() && model.config().family == "roberta")
    throw error(errc::unsupported, folder.string(),
                "an adapter of RoBERTa with a score head: PEFT saves its whole head; train all weights instead");
  adapter_config about;
  about.lora = detail::saved_options(*p.lora());
  about.base_model = model.source();
  about.score_head = p.score_head() && !critic;
  about.classifier = model.config().encodes();
  about.inputs_first = model.config().family == "gpt2";
  const std::string config = adapter_config_text(about, detail::target_names(model, *p.lora()));
  (void)detail::changed_weights(p);
  const auto all = detail::saved_tensors(p);
  std::vector<tensor_data> tensors, values;
  for (const auto& [data, numbers] : all) {
    detail::check_written(data.name, std::span<const T>(numbers), "the adapter");
    const bool apart = critic && data.name.starts_with(p.score_head()->name + ".");
    (apart ? values : tensors).push_back(data);
    if (!apart) tensors.back().name = join(detail::peft_prefix, data.name);
  }
  make_folder(folder);
  std::error_code absent;
  if (critic)
    write_safetensors(folder / detail::value_head_file, values, {{"format", "pt"}});
  else
    std::filesystem::remove(folder / detail::value_head_file, absent);  // of an earlier adapter
  write_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "adapter_config.json", [&](writer& out) { out.write(config); });
}

/// Puts a saved adapter on a model; the policy can be trained further, merged, or saved again with the same options.
///
/// Reads PEFT folders: lists and regular expressions of targets, exclusions, layers, ranks and alphas of single modules,
/// rank-stabilised scaling, DoRA, modules saved whole, biases, trained tokens; pissa and olora as PEFT does, by computing
/// their first values again. The tensors must be exactly those that the configuration asks for: what is missing or
/// unexpected is an error that lists them (errc::bad_model). Errors also: errc::not_found, bad_file, unsupported,
/// not_finite. On an error the model stays as it was; on success earlier adapters of the model are gone.
template <class B, class T>
policy<B, T> load_adapter(const language_model<B, T>& model, const std::filesystem::path& folder) {
  const adapter_config config = read_adapter_config(folder);
  const auto files = weight_files::open(folder, "adapter_model");
  if (config.virtual_tokens > 0) return detail::load_prompt(model, config, files, folder);
  const detail::lora_plan plan(config.lora);

  detail::adapter_places<B, T> places;
  try {
    places = detail::find_places(model, plan);
  } catch (const error& e) {  // what the file asks for is not in the model
    throw error(e.code() == errc::bad_argument ? errc::bad_model : e.code(), folder.string(), e.what());
  }
  std::set<std::string> expected;
  std::vector<std::string> absent, unexpected;
  const auto expect = [&](const std::string& key) {
    expected.insert(key);
    if (!files.contains(key)) absent.push_back(key);
  };
  places.for_each_tensor(plan, [&](const std::string& name, shape) { expect(join(detail::peft_prefix, name)); });
  const bool biased = model.config().encodes();
  const std::string score_name = score_module(model.config()) + ".weight",
                    bias_name = score_module(model.config()) + ".bias";
  const std::string score_key = join(detail::peft_prefix, score_name), bias_key = join(detail::peft_prefix, bias_name);
  if (config.score_head) expect(score_key);
  if (config.score_head && biased) expect(bias_key);
  for (const std::string& key : files.names())
    if (!expected.contains(key) && !detail::is_base_copy(model, files, key)) unexpected.push_back(key);
  if (!absent.empty() || !unexpected.empty())
    throw error(errc::bad_model, folder.string(),
                join("the tensors are not those that adapter_config.json asks for",
                     absent.empty() ? "" : join("; missing: ", detail::some_of(absent)),
                     unexpected.empty() ? "" : join("; unexpected: ", detail::some_of(unexpected)),
                     "; is it an adapter of this model?"));
  const auto stored = [&](const std::string& name, shape extent) {
    return detail::stored_shape(model.config(), name, extent);
  };
  places.for_each_tensor(plan, [&](const std::string& name, shape extent) {
    detail::check_adapter_tensor(files, join(detail::peft_prefix, name), stored(name, extent));
  });
  const shape score_extent{1, model.network().sizes().width};
  std::optional<weight_files> critic;
  if (std::filesystem::exists(folder / detail::value_head_file)) critic = weight_files::open(folder, "value_head");
  if (critic && config.score_head)
    throw error(errc::bad_model, folder.string(),
                "expected one score head, found that of a reward model and value_head.safetensors; delete the latter");
  if (critic && !critic->contains(score_name))
    throw error(errc::bad_model, (folder / detail::value_head_file).string(), "the file lacks score.weight");
  if (config.score_head) detail::check_adapter_tensor(files, score_key, stored(score_name, score_extent));
  if (config.score_head && biased) detail::check_adapter_tensor(files, bias_key, stored(bias_name, {1, 1}));
  if (critic) detail::check_adapter_tensor(*critic, score_name, stored(score_name, score_extent));

  detail::adapter_tensors<B, T> values;  // all of them, before the model is touched
  places.for_each_tensor(plan, [&](const std::string& name, shape extent) {
    auto host = detail::read_finite<T>(files, join(detail::peft_prefix, name));
    if (lies_transposed(model.config(), name))
      host = detail::transposed(std::span<const T>(host), extent.columns, extent.rows);
    values.emplace(name, tensor<B, T>(model.device(), extent, std::span<const T>(host)));
  });
  std::vector<lora_factors> first;
  for (std::size_t i = 0; starts_from_weight(plan.options().init) && i < places.maps.size(); ++i)
    first.push_back(detail::first_factors(places.maps[i], plan, i));
  tensor<B, T> score, bias;
  if (config.score_head || critic) {
    const auto host = critic ? detail::read_finite<T>(*critic, score_name) : detail::read_finite<T>(files, score_key);
    score = tensor<B, T>(model.device(), score_extent, std::span<const T>(host));
    const auto one = biased && config.score_head ? detail::read_finite<T>(files, bias_key) : std::vector<T>();
    if (!one.empty()) bias = tensor<B, T>(model.device(), {1, 1}, std::span<const T>(one));
  }
  auto out = detail::put_adapter(model, plan, places, first, std::move(values));
  if (config.score_head || critic) detail::put_score_head(out, std::move(score), std::move(bias), critic.has_value());
  return out;
}

}  // namespace plumb::inline v0
