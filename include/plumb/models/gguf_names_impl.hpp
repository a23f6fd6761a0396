// SPDX-License-Identifier: BSL-1.0
// The bodies of models/gguf_names.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/models/expert_names.hpp>
#include <plumb/models/gguf_names.hpp>
#include <plumb/models/plain_names.hpp>

namespace plumb::inline v0 {

namespace detail {

using name_pair = std::pair<std::string_view, std::string_view>;  // hub, GGUF

inline constexpr name_pair gguf_families[] = {{"llama", "llama"},
                                              {"mistral", "llama"},
                                              {"qwen2", "qwen2"},
                                              {"qwen3", "qwen3"},
                                              {"gemma", "gemma"},
                                              {"gemma2", "gemma2"},
                                              {"gemma3_text", "gemma3"},
                                              {"olmo2", "olmo2"},
                                              {"gpt2", "gpt2"},
                                              {"phi3", "phi3"},
                                              {"phi", "phi2"},
                                              {"gpt_neox", "gptneox"},
                                              {"falcon", "falcon"},
                                              {"mpt", "mpt"},
                                              {"starcoder2", "starcoder2"},
                                              {"stablelm", "stablelm"},
                                              {"granite", "granite"},
                                              {"smollm3", "smollm3"},
                                              {"cohere", "command-r"},
                                              {"cohere2", "cohere2"},
                                              {"mixtral", "llama"},
                                              {"qwen2_moe", "qwen2moe"},
                                              {"qwen3_moe", "qwen3moe"},
                                              {"olmoe", "olmoe"},
                                              {"granitemoe", "granitemoe"}};

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
// Phi-3's fused maps; "ffn_up" is the gate and the map up, in this order.
inline constexpr name_pair phi3_layer_names[] = {{"self_attn.qkv_proj", "attn_qkv"}, {"mlp.gate_up_proj", "ffn_up"}};

// Of mixtures, beside the experts, which lie in stacks (gguf_stacks), and the router, whose name is the family's.
inline constexpr name_pair shared_expert_names[] = {{"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
                                                    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
                                                    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
                                                    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"}};

inline std::string_view other_name(std::span<const name_pair> names, std::string_view name, bool to_gguf) noexcept {
  for (const auto& [hub, gguf] : names)
    if (name == (to_gguf ? hub : gguf)) return to_gguf ? gguf : hub;
  return {};
}

inline std::string joined(std::string_view part, std::string_view name) {
  return part.empty() || name.empty() ? std::string(name) : join(part, ".", name);
}

/// Translates one of the parts outside of blocks, or in a block, that models/plain_names.hpp gives a family's names for.
inline std::string plain_part(const plain_names& n, const model_config& c, std::string_view name, bool in_block,
                              bool to_gguf) {
  const bool turned = c.family == "falcon" && c.parallel && !c.one_norm;  // what both call the first norm differs
  const std::pair<std::string, std::string_view> outside[] = {
      {std::string(n.embedding), "token_embd"},
      {std::string(n.places.substr(0, n.places.rfind('.'))), "position_embd"},
      {std::string(n.last_norm), "output_norm"},
      {"lm_head", "output"}};
  const std::pair<std::string, std::string_view> inside[] = {
      {std::string(n.attention_norm), turned ? "attn_norm_2" : "attn_norm"},
      {std::string(n.mlp_norm), turned ? "attn_norm" : "ffn_norm"},
      {joined(n.attention, n.maps.all), "attn_qkv"},
      {joined(n.attention, n.maps.q), "attn_q"},
      {joined(n.attention, n.maps.k), "attn_k"},
      {joined(n.attention, n.maps.v), "attn_v"},
      {joined(n.attention, n.maps.out), "attn_output"},
      {joined(n.mlp, n.up), "ffn_up"},
      {joined(n.mlp, n.down), "ffn_down"}};
  const auto find = [&](const auto& list) {
    for (const auto& [hub, gguf] : list)
      if (!hub.empty() && name == (to_gguf ? std::string_view(hub) : gguf)) return to_gguf ? std::string(gguf) : hub;
    return std::string();
  };
  return in_block ? find(inside) : find(outside);
}

/// Translates prefix + number + part + ".weight" or ".bias".
inline std::optional<std::string> translate(const model_config& c, std::string_view name, bool to_gguf) {
  const plain_names* const plain = find_plain_names(c);
  const std::string hub_layers = join(plain ? plain->blocks : "model.layers", "."), gguf_layers = "blk.";
  std::string_view end;
  for (const std::string_view e : {".weight", ".bias"})
    if (name.ends_with(e)) end = e;
  if (end.empty()) return std::nullopt;
  name.remove_suffix(end.size());
  const std::string &from = to_gguf ? hub_layers : gguf_layers, &to = to_gguf ? gguf_layers : hub_layers;
  if (!name.starts_with(from)) {
    const auto found =
        plain ? plain_part(*plain, c, name, false, to_gguf) : std::string(other_name(top_names, name, to_gguf));
    return found.empty() ? std::nullopt : std::optional(join(found, end));
  }
  name.remove_prefix(from.size());
  const std::size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || name.find_first_not_of("0123456789") != dot) return std::nullopt;
  const std::string_view number = name.substr(0, dot), part = name.substr(dot + 1);
  std::string found;
  if (plain) {
    found = plain_part(*plain, c, part, true, to_gguf);
  } else {
    if (c.family == "phi3") found = other_name(phi3_layer_names, part, to_gguf);
    if (c.experts.count > 0) {
      const name_pair router[] = {{expert_names_of(c.family).router, "ffn_gate_inp"}};
      found = other_name(router, part, to_gguf);
      if (found.empty()) found = other_name(shared_expert_names, part, to_gguf);
    }
    if (found.empty()) found = other_name(layer_names, part, to_gguf);
    if (found.empty())
      found = c.norms == norm_place::before ? other_name(norms_before, part, to_gguf)
                                            : other_name(norms_after, part, to_gguf);
  }
  return found.empty() ? std::nullopt : std::optional(join(to, number, ".", found, end));
}

/// Moves blocks of `height` rows: block i of the result is block from(i) of what was there.
template <class Thing, class From>
void move_rows(std::span<Thing> numbers, index_t rows, index_t height, From&& from) {
  const auto size = numbers.size() / static_cast<std::size_t>(rows) * static_cast<std::size_t>(height);
  const std::vector<Thing> before(numbers.begin(), numbers.end());
  for (index_t i = 0; i < rows / height; ++i)
    std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(size) * static_cast<std::ptrdiff_t>(from(i)), size,
                numbers.begin() + static_cast<std::ptrdiff_t>(size) * static_cast<std::ptrdiff_t>(i));
}

/// Between llama.cpp's order of a head's rows (pairs side by side) and the hub's (halves).
template <class Thing>
void reorder_heads(std::span<Thing> numbers, index_t rows, index_t heads, bool to_gguf) {
  if (heads < 1 || rows < 1 || rows % (2 * heads) != 0) return;
  const index_t width = rows / heads, half = width / 2;
  move_rows(numbers, rows, 1, [&](index_t i) {
    const index_t first = i / width * width, at = i % width;
    return first + (to_gguf ? at % 2 * half + at / 2 : at % half * 2 + at / half);
  });
}

/// Between all queries, all keys, all values and the hub's [key][its queries, the key, its value].
template <class Thing>
void reorder_groups(const model_config& c, std::span<Thing> numbers, index_t rows, bool to_gguf) {
  if (c.kv_heads < 1 || rows != (c.heads + 2 * c.kv_heads) * c.head_width) return;
  const index_t each = c.heads / c.kv_heads, group = each + 2;
  move_rows(numbers, rows, c.head_width, [&](index_t i) {
    if (to_gguf) {
      if (i < c.heads) return i / each * group + i % each;
      const index_t k = i - c.heads;
      return k % c.kv_heads * group + each + k / c.kv_heads;
    }
    const index_t of = i / group, at = i % group;
    return at < each ? of * each + at : c.heads + (at - each) * c.kv_heads + of;
  });
}

/// Both kinds of `reorder_rows`: a row is a stretch of equal things, whatever they are.
template <class Thing>
void reorder_stretches(const model_config& c, std::string_view name, std::span<Thing> numbers, index_t rows,
                       bool to_gguf) {
  const auto is = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  for (const std::string_view family : {"llama", "mistral", "mixtral", "granite", "granitemoe", "smollm3"})
    if (c.family == family && (is(".q_proj.") || is(".k_proj.")))
      reorder_heads(numbers, rows, is(".q_proj.") ? c.heads : c.kv_heads, to_gguf);
  if ((c.family == "gpt_neox" || c.family == "falcon") && is(".query_key_value."))
    reorder_groups(c, numbers, rows, to_gguf);
}

}  // namespace detail

std::string_view gguf_architecture(std::string_view family) noexcept {
  return detail::other_name(detail::gguf_families, family, true);
}
std::string_view family_of_gguf(std::string_view architecture) noexcept {
  return detail::other_name(detail::gguf_families, architecture, false);
}
std::string gguf_architectures() {
  std::string out;
  for (const auto& [hub, gguf] : detail::gguf_families)
    if (detail::other_name(detail::gguf_families, gguf, false) == hub) out += join(out.empty() ? "" : ", ", gguf);
  return out;
}
std::optional<std::string> gguf_name(const model_config& config, std::string_view name) {
  return detail::translate(config, name, true);
}
std::optional<std::string> hub_name(const model_config& config, std::string_view name) {
  return detail::translate(config, name, false);
}

void reorder_rows(const model_config& c, std::string_view name, std::span<float> numbers, index_t rows, bool to_gguf) {
  detail::reorder_stretches(c, name, numbers, rows, to_gguf);
}
void reorder_rows(const model_config& c, std::string_view name, std::span<std::uint8_t> row_bytes, index_t rows,
                  bool to_gguf) {
  detail::reorder_stretches(c, name, row_bytes, rows, to_gguf);
}

bool has_offset_inside(const model_config& config, std::string_view name) noexcept {
  return config.norm_offset != 0 && name.ends_with("norm.weight");
}

}  // namespace plumb::inline v0
