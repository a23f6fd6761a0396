// SPDX-License-Identifier: BSL-1.0
// An adapter in a few facts, as JSON.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include <plumb/io/json.hpp>
#include <plumb/models/adapter.hpp>

namespace plumb::inline v0 {

namespace detail {

template <class B, class T>
void describe_size(const policy<B, T>& p, json::object& out) {
  out["trainable_parameters"] = p.trainable_count();
  out["trainable_share"] =
      static_cast<double>(p.trainable_count()) / static_cast<double>(std::max<index_t>(1, p.model().parameter_count()));
  out["bytes"] = p.trainable_count() * static_cast<index_t>(sizeof(T));
}

}  // namespace detail

/// An adapter in a few facts, as `plumb info --adapter` shows them; empty for a policy without an adapter.
template <class B, class T>
json::object describe_adapter(const policy<B, T>& p) {
  json::object out;
  if (p.prompt()) {
    out["peft_type"] = p.prompt()->prefix ? "PREFIX_TUNING" : "PROMPT_TUNING";
    out["num_virtual_tokens"] = p.prompt()->count;
    detail::describe_size(p, out);
    return out;
  }
  if (!p.lora()) return out;
  const lora_options& o = *p.lora();
  index_t modules = 0, least = o.rank, most = o.rank;
  const auto count = [&](index_t rank) {
    least = modules == 0 ? rank : std::min(least, rank);
    most = modules == 0 ? rank : std::max(most, rank);
    ++modules;
  };
  p.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
    if (map.adapter) count(map.adapter->rank());
  });
  p.network().for_each_table([&](const std::string&, embedding<B, T>& table) {
    if (table.low_rank) count(table.low_rank->rank());
  });
  out["peft_type"] = "LORA";
  out["r"] = o.rank;
  if (least != o.rank || most != o.rank) out["r_range"] = json::array{least, most};
  out["lora_alpha"] = o.alpha;
  out["lora_dropout"] = o.dropout;
  out["use_rslora"] = o.rank_stabilised;
  out["use_dora"] = o.dora;
  if (starts_from_weight(o.init)) out["init_lora_weights"] = json::string(name(o.init));
  if (o.biases != trained_biases::none) out["bias"] = json::string(name(o.biases));
  if (!o.modules_to_save.empty())
    out["modules_to_save"] = json::array(o.modules_to_save.begin(), o.modules_to_save.end());
  if (!o.trainable_tokens.empty())
    out["trainable_token_indices"] = json::array(o.trainable_tokens.begin(), o.trainable_tokens.end());
  if (!o.pattern.empty()) {
    out["target_modules"] = o.pattern;
  } else {
    json::array names;
    for (const std::string& name : detail::target_names(p.model(), o)) names.emplace_back(name);
    out["target_modules"] = std::move(names);
  }
  out["modules"] = modules;
  out["score_head"] = p.score_head().has_value();
  detail::describe_size(p, out);
  return out;
}

}  // namespace plumb::inline v0
