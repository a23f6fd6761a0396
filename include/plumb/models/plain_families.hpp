// SPDX-License-Identifier: BSL-1.0
// The decoder of models/plain_decoder.hpp from a configuration.
#pragma once

#include <memory>
#include <string>

#include <plumb/models/decoder_parts.hpp>
#include <plumb/models/make_rotary.hpp>
#include <plumb/models/plain_decoder.hpp>

namespace plumb::inline v0 {

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
