// SPDX-License-Identifier: BSL-1.0
// JetMoE: mixtures of experts in place of the feed-forward part and of attention's maps.
#pragma once

#include <plumb/models/experts.hpp>
#include <plumb/nn/mixture_of_attention.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using jetmoe_block =
    pre_norm_block<rms_norm<B, T>, mixture_of_attention<B, T>, mixture_of_experts<B, T, gated_mlp<B, T>>>;
template <class B, class T>
using jetmoe = transformer<B, T, jetmoe_block<B, T>, rms_norm<B, T>>;

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
jetmoe<B, T> build_jetmoe(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<jetmoe<B, T>>([&](const std::string& at, index_t layer) {
    const index_t width = c.kv_heads * c.head_width;
    const std::string own = at + ".self_attention", experts = own + ".experts";
    jetmoe_block<B, T> block;
    block.names.attention = "self_attention";
    block.input_layernorm = parts.norm(at + ".input_layernorm");
    auto& attention = block.self_attn;
    attention.gate = parts.linear_map(experts + ".router.layer", c.experts.count, c.hidden_size, false);
    for (index_t e = 0; e < c.experts.count; ++e)
      attention.experts.push_back({parts.linear_map(join(experts, ".", e, ".q_proj"), width, c.hidden_size, false),
                                   parts.linear_map(join(experts, ".", e, ".o_proj"), c.hidden_size, width, false)});
    attention.kv_proj = parts.linear_map(own + ".kv_proj", 2 * width, c.hidden_size, false);
    attention.bias = make(experts + ".bias", shape{1, c.hidden_size});
    attention.options = attention_numbers(c, layer);
    attention.positions = parts.rotary_of(layer);
    block.post_attention_layernorm = parts.norm(at + ".post_attention_layernorm");
    block.mlp = make_mixture<B, T>(parts, c, at);
    block.mlp.bias = make(at + ".mlp.bias", shape{1, c.hidden_size});
    return block;
  });
}

}  // namespace plumb::inline v0
