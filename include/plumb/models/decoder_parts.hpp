// SPDX-License-Identifier: BSL-1.0
// The parts that most families share, made from a configuration: maps, norms, attention, the gated feed-forward part.
#pragma once

#include <cmath>
#include <memory>
#include <string>

#include <plumb/models/config.hpp>
#include <plumb/models/make_rotary.hpp>
#include <plumb/nn/attention.hpp>
#include <plumb/nn/mlp.hpp>
#include <plumb/nn/norm.hpp>
#include <plumb/nn/transformer.hpp>

namespace plumb::inline v0 {

/// The fixed numbers of attention in a layer.
inline attention_options attention_numbers(const model_config& c, index_t layer) {
  const double size = c.query_scale > 0 ? c.query_scale : static_cast<double>(c.head_width);
  return {.heads = c.heads,
          .kv_heads = c.kv_heads,
          .head_width = c.head_width,
          .scale = 1 / std::sqrt(size),
          .window = c.window(layer),
          .cap = c.attention_cap,
          .alibi = c.alibi,
          .both_ways = c.encodes()};
}

/// A map whose weight and bias `make(name, shape)` gives.
template <class B, class T, class Make>
linear<B, T> make_linear(Make&& make, const std::string& name, index_t outputs, index_t inputs, bool bias) {
  linear<B, T> out;
  out.weight = make(name + ".weight", shape{outputs, inputs});
  if (bias) out.bias = make(name + ".bias", shape{1, outputs});
  return out;
}

/// Makes named parts. `make(name, shape)` gives each weight: read from files, or random.
template <class B, class T, class Make>
class decoder_parts {
 public:
  using rotary_ptr = std::shared_ptr<const rotary<B, T>>;

  /// `positions`: the longest path to prepare rotary tables for.
  decoder_parts(const device_ptr<B>& device, const model_config& c, index_t positions, Make& make)
      : c_(c), make_(make), device_(device), positions_(positions) {}

  weight_ptr<B, T> weight(const std::string& name, index_t rows, index_t columns) const {
    return make_(name + ".weight", shape{rows, columns});
  }
  linear<B, T> linear_map(const std::string& name, index_t outputs, index_t inputs, bool bias) const {
    return make_linear<B, T>(make_, name, outputs, inputs, bias);
  }
  rms_norm<B, T> norm(const std::string& name) const { return norm(name, c_.hidden_size); }
  rms_norm<B, T> norm(const std::string& name, index_t width) const {
    return {weight(name, 1, width), c_.norm_epsilon, c_.norm_offset};
  }
  /// A layer norm, without bias unless the family has them.
  layer_norm<B, T> centred_norm(const std::string& name) const {
    layer_norm<B, T> out{weight(name, 1, c_.hidden_size), nullptr, c_.norm_epsilon};
    if (c_.norm_bias) out.bias = make_(name + ".bias", shape{1, c_.hidden_size});
    return out;
  }
  /// The tables of a layer; null where its tokens have no positions. They are made when they are first asked for, after the layer's weights, whose shapes show that
  /// the width of a head is no damaged number.
  rotary_ptr rotary_of(index_t layer) const {
    if (!c_.turns(layer)) return nullptr;
    const bool own = c_.window(layer) > 0 && c_.local_rope_theta > 0;
    rotary_ptr& table = own ? near_ : far_;
    if (!table)
      table = own ? make_rotary<B, T>(device_, c_, positions_, c_.local_rope_theta, {})
                  : make_rotary<B, T>(device_, c_, positions_, c_.rope_theta, c_.rope_scaling);
    return table;
  }
  self_attention<B, T> attention(const std::string& at, index_t layer) const {
    const index_t q_width = c_.heads * c_.head_width, kv_width = c_.kv_heads * c_.head_width;
    self_attention<B, T> a;
    a.q_proj = linear_map(at + ".q_proj", q_width, c_.hidden_size, c_.attention_bias);
    a.k_proj = linear_map(at + ".k_proj", kv_width, c_.hidden_size, c_.attention_bias);
    a.v_proj = linear_map(at + ".v_proj", kv_width, c_.hidden_size, c_.attention_bias);
    a.o_proj = linear_map(at + ".o_proj", c_.hidden_size, q_width, c_.output_bias);
    if (c_.query_norms == query_norm::own_heads) {
      a.q_heads_norm = heads_layer_norm<B, T>{weight(at + ".q_norm", c_.heads, c_.head_width), c_.norm_epsilon};
      a.k_heads_norm = heads_layer_norm<B, T>{weight(at + ".k_norm", c_.kv_heads, c_.head_width), c_.norm_epsilon};
    } else if (c_.query_norms != query_norm::none) {
      const bool each = c_.query_norms == query_norm::each_head;
      a.q_norm = norm(at + ".q_norm", each ? c_.head_width : q_width);
      a.k_norm = norm(at + ".k_norm", each ? c_.head_width : kv_width);
    }
    a.options = attention_numbers(c_, layer);
    a.clip = c_.query_clip;
    a.positions = rotary_of(layer);
    return a;
  }
  gated_mlp<B, T> mlp(const std::string& at) const { return mlp(at, c_.intermediate_size); }
  gated_mlp<B, T> mlp(const std::string& at, index_t inner, const gated_names& names = {}) const {
    gated_mlp<B, T> m;
    m.names = names;
    m.gate_proj = linear_map(detail::dotted(at, names.gate), inner, c_.hidden_size, c_.mlp_bias);
    m.up_proj = linear_map(detail::dotted(at, names.up), inner, c_.hidden_size, c_.mlp_bias);
    m.down_proj = linear_map(detail::dotted(at, names.down), c_.hidden_size, inner, c_.mlp_bias);
    m.gate = c_.gate;
    return m;
  }
  /// Embedding, last norm and head around blocks that `block(name, number)` makes.
  template <class Decoder, class Block>
  Decoder decoder(Block&& block, const decoder_names& names = {}) const {
    Decoder net;
    net.names = names;
    net.embed_tokens = {weight(std::string(names.tokens), c_.vocabulary, c_.hidden_size), c_.embedding_factor};
    for (index_t i = 0; i < c_.layers; ++i) net.layers.push_back(block(join(names.blocks, ".", i), i));
    if constexpr (std::is_same_v<decltype(net.norm), rms_norm<B, T>>)
      net.norm = norm(std::string(names.norm));
    else
      net.norm = centred_norm(std::string(names.norm));
    net.lm_head.weight = c_.tied_head ? net.embed_tokens.weight : weight("lm_head", c_.vocabulary, c_.hidden_size);
    net.logit_cap = c_.logit_cap;
    net.logit_factor = c_.logit_factor;
    return net;
  }

 private:
  const model_config& c_;
  Make& make_;
  const device_ptr<B>& device_;
  index_t positions_;
  mutable rotary_ptr far_, near_;  ///< of layers that see all, and of those with a window
};

}  // namespace plumb::inline v0
