// SPDX-License-Identifier: BSL-1.0
// Where in a network an adapter sits: the maps it changes, the weights it brings copies of, the tokens it teaches.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/adapter_init.hpp>
#include <plumb/models/adapter_options.hpp>
#include <plumb/models/language_model.hpp>

namespace plumb::inline v0::detail {

/// A linear map with a low-rank change.
template <class B, class T>
struct adapted_map {
  std::string name;  ///< of the module
  linear<B, T>* map = nullptr;
};
/// A table of tokens with a low-rank change.
template <class B, class T>
struct adapted_table {
  std::string name;  ///< of the module
  embedding<B, T>* table = nullptr;
};
/// A weight that is trained as a copy.
template <class B, class T>
struct copied_weight {
  std::string name;    ///< as PEFT stores it: "model.layers.0.self_attn.q_proj.base_layer.bias"
  std::string weight;  ///< as the network calls it: "model.layers.0.self_attn.q_proj.bias"
  weight_ptr<B, T> own;
  embedding<B, T>* table = nullptr;  ///< when it is one
};

template <class B, class T>
struct adapter_places {
  std::vector<adapted_map<B, T>> maps;
  std::vector<adapted_table<B, T>> tables;
  std::vector<copied_weight<B, T>> copies;
  embedding<B, T>* table = nullptr;   ///< with trainable tokens
  linear<B, T>* tied_head = nullptr;  ///< that scores with the same tokens' rows
  std::string tokens_name;            ///< as PEFT stores their rows

  /// Calls visit(name without PEFT's prefix, shape) for every tensor that the adapter stores.
  template <class Visit>
  void for_each_tensor(const lora_plan& plan, Visit&& visit) const {
    for (const auto& [name, map] : maps) {
      const index_t rank = plan.rank(name);
      visit(name + ".lora_A.weight", shape{rank, map->inputs()});
      visit(name + ".lora_B.weight", shape{map->outputs(), rank});
      if (plan.options().dora) visit(name + ".lora_magnitude_vector", shape{1, map->outputs()});
    }
    for (const auto& [name, looked_up] : tables) {
      const shape extent = looked_up->weight->extent();
      visit(name + ".lora_embedding_A", shape{extent.rows, plan.rank(name)});
      visit(name + ".lora_embedding_B", shape{extent.columns, plan.rank(name)});
    }
    for (const auto& each : copies) visit(each.name, each.own->extent());
    if (table)
      visit(tokens_name,
            shape{static_cast<index_t>(plan.options().trainable_tokens.size()), table->weight->extent().columns});
  }
};

/// Calls visit(name, map) for every linear map that may have an adapter. Maps that files hold with others in one tensor may
/// not: to PEFT they are no modules, so that nobody else could read their adapters.
template <class B, class T, class Visit>
void for_each_adaptable(const language_model<B, T>& model, Visit&& visit) {
  const auto stacks = hub_stacks(model.config());
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (!find_in_stack(model.config(), stacks, name + ".weight")) visit(name, map);
  });
}

/// The kinds of linear maps there are ("q_proj, k_proj"), for messages.
template <class B, class T>
std::string linear_kinds(const language_model<B, T>& model) {
  std::set<std::string> kinds;
  for_each_adaptable(model,
                     [&](const std::string& name, linear<B, T>&) { kinds.insert(name.substr(name.rfind('.') + 1)); });
  std::string out;
  for (const auto& kind : kinds) out += join(out.empty() ? "" : ", ", kind);
  return out;
}

