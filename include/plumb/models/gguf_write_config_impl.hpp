// SPDX-License-Identifier: BSL-1.0
// A configuration in the metadata of a GGUF file, and whether llama.cpp computes it: part of the bodies of
// models/model_files.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf_write.hpp>
#include <plumb/models/expert_names.hpp>
#include <plumb/models/gguf_names.hpp>
#include <plumb/models/plain_names.hpp>
#include <plumb/models/rope_scaling.hpp>

namespace plumb::inline v0 {

namespace detail {

inline std::string checked_architecture(const model_config& c, const std::string& place) {
  const auto architecture = gguf_architecture(c.family);
  if (architecture.empty())
    throw error(errc::unsupported, place, join("models of the family \"", c.family, "\" are not written as GGUF"));
  return std::string(architecture);
}

/// Does llama.cpp give this family's layers their windows? Elsewhere it lets every token see all, so that a file says the
/// model truly up to the length of the smallest window only, and says that as its context.
inline bool gguf_says_windows(const model_config& c) {
  return c.family == "gemma2" || c.family == "gemma3_text" || c.family == "cohere2";
}
inline index_t gguf_positions(const model_config& c) {
  index_t out = c.max_positions;
  if (!gguf_says_windows(c))
    for (const index_t window : c.windows)
      if (window > 0) out = std::min(out, window);
  return out;
}

/// Refuses what llama.cpp's graph of a family has no place for, though tensors and metadata could say it.
inline void check_gguf_traits(const model_config& c, const std::string& place) {
  const auto refuse = [&](bool there, std::string_view what) {
    if (there)
      throw error(errc::unsupported, place,
                  join("llama.cpp computes models of the family \"", c.family, "\" without ", what));
  };
  const std::string& f = c.family;
  const bool cohere = f == "cohere" || f == "cohere2", biased = c.attention_bias || c.output_bias || c.mlp_bias;
  refuse((cohere || f.starts_with("gemma")) && !c.tied_head, "a head of its own (tie_word_embeddings: false)");
  refuse((f == "phi" || f == "stablelm" || f == "gpt_neox") && c.tied_head,
         "a head tied to the embedding (tie_word_embeddings: true)");
  refuse((cohere || f == "falcon" || f == "mpt" || f == "smollm3") && biased, "biases");
  refuse((f == "gpt_neox" || f == "starcoder2") && !(c.attention_bias && c.output_bias && c.mlp_bias),
         "maps that lack biases");
  refuse(f == "falcon" && !c.parallel, "parts one after the other");
  refuse(f == "cohere" && c.query_norms != query_norm::none && c.layers < 64,
         "norms of queries and keys in fewer than 64 layers (use_qk_norm)");
  const expert_config& e = c.experts;
  if (e.count > 0) {
    refuse(e.every != 1 || !e.dense_layers.empty(), "layers that have no mixture of experts");
    refuse(e.shared_weights != shares_expert_weights(f),
           e.shared_weights ? "dividing experts' weights by their sum (norm_topk_prob: true)"
                            : "experts' weights as they are (norm_topk_prob: false)");
    refuse((f == "qwen2_moe" || f == "olmoe") && c.tied_head, "a head of the embedding (tie_word_embeddings: true)");
    refuse(f == "qwen2_moe" && (!c.attention_bias || e.shared_width == 0),
           "these biases, or this shared expert, missing");
    refuse(c.query_clip > 0, "clipped queries, keys and values (clip_qkv)");
    refuse(f != "qwen2_moe" && biased, "biases");
    refuse(f == "olmoe" && c.kv_heads != c.heads, "keys that several queries share (num_key_value_heads)");
  }
  const auto how = c.rope_scaling.how;
  refuse((find_plain_names(c) || cohere || f == "stablelm") && how != rope_scaling::kind::none &&
             how != rope_scaling::kind::linear && how != rope_scaling::kind::yarn,
         "this scaling of rotary positions");
}

inline void write_gguf_rope_scaling(const model_config& c, const std::string& at, gguf_metadata& out,
                                    const std::string& place) {
  using kind = rope_scaling::kind;
  const rope_scaling& r = c.rope_scaling;
  if (r.how == kind::longrope && c.family == "phi3") {
    out.u32(at + "rope.scaling.original_context_length", r.positions);
    out.f32(at + "rope.scaling.attn_factor", make_rope_frequencies(c.turned_width(), c.rope_theta, r).magnitude);
  } else if (r.how == kind::dynamic || r.how == kind::longrope) {
    throw error(errc::unsupported, place, join(name(r.how), " scaling of rotary positions is not written as GGUF"));
  }
  if (r.how == kind::linear || r.how == kind::yarn) {
    out.text(at + "rope.scaling.type", name(r.how));
    out.f32(at + "rope.scaling.factor", r.factor);
  }
  if (r.how == kind::yarn) {
    const double usual = 0.1 * std::log(r.factor) + 1;
    if (!r.whole_ends)
      throw error(errc::unsupported, place, "YaRN with \"truncate\": false cannot be said in llama.cpp's files");
    out.u32(at + "rope.scaling.original_context_length", r.positions);
    out.f32(at + "rope.scaling.yarn_beta_fast", r.fast_turns);
    out.f32(at + "rope.scaling.yarn_beta_slow", r.slow_turns);
    if (r.magnitude > 0 && std::abs(r.magnitude / usual - 1) > 1e-6)
      out.f32(at + "rope.scaling.attn_factor", r.magnitude / usual);
  }
}

inline void write_gguf_config(const model_config& c, gguf_metadata& out, const std::string& place) {
  const std::string at = checked_architecture(c, place) + ".";
  check_gguf_traits(c, place);
  const std::string& f = c.family;
  const bool cohere = f == "cohere" || f == "cohere2", centred = find_plain_names(c) || cohere || f == "stablelm";
  const index_t window = c.windows.empty() ? 0 : *std::max_element(c.windows.begin(), c.windows.end());
  out.u32(at + "context_length", gguf_positions(c));
  out.u32(at + "embedding_length", c.hidden_size);
  out.u32(at + "block_count", c.layers);
  out.u32(at + "feed_forward_length", c.intermediate_size);
  out.u32(at + "attention.head_count", c.heads);
  out.u32(at + "attention.head_count_kv", c.kv_heads);
  out.f32(at + (centred ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"), c.norm_epsilon);
  out.u32(at + "vocab_size", c.vocabulary);
  if (c.alibi > 0) out.f32(at + "attention.max_alibi_bias", c.alibi);
  if (!c.turns_positions()) return;
  out.u32(at + "attention.key_length", c.head_width);
  out.u32(at + "attention.value_length", c.head_width);
  out.u32(at + "rope.dimension_count", c.turned_width());
  out.f32(at + "rope.freq_base", c.rope_theta);
  if (f == "phi3") out.u32(at + "attention.sliding_window", window);  // which llama.cpp reads and does not use
  if (gguf_says_windows(c)) out.u32(at + "attention.sliding_window", std::max<index_t>(1, window));
  if (f == "gemma2" || f == "gemma3_text") {
    if (c.attention_cap > 0) out.f32(at + "attn_logit_softcapping", c.attention_cap);
    if (c.logit_cap > 0) out.f32(at + "final_logit_softcapping", c.logit_cap);
    if (c.local_rope_theta > 0) out.f32(at + "rope.freq_base_swa", c.local_rope_theta);
  }
  if (const expert_config& e = c.experts; e.count > 0) {
    out.u32(at + "expert_count", e.count);
    out.u32(at + "expert_used_count", e.chosen);
    if (f.starts_with("qwen")) out.u32(at + "expert_feed_forward_length", e.width);
    if (e.shared_width > 0) out.u32(at + "expert_shared_feed_forward_length", e.shared_width);
  }
  if (f == "gpt_neox") out.boolean(at + "use_parallel_residual", c.parallel);
  if (f == "stablelm") out.boolean(at + "use_parallel_residual", false);
  if (cohere) out.f32(at + "logit_scale", c.logit_factor);
  if (f.starts_with("granite")) {
    const double size = c.query_scale > 0 ? c.query_scale : static_cast<double>(c.head_width);
    out.f32(at + "attention.scale", 1 / std::sqrt(size));
    out.f32(at + "logit_scale", 1 / c.logit_factor);
    out.f32(at + "embedding_scale", c.embedding_factor);
    out.f32(at + "residual_scale", c.residual_factor);
  }
  write_gguf_rope_scaling(c, at, out, place);
}

/// Reads the file's own account of a configuration and compares what the metadata could have lost.
inline void check_survives(const model_config& c, const model_config& back, const std::string& place) {
  const auto lost = [&](std::string_view what) {
    throw error(errc::unsupported, place, join("llama.cpp's files cannot say this model's ", what));
  };
  const auto same = [](double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); };
  if (gguf_says_windows(c) ? c.windows != back.windows : back.max_positions != gguf_positions(c))
    lost("windows of attention");
  for (index_t i = 0; i < c.layers; ++i)
    if (c.turns_positions() && c.turns(i) != back.turns(i)) lost("layers without positions");
  if (c.parallel != back.parallel || c.one_norm != back.one_norm) lost("order of attention and feed-forward part");
  if (!same(c.logit_factor, back.logit_factor) || !same(c.residual_factor, back.residual_factor))
    lost("factors of logits or residuals");
  expert_config experts = back.experts;
  experts.loss_factor = c.experts.loss_factor;  // which changes no answer
  if (c.experts != experts || !same(c.query_clip, back.query_clip)) lost("experts, or clipped queries");
  if (!same(c.alibi, back.alibi)) lost("slopes of attention");
  const auto scale = [](const model_config& x) { return x.query_scale > 0 ? x.query_scale : double(x.head_width); };
  if (!same(scale(c), scale(back))) lost("scale of attention's scores");
  if (c.query_norms != back.query_norms) lost("norms of queries and keys");
  if (c.gate != back.gate) lost("activation");
  if (!same(c.attention_cap, back.attention_cap) || !same(c.logit_cap, back.logit_cap)) lost("caps of logits");
  if (!same(c.embedding_factor, back.embedding_factor)) lost("scale of embeddings");
  if (!c.turns_positions()) return;
  bool turns = true;
  for (const index_t longest : {index_t{0}, c.max_positions}) {
    const auto f = make_rope_frequencies(c.turned_width(), c.rope_theta, c.rope_scaling, longest);
    const auto g = make_rope_frequencies(back.turned_width(), back.rope_theta, back.rope_scaling, longest);
    turns = turns && f.values.size() == g.values.size() && same(f.magnitude, g.magnitude);
    for (std::size_t i = 0; turns && i < f.values.size(); ++i) turns = std::abs(f.values[i] / g.values[i] - 1) < 1e-5;
  }
  if (!turns) lost("scaling of rotary positions");
  if (!same(c.rope_theta, back.rope_theta) || !same(c.local_rope_theta, back.local_rope_theta)) lost("rotary base");
}

}  // namespace detail

}  // namespace plumb::inline v0
