// SPDX-License-Identifier: BSL-1.0
// Models that normalise what comes out of attention and feed-forward part: Gemma 2 and 3 (which also normalise what
// goes in), OLMo 2.
#pragma once

#include <plumb/models/decoder_parts.hpp>
#include <plumb/nn/block.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using gemma_block = post_norm_block<rms_norm<B, T>, self_attention<B, T>, gated_mlp<B, T>>;
template <class B, class T>
using gemma = transformer<B, T, gemma_block<B, T>, rms_norm<B, T>>;

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
gemma<B, T> build_gemma(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<gemma<B, T>>([&](const std::string& at, index_t layer) {
    gemma_block<B, T> block;
    if (c.norms == norm_place::both) {
      block.input_layernorm = parts.norm(at + ".input_layernorm");
      block.pre_feedforward_layernorm = parts.norm(at + ".pre_feedforward_layernorm");
    }
    block.self_attn = parts.attention(at + ".self_attn", layer);
    block.post_attention_layernorm = parts.norm(at + ".post_attention_layernorm");
    block.mlp = parts.mlp(at + ".mlp");
    block.post_feedforward_layernorm = parts.norm(at + ".post_feedforward_layernorm");
    return block;
  });
}

}  // namespace plumb::inline v0
