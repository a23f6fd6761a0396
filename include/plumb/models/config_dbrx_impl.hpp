// SPDX-License-Identifier: BSL-1.0
// DBRX's config.json, which has words of its own: part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <string>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/config_plain_impl.hpp>
#include <plumb/models/expert_names.hpp>

namespace plumb::inline v0 {

namespace detail {

void read_dbrx(const json::object& c, model_config& out, const std::string& place) {
  const json::object none;
  const auto part = [&](const char* key) -> const json::object& {
    const json::value* v = json::find(c, key);
    return v && !v->is_null() ? json::as_object(*v, key, place) : none;
  };
  const json::object &attention = part("attn_config"), &experts = part("ffn_config");
  out.hidden_size = json::get_or<index_t>(c, "d_model", 2048, place);
  out.heads = json::get_or<index_t>(c, "n_heads", 16, place);
  out.layers = json::get_or<index_t>(c, "n_layers", 24, place);
  out.max_positions = json::get_or<index_t>(c, "max_seq_len", 2048, place);
  out.kv_heads = json::get_or<index_t>(attention, "kv_n_heads", 1, place);
  if (const json::value* v = json::find(attention, "clip_qkv"); v && !v->is_null())
    out.query_clip = json::as<double>(*v, "clip_qkv", place);
  out.rope_theta = json::get_or<double>(attention, "rope_theta", 10000.0, place);
  read_rope(c, out, place);
  refuse_unless(c, "tie_word_embeddings", false, "this family's head is no embedding", place);
  const json::value* f = json::find(experts, "ffn_act_fn");
  out.gate =
      read_activation(f && !f->is_null() ? json::as_object(*f, "ffn_act_fn", place) : none, "name", "silu", place);
  out.intermediate_size = json::get_or<index_t>(experts, "ffn_hidden_size", 3584, place);
  expert_config& e = out.experts;
  e.width = out.intermediate_size;
  e.count = json::get_or<index_t>(experts, "moe_num_experts", 4, place);
  e.chosen = json::get_or<index_t>(experts, "moe_top_k", 1, place);
  e.loss_factor = json::get_or<double>(experts, "moe_loss_weight", usual_loss_factor(out.family), place);
  if (e.count < 1)
    throw error(errc::bad_model, place, join("\"moe_num_experts\": expected at least 1, found ", e.count));
  const json::value* norm = json::find(experts, "moe_normalize_expert_weights");
  e.shared_weights = !norm || !norm->is_null();
  if (norm && !norm->is_null() && json::as<double>(*norm, "moe_normalize_expert_weights", place) != 1)
    throw error(
        errc::unsupported, place,
        "\"moe_normalize_expert_weights\": plumb divides experts' weights by their sum (1), or not at all (null)");
  if (const json::value* noise = json::find(experts, "moe_jitter_eps");
      noise && !noise->is_null() && json::as<double>(*noise, "moe_jitter_eps", place) != 0)
    throw error(errc::unsupported, place, "\"moe_jitter_eps\": expected null or 0; plumb's routers have no noise");
}

void write_dbrx(const model_config& c, json::object& o) {
  o["d_model"] = c.hidden_size;
  o["n_heads"] = c.heads;
  o["n_layers"] = c.layers;
  o["max_seq_len"] = c.max_positions;
  o["attn_config"] = json::object{{"clip_qkv", c.query_clip > 0 ? json::value(c.query_clip) : json::value(nullptr)},
                                  {"kv_n_heads", c.kv_heads},
                                  {"rope_theta", c.rope_theta}};
  const expert_config& e = c.experts;
  o["ffn_config"] =
      json::object{{"ffn_act_fn", json::object{{"name", activation_word(c.gate)}}},
                   {"ffn_hidden_size", c.intermediate_size},
                   {"moe_num_experts", e.count},
                   {"moe_top_k", e.chosen},
                   {"moe_loss_weight", e.loss_factor},
                   {"moe_normalize_expert_weights", e.shared_weights ? json::value(1.0) : json::value(nullptr)}};
  write_rope(c, o);
}

}  // namespace detail

}  // namespace plumb::inline v0
