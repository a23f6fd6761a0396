// SPDX-License-Identifier: BSL-1.0
// Cohere's models (Command R, R7B, Aya): attention and feed-forward part side by side behind one layer norm without bias,
// rotary pairs that lie beside each other, scaled logits.
#pragma once

#include <plumb/models/decoder_parts.hpp>
#include <plumb/nn/block.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using cohere_block = parallel_block<layer_norm<B, T>, self_attention<B, T>, gated_mlp<B, T>>;
template <class B, class T>
using cohere = transformer<B, T, cohere_block<B, T>, layer_norm<B, T>>;

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
cohere<B, T> build_cohere(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<cohere<B, T>>([&](const std::string& at, index_t layer) {
    return cohere_block<B, T>{parts.centred_norm(at + ".input_layernorm"), parts.attention(at + ".self_attn", layer),
                              parts.mlp(at + ".mlp")};
  });
}

}  // namespace plumb::inline v0
