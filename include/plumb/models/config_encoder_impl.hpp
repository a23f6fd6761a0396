// SPDX-License-Identifier: BSL-1.0
// config.json of encoders (BERT, RoBERTa): part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <string>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/config_plain_impl.hpp>

namespace plumb::inline v0 {

namespace detail {

void read_encoder(const json::object& c, model_config& out, const std::string& place) {
  out.hidden_size = json::get<index_t>(c, "hidden_size", place);
  out.intermediate_size = json::get<index_t>(c, "intermediate_size", place);
  out.layers = json::get<index_t>(c, "num_hidden_layers", place);
  out.heads = out.kv_heads = json::get<index_t>(c, "num_attention_heads", place);
  const auto places = json::get_or<index_t>(c, "max_position_embeddings", 512, place);
  if (places <= out.first_place())
    throw error(errc::bad_model, place,
                join("\"max_position_embeddings\": expected more than ", out.first_place(), ", found ", places));
  out.max_positions = places - out.first_place();
  out.norm_epsilon = json::get_or<double>(c, "layer_norm_eps", 1e-12, place);
  out.token_types = json::get_or<index_t>(c, "type_vocab_size", 2, place);
  out.gate = read_activation(c, "hidden_act", "gelu", place);
  out.attention_bias = out.output_bias = out.mlp_bias = out.norm_bias = out.tied_head = out.pooled = true;
  refuse_unless(c, "is_decoder", false, "plumb reads it as an encoder", place);
  refuse_unless(c, "add_cross_attention", false, "plumb reads encoders without it", place);
  const auto kind = json::get_or<std::string>(c, "position_embedding_type", std::string("absolute"), place);
  if (kind != "absolute")
    throw error(errc::unsupported, place, join("\"position_embedding_type\": expected absolute, found \"", kind, "\""));
  // RoBERTa counts positions from the one behind its padding token.
  if (const auto pad = json::get_or<index_t>(c, "pad_token_id", 1, place); out.family == "roberta" && pad != 1)
    throw error(errc::unsupported, place, join("\"pad_token_id\": expected 1 in RoBERTa, found ", pad));
}

void write_encoder(const model_config& c, json::object& o) {
  o["hidden_size"] = c.hidden_size;
  o["intermediate_size"] = c.intermediate_size;
  o["num_hidden_layers"] = c.layers;
  o["num_attention_heads"] = c.heads;
  o["max_position_embeddings"] = c.first_place() + c.max_positions;
  o["layer_norm_eps"] = c.norm_epsilon;
  o["type_vocab_size"] = c.token_types;
  o["hidden_act"] = activation_word(c.gate, "gelu_new");
  if (c.family == "roberta") o["pad_token_id"] = 1;
}

}  // namespace detail

}  // namespace plumb::inline v0
