// SPDX-License-Identifier: BSL-1.0
// Mixtures of experts in config.json: part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <string>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/expert_names.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Mixtures of experts, of the families that have them.
void read_experts(const json::object& c, model_config& out, const std::string& place) {
  const std::string& family = out.family;
  // Granite's are told as Mixtral's, whose weights always add up to 1.
  const bool mixtral = family == "mixtral" || family == "granitemoe";
  const bool olmoe = family == "olmoe", qwen2 = family == "qwen2_moe";
  if (!has_mixtures(family)) return;
  expert_config& e = out.experts;
  const auto usual = [&](index_t of_mixtral, index_t of_olmoe, index_t of_qwen2, index_t of_qwen3) {
    return mixtral ? of_mixtral : olmoe ? of_olmoe : qwen2 ? of_qwen2 : of_qwen3;
  };
  // Newer versions of transformers save either family under either name.
  e.count = json::get_or<index_t>(c, "num_experts",
                                  json::get_or<index_t>(c, "num_local_experts", usual(8, 64, 60, 128), place), place);
  if (e.count < 1)
    throw error(errc::unsupported, place,
                join("\"num_experts\": expected at least 1, found ", e.count,
                     "; plumb reads a model without mixtures "
                     "under its family without them"));
  e.chosen = json::get_or<index_t>(c, "num_experts_per_tok", usual(2, 8, 4, 8), place);
  e.loss_factor = json::get_or<double>(c, "router_aux_loss_coef", usual_loss_factor(family), place);
  e.shared_weights = mixtral || json::get_or<bool>(c, "norm_topk_prob", false, place);
  e.width = out.intermediate_size;
  if (const auto noise = json::get_or<double>(c, "router_jitter_noise", 0.0, place); noise != 0)
    throw error(errc::unsupported, place,
                join("\"router_jitter_noise\": expected 0, found ", noise, "; plumb's routers have no noise"));
  if (mixtral || olmoe) return;
  e.width = json::get_or<index_t>(c, "moe_intermediate_size", qwen2 ? 1408 : 768, place);
  e.every = json::get_or<index_t>(c, "decoder_sparse_step", 1, place);
  if (const json::value* v = json::find(c, "mlp_only_layers"); v && !v->is_null())
    e.dense_layers = json::as<std::vector<index_t>>(*v, "mlp_only_layers", place);
  if (qwen2) e.shared_width = json::get_or<index_t>(c, "shared_expert_intermediate_size", 5632, place);
}

void write_experts(const model_config& c, json::object& o) {
  const expert_config& e = c.experts;
  if (e.count == 0) return;
  const bool as_mixtral = c.family == "mixtral" || c.family == "granitemoe";
  o[as_mixtral ? "num_local_experts" : "num_experts"] = e.count;
  o["num_experts_per_tok"] = e.chosen;
  o["router_aux_loss_coef"] = e.loss_factor;
  if (as_mixtral) return;
  o["norm_topk_prob"] = e.shared_weights;
  if (c.family == "olmoe") {
    o["clip_qkv"] = c.query_clip > 0 ? json::value(c.query_clip) : json::value(nullptr);
    return;
  }
  o["moe_intermediate_size"] = e.width;
  o["decoder_sparse_step"] = e.every;
  o["mlp_only_layers"] = json::array(e.dense_layers.begin(), e.dense_layers.end());
  if (c.family == "qwen2_moe") o["shared_expert_intermediate_size"] = e.shared_width;
}

}  // namespace detail

}  // namespace plumb::inline v0
