// SPDX-License-Identifier: BSL-1.0
// Models built like Llama, as a composition of parts: Llama, SmolLM, Mistral (windows), Qwen2 (biases), Qwen3 (norms of
// queries and keys). They differ in what is there, not in how it is put together, so one composition serves them all.
#pragma once

#include <algorithm>
#include <memory>

#include <plumb/models/config.hpp>
#include <plumb/nn/attention.hpp>
#include <plumb/nn/block.hpp>
#include <plumb/nn/mlp.hpp>
#include <plumb/nn/network.hpp>
#include <plumb/nn/norm.hpp>
#include <plumb/nn/transformer.hpp>

namespace plumb::inline v0 {

template <class B, class T>
using llama_block = pre_norm_block<rms_norm<B, T>, self_attention<B, T>, swiglu_mlp<B, T>>;
template <class B, class T>
using llama = transformer<B, T, llama_block<B, T>, rms_norm<B, T>>;

/// Builds the composition that `c` describes. `make(name, shape)` gives each weight: read from files, or random.
/// `positions`: the longest path to prepare rotary tables for.
template <class B, class T, class Make>
llama<B, T> build_llama(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  const auto weight = [&](const std::string& name, index_t rows, index_t columns) {
    return make(name + ".weight", shape{rows, columns});
  };
  const auto linear_map = [&](const std::string& name, index_t outputs, index_t inputs, bool bias) {
    linear<B, T> out;
    out.weight = weight(name, outputs, inputs);
    if (bias) out.bias = make(name + ".bias", shape{1, outputs});
    return out;
  };
  const auto frequencies = make_rope_frequencies(c.head_width, c.rope_theta, c.rope_scaling);
  const auto turn =
      c.rope_scaling.how == rope_scaling::kind::none
          ? std::make_shared<const rotary<B, T>>(device, positions, c.head_width, c.rope_theta)
          : std::make_shared<const rotary<B, T>>(device, positions, frequencies.values, frequencies.magnitude);
  const index_t q_width = c.heads * c.head_width, kv_width = c.kv_heads * c.head_width;

  llama<B, T> net;
  net.embed_tokens.weight = weight("model.embed_tokens", c.vocabulary, c.hidden_size);
  for (index_t i = 0; i < c.layers; ++i) {
    const std::string at = join("model.layers.", i);
    llama_block<B, T> block;
    block.input_layernorm = {weight(at + ".input_layernorm", 1, c.hidden_size), c.norm_epsilon};
    auto& a = block.self_attn;
    a.q_proj = linear_map(at + ".self_attn.q_proj", q_width, c.hidden_size, c.attention_bias);
    a.k_proj = linear_map(at + ".self_attn.k_proj", kv_width, c.hidden_size, c.attention_bias);
    a.v_proj = linear_map(at + ".self_attn.v_proj", kv_width, c.hidden_size, c.attention_bias);
    a.o_proj = linear_map(at + ".self_attn.o_proj", c.hidden_size, q_width, c.output_bias);
    if (c.head_norms) {
      a.q_norm = rms_norm<B, T>{weight(at + ".self_attn.q_norm", 1, c.head_width), c.norm_epsilon};
      a.k_norm = rms_norm<B, T>{weight(at + ".self_attn.k_norm", 1, c.head_width), c.norm_epsilon};
    }
    a.options = {c.heads, c.kv_heads, c.head_width, 1 / std::sqrt(static_cast<double>(c.head_width)),
                 c.windows.empty() ? 0 : c.windows[static_cast<std::size_t>(i)]};
    a.positions = turn;
    block.post_attention_layernorm = {weight(at + ".post_attention_layernorm", 1, c.hidden_size), c.norm_epsilon};
    block.mlp.gate_proj = linear_map(at + ".mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    block.mlp.up_proj = linear_map(at + ".mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    block.mlp.down_proj = linear_map(at + ".mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
    net.layers.push_back(std::move(block));
  }
  net.norm = {weight("model.norm", 1, c.hidden_size), c.norm_epsilon};
  net.lm_head.weight = c.tied_head ? net.embed_tokens.weight : weight("lm_head", c.vocabulary, c.hidden_size);
  return net;
}

/// The network behind the common interface.
template <class B, class T, class Make>
std::unique_ptr<network<B, T>> make_llama(const device_ptr<B>& device, const model_config& c, index_t positions,
                                          Make&& make) {
  const network_sizes sizes{c.vocabulary, c.hidden_size, c.layers, c.kv_heads * c.head_width, positions};
  return std::make_unique<network_of<llama<B, T>>>(build_llama<B, T>(device, c, positions, make), sizes);
}

}  // namespace plumb::inline v0
