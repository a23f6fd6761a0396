// SPDX-License-Identifier: BSL-1.0
// JetMoE's config.json: part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <string>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/config_plain_impl.hpp>
#include <plumb/models/expert_names.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Its queries are as many as experts for a token times keys.
void read_jetmoe(const json::object& c, model_config& out, const std::string& place) {
  const auto number = [&](const char* key, index_t usual) { return json::get_or<index_t>(c, key, usual, place); };
  out.hidden_size = number("hidden_size", 2048);
  out.layers = number("num_hidden_layers", 12);
  out.kv_heads = number("num_key_value_heads", 16);
  out.head_width = number("kv_channels", 128);
  out.intermediate_size = number("intermediate_size", 5632);
  out.max_positions = number("max_position_embeddings", 4096);
  out.norm_epsilon = json::get_or<double>(c, "rms_norm_eps", 1e-6, place);
  out.gate = read_activation(c, "activation_function", "silu", place);
  out.tied_head = json::get_or<bool>(c, "tie_word_embeddings", true, place);
  read_rope(c, out, place);
  expert_config& e = out.experts;
  e.width = out.intermediate_size;
  e.count = number("num_local_experts", 8);
  e.chosen = number("num_experts_per_tok", 2);
  e.loss_factor = json::get_or<double>(c, "aux_loss_coef", usual_loss_factor(out.family), place);
  if (e.count < 1)
    throw error(errc::bad_model, place, join("\"num_local_experts\": expected at least 1, found ", e.count));
  e.check(place);
  if (out.kv_heads < 1 || out.kv_heads > 65536)
    throw error(errc::bad_model, place,
                join("\"num_key_value_heads\": expected a number from 1 to 65536, found ", out.kv_heads));
  out.heads = out.kv_heads * e.chosen;
}

void write_jetmoe(const model_config& c, json::object& o) {
  o["hidden_size"] = c.hidden_size;
  o["num_hidden_layers"] = c.layers;
  o["num_key_value_heads"] = c.kv_heads;
  o["kv_channels"] = c.head_width;
  o["intermediate_size"] = c.intermediate_size;
  o["max_position_embeddings"] = c.max_positions;
  o["rms_norm_eps"] = c.norm_epsilon;
  o["activation_function"] = activation_word(c.gate);
  o["num_local_experts"] = c.experts.count;
  o["num_experts_per_tok"] = c.experts.chosen;
  o["aux_loss_coef"] = c.experts.loss_factor;
  write_rope(c, o);
}

}  // namespace detail

}  // namespace plumb::inline v0
