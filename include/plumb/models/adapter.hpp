// SPDX-License-Identifier: BSL-1.0
// Adapter folders that PEFT reads and writes: saving the adapter of a policy, and making a policy from a saved one.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
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
#include <plumb/models/policy.hpp>

namespace plumb::inline v0 {

namespace detail {

/// What PEFT puts before the name of a module in adapter_model.safetensors.
inline constexpr std::string_view peft_prefix = "base_model.model.";

/// A list of tensors for a message, cut after a few.
inline std::string some_of(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < 6; ++i) out += join(i ? ", " : "", names[i]);
  return names.size() > 6 ? join(out, " and ", names.size() - 6, " more") : out;
}

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
inline void check_adapter_tensor(const weight_files& files, const std::string& key, shape extent) {
  const tensor_info& info = files.info(key);
  if (const std::vector<index_t> expected{extent.rows, extent.columns}; info.shape != expected)
    throw error(errc::bad_model, key,
                join("expected shape ", describe_shape(expected), ", found ", describe_shape(info.shape),
                     "; the adapter belongs to another model, or its rank to another file"));
  const auto type = info.type;
  if (type != dtype::f32 && type != dtype::f64 && type != dtype::f16 && type != dtype::bf16)
    throw error(errc::unsupported, key, join("adapters are read as F32, F64, F16 or BF16, found ", name(type)));
}

template <class T>
std::vector<T> read_finite(const weight_files& files, const std::string& key) {
  std::vector<T> host(static_cast<std::size_t>(files.info(key).elements));
  files.read(key, std::span<T>(host));
  for (std::size_t i = 0; i < host.size(); ++i)
    if (!std::isfinite(host[i]))
      throw error(errc::not_finite, key,
                  join("number ", i, " of the file is NaN or infinite; the file is damaged or training diverged"));
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
    const auto extent = w->value.extent();
    const auto& sizes = files.shape(key);
    const bool fits =
        sizes == std::vector{extent.rows, extent.columns} || (extent.rows == 1 && sizes == std::vector{extent.columns});
    std::vector<T> stored(fits ? static_cast<std::size_t>(extent.size()) : 0);
    if (fits) files.read(key, std::span<T>(stored));
    if (!fits || stored != w->value.host())
      throw error(errc::unsupported, key,
                  "the adapter brings a base weight that is not the model's (a resized vocabulary, or another "
                  "base model); merge it in Python, or load the model that it was trained on");
  });
  return found;
}

}  // namespace detail

/// Writes the adapter as a PEFT folder: adapter_model.safetensors, then adapter_config.json, each whole or not at all.
///
/// Everything is checked before the first byte is written. Errors: errc::bad_argument for a policy without an adapter,
/// errc::not_finite for a weight that is NaN or infinite, errc::io.
template <class B, class T>
void save_adapter(const policy<B, T>& p, const std::filesystem::path& folder) {
  if (!p.lora())
    throw error(errc::bad_argument, folder.string(),
                "the policy trains the model's own weights; write them with save_model");
  const auto& model = p.model();
  const std::string config = adapter_config_text({*p.lora(), model.source()}, detail::target_names(model, *p.lora()));
  std::vector<std::vector<T>> numbers;
  std::vector<tensor_data> tensors;
  for (const auto& [name, parameter] : p.trainable()) {
    numbers.push_back(parameter->value.host());
    for (const T x : numbers.back())
      if (!std::isfinite(x))
        throw error(errc::not_finite, name, "the adapter holds NaN or infinite numbers; training diverged");
    const auto extent = parameter->value.extent();
    tensors.push_back(
        as_tensor(join(detail::peft_prefix, name), {extent.rows, extent.columns}, std::span<const T>(numbers.back())));
  }
  detail::make_folder(folder);
  write_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "adapter_config.json", [&](writer& out) { out.write(config); });
}

