// SPDX-License-Identifier: BSL-1.0
// Models built like Llama: Llama, SmolLM, Mistral (windows), Qwen2 (biases), Qwen3 (norms of queries and keys),
// Gemma (another gate), SmolLM3 (layers without positions), Granite (factors). They differ in what is there, not in how it
// is put together. StableLM is the same with layer norms.
#pragma once

#include <plumb/models/decoder_parts.hpp>
#include <plumb/nn/block.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using llama_block = pre_norm_block<rms_norm<B, T>, self_attention<B, T>, gated_mlp<B, T>>;
template <class B, class T>
using llama = transformer<B, T, llama_block<B, T>, rms_norm<B, T>>;
template <class B, class T>
using stablelm_block = pre_norm_block<layer_norm<B, T>, self_attention<B, T>, gated_mlp<B, T>>;
template <class B, class T>
using stablelm = transformer<B, T, stablelm_block<B, T>, layer_norm<B, T>>;

/// Builds the composition that `c` describes. `make(name, shape)` gives each weight: read from files, or random.
/// `positions`: the longest path to prepare rotary tables for.
template <class B, class T, class Make>
llama<B, T> build_llama(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<llama<B, T>>([&](const std::string& at, index_t layer) {
    return llama_block<B, T>{parts.norm(at + ".input_layernorm"), parts.attention(at + ".self_attn", layer),
                             parts.norm(at + ".post_attention_layernorm"), parts.mlp(at + ".mlp"), c.residual_factor};
  });
}

/// The same with layer norms.
template <class B, class T, class Make>
stablelm<B, T> build_stablelm(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<stablelm<B, T>>([&](const std::string& at, index_t layer) {
    return stablelm_block<B, T>{parts.centred_norm(at + ".input_layernorm"), parts.attention(at + ".self_attn", layer),
                                parts.centred_norm(at + ".post_attention_layernorm"), parts.mlp(at + ".mlp")};
  });
}

}  // namespace plumb::inline v0
