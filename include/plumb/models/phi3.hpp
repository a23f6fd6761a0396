// SPDX-License-Identifier: BSL-1.0
// Phi-3 and 4: Llama with one map for queries, keys and values and one for gate and up.
#pragma once

#include <plumb/models/decoder_parts.hpp>
#include <plumb/models/plain_attention.hpp>
#include <plumb/nn/block.hpp>

namespace plumb::inline v0 {

/// down(f(g) ⊙ u), (g, u) side by side in gate_up(x).
template <class B, class T>
struct fused_gated_mlp {
  linear<B, T> gate_up_proj;  ///< [2 inner, width]
  linear<B, T> down_proj;     ///< [width, inner]
  activation gate = activation::silu;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const index_t inner = down_proj.inputs();
    const auto both = gate_up_proj(p, x);  // [tokens, 2 inner]
    const auto make = [&] {
      const auto g = take_columns(p.tape, both, 0, inner);       // [tokens, inner]
      const auto up = take_columns(p.tape, both, inner, inner);  // [tokens, inner]
      return gated(p.tape, g, up, gate);                         // [tokens, inner]
    };
    return p.tape.recompute(make, [&](variable<B, T> bent) { return down_proj(p, bent); });  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("gate_up_proj", self.gate_up_proj);
    f("down_proj", self.down_proj);
  }
};

template <class B, class T>
using phi3_block = pre_norm_block<rms_norm<B, T>, plain_attention<B, T>, fused_gated_mlp<B, T>>;
template <class B, class T>
using phi3 = transformer<B, T, phi3_block<B, T>, rms_norm<B, T>>;

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
phi3<B, T> build_phi3(const device_ptr<B>& device, const model_config& c, index_t positions, Make&& make) {
  static constexpr attention_names names{.all = "qkv_proj", .q = "", .k = "", .v = "", .out = "o_proj"};
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  return parts.template decoder<phi3<B, T>>([&](const std::string& at, index_t layer) {
    const index_t q_width = c.heads * c.head_width;
    phi3_block<B, T> block;
    block.input_layernorm = parts.norm(at + ".input_layernorm");
    block.self_attn.names = &names;
    block.self_attn.all =
        parts.linear_map(at + ".self_attn.qkv_proj", q_width + 2 * c.kv_heads * c.head_width, c.hidden_size, false);
    block.self_attn.out = parts.linear_map(at + ".self_attn.o_proj", c.hidden_size, q_width, false);
    block.self_attn.options = attention_numbers(c, layer);
    block.self_attn.positions = parts.rotary_of(layer);
    block.post_attention_layernorm = parts.norm(at + ".post_attention_layernorm");
    block.mlp.gate_up_proj = parts.linear_map(at + ".mlp.gate_up_proj", 2 * c.intermediate_size, c.hidden_size, false);
    block.mlp.down_proj = parts.linear_map(at + ".mlp.down_proj", c.hidden_size, c.intermediate_size, false);
    block.mlp.gate = c.gate;
    return block;
  });
}

}  // namespace plumb::inline v0