/// The copies that `modules_to_save` and `biases` ask for. Throws errc::bad_argument for a module that is not there, or
/// that has an adapter as well.
template <class B, class T>
void find_copies(const language_model<B, T>& model, const lora_plan& plan, adapter_places<B, T>& out) {
  const lora_options& o = plan.options();
  std::map<std::string, embedding<B, T>*> tables;
  model.network().for_each_table(
      [&](const std::string& name, embedding<B, T>& table) { tables.emplace(name + ".weight", &table); });
  std::set<std::string> adapted;
  for (const auto& each : out.maps) adapted.insert(each.name);
  for (const auto& each : out.tables) adapted.insert(each.name);
  std::vector<bool> found(o.modules_to_save.size());
  const stack_table stacks = hub_stacks(model.config());
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    const std::string module = name.substr(0, name.rfind('.'));
    const bool saved = plan.saves(name);
    const bool bias = name.ends_with(".bias") && (o.biases == trained_biases::all ||
                                                  (o.biases == trained_biases::adapted && adapted.contains(module)));
    if (!saved && !bias) return;
    if (const auto place = find_in_stack(model.config(), stacks, name))
      throw error(errc::unsupported, "modules_to_save",
                  join("\"", name, "\" lies with others in \"", place->name,
                       "\", which adapters have no place for; leave it out"));
    if (saved && (bias || adapted.contains(module)))
      throw error(
          errc::bad_argument, "modules_to_save",
          join("\"", name, "\" would be trained twice: as a whole, and with an adapter or as a bias; leave one"));
    for (std::size_t i = 0; i < found.size(); ++i) found[i] = found[i] || is_in_module(name, o.modules_to_save[i]);
    const auto table = tables.find(name);
    out.copies.push_back({bias && adapted.contains(module) ? module + ".base_layer.bias" : name, name, w,
                          table == tables.end() ? nullptr : table->second});
  });
  for (std::size_t i = 0; i < found.size(); ++i)
    if (!found[i])
      throw error(errc::bad_argument, "modules_to_save",
                  join("no module's name ends in \"", o.modules_to_save[i], "\"; linear maps are ", linear_kinds(model),
                       ", and there are embed_tokens, norm and others"));
}

/// The table, and the tied head, that have learnt rows for `trainable_tokens`. Throws errc::bad_argument.
template <class B, class T>
void find_tokens(const language_model<B, T>& model, const lora_plan& plan, adapter_places<B, T>& out) {
  const auto& tokens = plan.options().trainable_tokens;
  if (tokens.empty()) return;
  model.network().for_each_table([&](const std::string& name, embedding<B, T>& table) {
    if (out.table) return;
    out.table = &table;
    out.tokens_name = name + ".token_adapter.trainable_tokens_delta";
  });
  if (!out.table)
    throw error(errc::bad_argument, "trainable_tokens", "the model has no table of tokens whose rows could be trained");
  for (const token_id id : tokens)
    if (id < 0 || id >= model.network().vocabulary())
      throw error(errc::bad_argument, "trainable_tokens",
                  join("token ", id, " lies outside the vocabulary of ", model.network().vocabulary()));
  model.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
    if (map.weight == out.table->weight) out.tied_head = &map;
  });
  const bool changed =
      std::any_of(out.copies.begin(), out.copies.end(),
                  [&](const auto& each) { return each.own == out.table->weight; }) ||
      std::any_of(out.maps.begin(), out.maps.end(), [&](const auto& each) { return each.map == out.tied_head; }) ||
      std::any_of(out.tables.begin(), out.tables.end(), [&](const auto& each) { return each.table == out.table; });
  if (changed)
    throw error(errc::bad_argument, "trainable_tokens",
                "the table, or the head tied to it, is trained already; leave one out");
}

/// All places that the plan means. Throws errc::bad_argument when it means none, naming the maps there are.
template <class B, class T>
adapter_places<B, T> find_places(const language_model<B, T>& model, const lora_plan& plan) {
  adapter_places<B, T> out;
  for_each_adaptable(model, [&](const std::string& name, linear<B, T>& map) {
    if (plan.takes(name)) out.maps.push_back({name, &map});
  });
  model.network().for_each_table([&](const std::string& name, embedding<B, T>& table) {
    if (plan.takes_table(name)) out.tables.push_back({name, &table});
  });
  if (const auto& o = plan.options(); !out.tables.empty() && (o.dora || starts_from_weight(o.init)))
    throw error(errc::unsupported, out.tables[0].name,
                join("a table of tokens takes plain LoRA, found ", o.dora ? "dora" : name(o.init),
                     "; leave it out of the targets, or train it whole (modules_to_save)"));
  if (out.maps.empty() && out.tables.empty())
    throw error(errc::bad_argument, "targets",
                join("no linear map of the model matches; it has: ", linear_kinds(model), ", and a table of tokens"));
  find_copies(model, plan, out);
  find_tokens(model, plan, out);
  return out;
}

}  // namespace plumb::inline v0::detail
