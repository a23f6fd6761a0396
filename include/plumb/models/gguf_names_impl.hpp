// SPDX-License-Identifier: BSL-1.0
// The bodies of models/gguf_names.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <array>
#include <span>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/models/gguf_names.hpp>

namespace plumb::inline v0 {

namespace detail {

using name_pair = std::pair<std::string_view, std::string_view>;  // hub, GGUF

inline constexpr name_pair gguf_families[] = {
    {"llama", "llama"},   {"mistral", "llama"},      {"qwen2", "qwen2"}, {"qwen3", "qwen3"}, {"gemma", "gemma"},
    {"gemma2", "gemma2"}, {"gemma3_text", "gemma3"}, {"olmo2", "olmo2"}, {"gpt2", "gpt2"},   {"phi3", "phi3"}};

inline constexpr name_pair top_names[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
inline constexpr name_pair layer_names[] = {{"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
                                            {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
                                            {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},
                                            {"self_attn.k_norm", "attn_k_norm"}, {"mlp.gate_proj", "ffn_gate"},
                                            {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"}};
// Where a block normalises before its parts only, the second norm belongs to the feed-forward part.
inline constexpr name_pair norms_before[] = {{"post_attention_layernorm", "ffn_norm"}};
inline constexpr name_pair norms_after[] = {{"post_attention_layernorm", "post_attention_norm"},
                                            {"pre_feedforward_layernorm", "ffn_norm"},
                                            {"post_feedforward_layernorm", "post_ffw_norm"}};
inline constexpr name_pair gpt2_top_names[] = {{"transformer.wte", "token_embd"},
                                               {"transformer.wpe", "position_embd"},
                                               {"transformer.ln_f", "output_norm"},
                                               {"lm_head", "output"}};
inline constexpr name_pair gpt2_layer_names[] = {{"ln_1", "attn_norm"},          {"attn.c_attn", "attn_qkv"},
                                                 {"attn.c_proj", "attn_output"}, {"ln_2", "ffn_norm"},
                                                 {"mlp.c_fc", "ffn_up"},         {"mlp.c_proj", "ffn_down"}};

// Phi-3's fused maps; "ffn_up" is the gate and the map up, in this order.
inline constexpr name_pair phi3_layer_names[] = {{"self_attn.qkv_proj", "attn_qkv"}, {"mlp.gate_up_proj", "ffn_up"}};

inline std::string_view other_name(std::span<const name_pair> names, std::string_view name, bool to_gguf) noexcept {
  for (const auto& [hub, gguf] : names)
    if (name == (to_gguf ? hub : gguf)) return to_gguf ? gguf : hub;
  return {};
}

/// Translates prefix + number + part + ".weight" or ".bias".
inline std::optional<std::string> translate(const model_config& c, std::string_view name, bool to_gguf) {
  const bool gpt2 = c.family == "gpt2";
  const std::string_view hub_layers = gpt2 ? "transformer.h." : "model.layers.", gguf_layers = "blk.";
  std::string_view end;
  for (const std::string_view e : {".weight", ".bias"})
    if (name.ends_with(e)) end = e;
  if (end.empty()) return std::nullopt;
  name.remove_suffix(end.size());
  const std::string_view from = to_gguf ? hub_layers : gguf_layers, to = to_gguf ? gguf_layers : hub_layers;
  if (!name.starts_with(from)) {
    const auto found = gpt2 ? other_name(gpt2_top_names, name, to_gguf) : other_name(top_names, name, to_gguf);
    return found.empty() ? std::nullopt : std::optional(join(found, end));
  }
  name.remove_prefix(from.size());
  const std::size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || name.find_first_not_of("0123456789") != dot) return std::nullopt;
  const std::string_view number = name.substr(0, dot), part = name.substr(dot + 1);
  std::string_view found;
  if (gpt2) {
    found = other_name(gpt2_layer_names, part, to_gguf);
  } else {
    if (c.family == "phi3") found = other_name(phi3_layer_names, part, to_gguf);
    if (found.empty()) found = other_name(layer_names, part, to_gguf);
    if (found.empty())
      found = c.norms == norm_place::before ? other_name(norms_before, part, to_gguf)
                                            : other_name(norms_after, part, to_gguf);
  }
  return found.empty() ? std::nullopt : std::optional(join(to, number, ".", found, end));
}

}  // namespace detail

std::string_view gguf_architecture(std::string_view family) noexcept {
  return detail::other_name(detail::gguf_families, family, true);
}
std::string_view family_of_gguf(std::string_view architecture) noexcept {
  return detail::other_name(detail::gguf_families, architecture, false);
}
std::optional<std::string> gguf_name(const model_config& config, std::string_view name) {
  return detail::translate(config, name, true);
}
std::optional<std::string> hub_name(const model_config& config, std::string_view name) {
  return detail::translate(config, name, false);
}

index_t interleaved_heads(const model_config& config, std::string_view name) noexcept {
  if (config.family != "llama" && config.family != "mistral") return 0;
  if (name.find(".q_proj.") != std::string_view::npos) return config.heads;
  if (name.find(".k_proj.") != std::string_view::npos) return config.kv_heads;
  return 0;
}

bool has_offset_inside(const model_config& config, std::string_view name) noexcept {
  return config.norm_offset != 0 && name.ends_with("norm.weight");
}

}  // namespace plumb::inline v0
