// SPDX-License-Identifier: BSL-1.0
// The families of models/plain_decoder.hpp: the names that each has for its parts, and the decoder from a configuration.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <plumb/models/decoder_parts.hpp>
#include <plumb/models/make_rotary.hpp>
#include <plumb/models/plain_decoder.hpp>

namespace plumb::inline v0 {

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

/// Builds the decoder that `c` describes, with the family's `names`; see build_llama.
template <class B, class T, class Make>
plain_decoder<B, T> build_plain_decoder(const device_ptr<B>& device, const model_config& c, index_t positions,
                                        const plain_names& names, Make&& make) {
  const index_t width = c.hidden_size, q_width = c.heads * c.head_width, kv_width = c.kv_heads * c.head_width;
  const auto norm = [&](const std::string& name) {
    layer_norm<B, T> out{make(name + ".weight", shape{1, width}), nullptr, c.norm_epsilon};
    if (names.norm_biases) out.bias = make(name + ".bias", shape{1, width});
    return out;
  };
  const auto linear_map = [&](const std::string& at, std::string_view name, index_t outputs, index_t inputs,
                              bool bias) {
    return make_linear<B, T>(make, detail::dotted(at, name), outputs, inputs, bias);
  };
  std::shared_ptr<const rotary<B, T>> turns;
  plain_decoder<B, T> net;
  net.names = &names;
  net.tokens.weight = make(join(names.embedding, ".weight"), shape{c.vocabulary, width});
  net.first_place = c.first_place();
  if (!names.places.empty())
    net.places = make(std::string(names.places), shape{c.first_place() + c.max_positions, width});
  for (index_t i = 0; i < c.layers; ++i) {
    const std::string at = join(names.blocks, ".", i);
    const std::string attention = detail::dotted(at, names.attention), mlp = detail::dotted(at, names.mlp);
    plain_block<B, T> block;
    block.names = &names, block.mlp.names = &names, block.attention.names = &names.maps;
    block.parallel = c.parallel;
    block.attention_norm = norm(detail::dotted(at, names.attention_norm));
    if (!names.maps.all.empty()) {
      block.attention.all = linear_map(attention, names.maps.all, q_width + 2 * kv_width, width, c.attention_bias);
      block.attention.grouped = c.family != "gpt2" && c.family != "mpt";
    } else {
      block.attention.q = linear_map(attention, names.maps.q, q_width, width, c.attention_bias);
      block.attention.k = linear_map(attention, names.maps.k, kv_width, width, c.attention_bias);
      block.attention.v = linear_map(attention, names.maps.v, kv_width, width, c.attention_bias);
    }
    block.attention.out = linear_map(attention, names.maps.out, width, q_width, c.output_bias);
    block.attention.options = attention_numbers(c, i);
    if (c.turns_positions() && !turns)  // after weights that show that the width of a head is no damaged number
      turns = make_rotary<B, T>(device, c, positions, c.rope_theta, c.rope_scaling);
    block.attention.positions = turns;
    if (!c.one_norm) block.mlp_norm = norm(detail::dotted(at, names.mlp_norm));
    block.mlp.up = linear_map(mlp, names.up, c.intermediate_size, width, c.mlp_bias);
    block.mlp.down = linear_map(mlp, names.down, width, c.intermediate_size, c.mlp_bias);
    block.mlp.f = c.gate;
    net.blocks.push_back(std::move(block));
  }
  net.last_norm = norm(std::string(names.last_norm));
  net.lm_head.weight = c.tied_head ? net.tokens.weight : make("lm_head.weight", shape{c.vocabulary, width});
  if (c.head_bias) net.lm_head.bias = make("lm_head.bias", shape{1, c.vocabulary});
  return net;
}

}  // namespace plumb::inline v0
