// SPDX-License-Identifier: BSL-1.0
// The families of models/plain_decoder.hpp: the names that each has for its parts.
#pragma once

#include <string_view>
#include <utility>

#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

/// What a family calls the maps of its attention: `all`, or the three of them.
struct attention_names {
  std::string_view all;  ///< queries, keys and values in one
  std::string_view q, k, v;
  std::string_view out;
};

/// What a family calls the parts of its decoder. Names of weights stand for themselves, others for parts.
struct plain_names {
  std::string_view embedding;
  std::string_view places;  ///< learnt positions, a weight; empty: none
  std::string_view blocks;
  std::string_view attention_norm, attention;  ///< in a block
  std::string_view mlp_norm, mlp;              ///< in a block; an empty `mlp`: its maps are the block's own
  attention_names maps;
  std::string_view up, down;
  std::string_view last_norm;
  bool norm_biases = true;
};

namespace detail {

/// Names by "model_type".
inline constexpr std::pair<std::string_view, plain_names> plain_family_names[] = {
    {"gpt2",
     {.embedding = "transformer.wte",
      .places = "transformer.wpe.weight",
      .blocks = "transformer.h",
      .attention_norm = "ln_1",
      .attention = "attn",
      .mlp_norm = "ln_2",
      .mlp = "mlp",
      .maps = {.all = "c_attn", .q = "", .k = "", .v = "", .out = "c_proj"},
      .up = "c_fc",
      .down = "c_proj",
      .last_norm = "transformer.ln_f"}},
    {"gptj",
     {.embedding = "transformer.wte",
      .places = "",
      .blocks = "transformer.h",
      .attention_norm = "ln_1",
      .attention = "attn",
      .mlp_norm = "",
      .mlp = "mlp",
      .maps = {.all = "", .q = "q_proj", .k = "k_proj", .v = "v_proj", .out = "out_proj"},
      .up = "fc_in",
      .down = "fc_out",
      .last_norm = "transformer.ln_f"}},
    {"gpt_neox",
     {.embedding = "gpt_neox.embed_in",
      .places = "",
      .blocks = "gpt_neox.layers",
      .attention_norm = "input_layernorm",
      .attention = "attention",
      .mlp_norm = "post_attention_layernorm",
      .mlp = "mlp",
      .maps = {.all = "query_key_value", .q = "", .k = "", .v = "", .out = "dense"},
      .up = "dense_h_to_4h",
      .down = "dense_4h_to_h",
      .last_norm = "gpt_neox.final_layer_norm"}},
    {"opt",
     {.embedding = "model.decoder.embed_tokens",
      .places = "model.decoder.embed_positions.weight",
      .blocks = "model.decoder.layers",
      .attention_norm = "self_attn_layer_norm",
      .attention = "self_attn",
      .mlp_norm = "final_layer_norm",
      .mlp = "",
      .maps = {.all = "", .q = "q_proj", .k = "k_proj", .v = "v_proj", .out = "out_proj"},
      .up = "fc1",
      .down = "fc2",
      .last_norm = "model.decoder.final_layer_norm"}},
    {"falcon",
     {.embedding = "transformer.word_embeddings",
      .places = "",
      .blocks = "transformer.h",
      .attention_norm = "input_layernorm",
      .attention = "self_attention",
      .mlp_norm = "post_attention_layernorm",
      .mlp = "mlp",
      .maps = {.all = "query_key_value", .q = "", .k = "", .v = "", .out = "dense"},
      .up = "dense_h_to_4h",
      .down = "dense_4h_to_h",
      .last_norm = "transformer.ln_f"}},
    {"phi",
     {.embedding = "model.embed_tokens",
      .places = "",
      .blocks = "model.layers",
      .attention_norm = "input_layernorm",
      .attention = "self_attn",
      .mlp_norm = "",
      .mlp = "mlp",
      .maps = {.all = "", .q = "q_proj", .k = "k_proj", .v = "v_proj", .out = "dense"},
      .up = "fc1",
      .down = "fc2",
      .last_norm = "model.final_layernorm"}},
    {"starcoder2",
     {.embedding = "model.embed_tokens",
      .places = "",
      .blocks = "model.layers",
      .attention_norm = "input_layernorm",
      .attention = "self_attn",
      .mlp_norm = "post_attention_layernorm",
      .mlp = "mlp",
      .maps = {.all = "", .q = "q_proj", .k = "k_proj", .v = "v_proj", .out = "o_proj"},
      .up = "c_fc",
      .down = "c_proj",
      .last_norm = "model.norm"}},
    {"mpt",
     {.embedding = "transformer.wte",
      .places = "",
      .blocks = "transformer.blocks",
      .attention_norm = "norm_1",
      .attention = "attn",
      .mlp_norm = "norm_2",
      .mlp = "ffn",
      .maps = {.all = "Wqkv", .q = "", .k = "", .v = "", .out = "out_proj"},
      .up = "up_proj",
      .down = "down_proj",
      .last_norm = "transformer.norm_f",
      .norm_biases = false}},
};

/// Falcon's larger models call two norms side by side otherwise.
inline constexpr plain_names falcon_two_norms = [] {
  plain_names out;
  for (const auto& [family, names] : plain_family_names)
    if (family == "falcon") out = names;
  out.attention_norm = "ln_attn", out.mlp_norm = "ln_mlp";
  return out;
}();

/// Null for a family of another kind.
inline const plain_names* find_plain_names(const model_config& c) {
  if (c.family == "falcon" && c.parallel && !c.one_norm) return &falcon_two_norms;
  for (const auto& [family, names] : plain_family_names)
    if (family == c.family) return &names;
  return nullptr;
}

}  // namespace detail

}  // namespace plumb::inline v0
