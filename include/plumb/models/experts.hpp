// SPDX-License-Identifier: BSL-1.0
// Models whose feed-forward parts are mixtures of experts, in some layers or in all: Mixtral, Qwen 1.5 and 3 MoE, OLMoE,
// Granite 3 MoE.
#pragma once

#include <optional>

#include <plumb/models/decoder_parts.hpp>
#include <plumb/models/expert_names.hpp>
#include <plumb/nn/block.hpp>
#include <plumb/nn/mixture_of_experts.hpp>

namespace plumb::inline v0 {

/// Either of the two kinds of feed-forward part.
template <class B, class T>
struct feed_forward {
  std::optional<gated_mlp<B, T>> dense;
  std::optional<mixture_of_experts<B, T, gated_mlp<B, T>>> sparse;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const { return sparse ? (*sparse)(p, x) : (*dense)(p, x); }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    if (self.dense) f("", *self.dense);
    if (self.sparse) f("", *self.sparse);
  }
};

template <class B, class T>
using expert_block = pre_norm_block<rms_norm<B, T>, self_attention<B, T>, feed_forward<B, T>>;
template <class B, class T>
using expert_decoder = transformer<B, T, expert_block<B, T>, rms_norm<B, T>>;

/// The mixture of the block `at`.
template <class B, class T, class Parts>
mixture_of_experts<B, T, gated_mlp<B, T>> make_mixture(const Parts& parts, const model_config& c,
                                                       const std::string& at) {
  const expert_names n = expert_names_of(c.family);
  mixture_of_experts<B, T, gated_mlp<B, T>> out;
  out.gate_name = n.router.substr(n.part.size() + 1);
  out.gate = parts.linear_map(detail::dotted(at, n.router), c.experts.count, c.hidden_size, false);
  out.chosen = c.experts.chosen;
  out.shared_weights = c.experts.shared_weights;
  for (index_t e = 0; e < c.experts.count; ++e)
    out.experts.push_back(
        parts.mlp(join(at, ".", n.experts, ".", e), c.experts.width, {n.maps[0], n.maps[1], n.maps[2]}));
  if (c.experts.shared_width > 0) {
    out.shared_expert = parts.mlp(join(at, ".", n.part, ".shared_expert"), c.experts.shared_width);
    out.shared_expert_gate = parts.linear_map(join(at, ".", n.part, ".shared_expert_gate"), 1, c.hidden_size, false);
  }
  return out;
}

/// Builds the composition that `c` describes; see build_llama.
template <class B, class T, class Make>
expert_decoder<B, T> build_expert_decoder(const device_ptr<B>& device, const model_config& c, index_t positions,
                                          Make&& make) {
  const decoder_parts<B, T, Make> parts(device, c, positions, make);
  const std::string_view part = expert_names_of(c.family).part;
  return parts.template decoder<expert_decoder<B, T>>([&](const std::string& at, index_t layer) {
    expert_block<B, T> block{parts.norm(at + ".input_layernorm"),
                             parts.attention(at + ".self_attn", layer),
                             parts.norm(at + ".post_attention_layernorm"),
                             {},
                             c.residual_factor,
                             {.mlp = part}};
    if (c.experts.in(layer))
      block.mlp.sparse = make_mixture<B, T>(parts, c, at);
    else
      block.mlp.dense = parts.mlp(detail::dotted(at, part));
    return block;
  });
}

}  // namespace plumb::inline v0