/// Puts a saved adapter on a model; the policy can be trained further, merged, or saved again with the same options.
///
/// Reads PEFT folders: lists and regular expressions of targets, exclusions, layers, ranks and alphas of single modules,
/// rank-stabilised scaling. The tensors must be exactly those that the configuration asks for: what is missing or
/// unexpected is an error that lists them (errc::bad_model). Errors also: errc::not_found, bad_file, unsupported,
/// not_finite. On an error the model stays as it was; on success earlier adapters of the model are gone.
template <class B, class T>
policy<B, T> load_adapter(const language_model<B, T>& model, const std::filesystem::path& folder) {
  const adapter_config config = read_adapter_config(folder);
  const auto files = weight_files::open(folder, "adapter_model");
  const detail::lora_plan plan(config.lora);

  struct planned {
    linear<B, T>* map;
    std::string name, a, b;
  };
  std::vector<planned> plans;
  std::set<std::string> expected;
  std::vector<std::string> absent, unexpected;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (!plan.takes(name)) return;
    plans.push_back({&map, name, join(detail::peft_prefix, name, ".lora_A.weight"),
                     join(detail::peft_prefix, name, ".lora_B.weight")});
    for (const std::string* key : {&plans.back().a, &plans.back().b}) {
      expected.insert(*key);
      if (!files.contains(*key)) absent.push_back(*key);
    }
  });
  if (plans.empty())
    throw error(errc::bad_model, folder.string(),
                join("\"target_modules\" matches no linear map of the model; it has: ", detail::linear_kinds(model)));
  for (const std::string& key : files.names())
    if (!expected.contains(key) && !detail::is_base_copy(model, files, key)) unexpected.push_back(key);
  if (!absent.empty() || !unexpected.empty())
    throw error(errc::bad_model, folder.string(),
                join("the tensors are not those that adapter_config.json asks for",
                     absent.empty() ? "" : join("; missing: ", detail::some_of(absent)),
                     unexpected.empty() ? "" : join("; unexpected: ", detail::some_of(unexpected)),
                     "; is it an adapter of this model?"));
  for (const auto& [map, name, a, b] : plans) {
    detail::check_adapter_tensor(files, a, {plan.rank(name), map->inputs()});
    detail::check_adapter_tensor(files, b, {map->outputs(), plan.rank(name)});
  }

  std::vector<std::pair<tensor<B, T>, tensor<B, T>>> values;  // all of them, before the model is touched
  for (const auto& [map, name, a, b] : plans) {
    const auto read = [&](const std::string& key, shape extent) {
      return tensor<B, T>(model.device(), extent, std::span<const T>(detail::read_finite<T>(files, key)));
    };
    values.emplace_back(read(a, {plan.rank(name), map->inputs()}), read(b, {map->outputs(), plan.rank(name)}));
  }
  detail::bare(model);
  std::vector<named_parameter<B, T>> trainable;
  for (std::size_t i = 0; i < plans.size(); ++i)
    detail::put_adapter(*plans[i].map, plans[i].name, plan, std::move(values[i].first), std::move(values[i].second),
                        trainable);
  return {model, std::move(trainable), plan.options()};
}

/// An adapter in a few facts, as `plumb info --adapter` shows them; empty for a policy without an adapter.
template <class B, class T>
json::object describe_adapter(const policy<B, T>& p) {
  json::object out;
  if (!p.lora()) return out;
  const lora_options& o = *p.lora();
  index_t modules = 0, least = o.rank, most = o.rank;
  p.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
    if (!map.adapter) return;
    const index_t rank = map.adapter->rank();
    least = modules == 0 ? rank : std::min(least, rank);
    most = modules == 0 ? rank : std::max(most, rank);
    ++modules;
  });
  out["peft_type"] = "LORA";
  out["r"] = o.rank;
  if (least != o.rank || most != o.rank) out["r_range"] = json::array{least, most};
  out["lora_alpha"] = o.alpha;
  out["lora_dropout"] = o.dropout;
  out["use_rslora"] = o.rank_stabilised;
  if (!o.pattern.empty()) {
    out["target_modules"] = o.pattern;
  } else {
    json::array names;
    for (const std::string& name : detail::target_names(p.model(), o)) names.emplace_back(name);
    out["target_modules"] = std::move(names);
  }
  out["modules"] = modules;
  out["trainable_parameters"] = p.trainable_count();
  out["trainable_share"] =
      static_cast<double>(p.trainable_count()) / static_cast<double>(std::max<index_t>(1, p.model().parameter_count()));
  out["bytes"] = p.trainable_count() * static_cast<index_t>(sizeof(T));
  return out;
}

}  // namespace plumb::inline v0
