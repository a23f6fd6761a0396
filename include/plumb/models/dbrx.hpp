// SPDX-License-Identifier: BSL-1.0
// DBRX: layer norms without biases, one map for queries, keys and values, whose numbers are clipped, and a mixture of
// experts in every layer.
#pragma once

#include <plumb/models/decoder_parts.hpp>
#include <plumb/models/experts.hpp>
#include <plumb/models/plain_attention.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using dbrx_block = pre_norm_block<layer_norm<B, T>, plain_attention<B, T>, mixture_of_experts<B, T, gated_mlp<B, T>>>;
template <class B, class T>
using dbrx = transformer<B, T, dbrx_block<B, T>, layer_norm<B, T>>;

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
dbrx<B, T> build_dbrx(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  static constexpr attention_names maps{.all = "Wqkv", .q = "", .k = "", .v = "", .out = "out_proj"};
  static constexpr block_names names{.first_norm = "norm_attn_norm.norm_1",
                                     .attention = "norm_attn_norm.attn",
                                     .second_norm = "norm_attn_norm.norm_2",
                                     .mlp = "ffn"};
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<dbrx<B, T>>(
      [&](const std::string& at, index_t layer) {
        const index_t q_width = c.heads * c.head_width;
        const auto in_block = [&](std::string_view name) { return detail::dotted(at, name); };
        dbrx_block<B, T> block;
        block.names = names;
        block.input_layernorm = parts.centred_norm(in_block(names.first_norm));
        auto& attention = block.self_attn;
        attention.names = &maps;
        attention.all = parts.linear_map(in_block(names.attention) + ".Wqkv", q_width + 2 * c.kv_heads * c.head_width,
                                         c.hidden_size, false);
        attention.out = parts.linear_map(in_block(names.attention) + ".out_proj", c.hidden_size, q_width, false);
        attention.options = attention_numbers(c, layer);
        attention.positions = parts.rotary_of(layer);
        attention.clip = c.query_clip;
        block.post_attention_layernorm = parts.centred_norm(in_block(names.second_norm));
        block.mlp = make_mixture<B, T>(parts, c, at);
        return block;
      },
      {"transformer.wte", "transformer.blocks", "transformer.norm_f"});
}

}  // namespace plumb::inline v0
