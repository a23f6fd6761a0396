// SPDX-License-Identifier: BSL-1.0
// The bodies of models/stacked_weight.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/models/expert_names.hpp>
#include <plumb/models/stacked_weight.hpp>

namespace plumb::inline v0 {

namespace detail {

/// "blocks.12.rest" → {"12", "rest"}; none for other names.
std::optional<std::pair<std::string_view, std::string_view>> block_of(std::string_view blocks, std::string_view name) {
  if (!name.starts_with(blocks) || !name.substr(blocks.size()).starts_with('.')) return std::nullopt;
  name.remove_prefix(blocks.size() + 1);
  const std::size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || name.find_first_not_of("0123456789") != dot) return std::nullopt;
  return std::pair(name.substr(0, dot), name.substr(dot + 1));
}

/// The extent of an expert's map.
shape expert_map_extent(const model_config& c, std::string_view map) {
  const bool attends = map == "q_proj" || map == "o_proj", back = map == "down_proj" || map == "w2" || map == "o_proj";
  const index_t inner = attends ? c.kv_heads * c.head_width : c.experts.width;
  return back ? shape{c.hidden_size, inner} : shape{inner, c.hidden_size};
}

index_t maps_in(const stack_of_maps& s) { return s.maps[1].empty() ? 1 : 2; }

}  // namespace detail

stack_table hub_stacks(const model_config& c) {
  const expert_names n = expert_names_of(c.family);
  if (c.family == "granitemoe")
    return {"model.layers",
            "model.layers",
            {{"block_sparse_moe.input_linear.weight", n.experts, {n.maps[0], n.maps[1]}},
             {"block_sparse_moe.output_linear.weight", n.experts, {n.maps[2], {}}}}};
  if (c.family == "jetmoe")
    return {"model.layers",
            "model.layers",
            {{"mlp.input_linear.weight", n.experts, {n.maps[0], n.maps[1]}},
             {"mlp.output_linear.weight", n.experts, {n.maps[2], {}}},
             {"self_attention.experts.input_linear.weight", "self_attention.experts", {"q_proj", {}}},
             {"self_attention.experts.output_linear.weight", "self_attention.experts", {"o_proj", {}}}}};
  if (c.family == "dbrx")
    return {"transformer.blocks",
            "transformer.blocks",
            {{"ffn.experts.mlp.w1", n.experts, {n.maps[0], {}}, true},
             {"ffn.experts.mlp.v1", n.experts, {n.maps[1], {}}, true},
             {"ffn.experts.mlp.w2", n.experts, {n.maps[2], {}}, true, true}}};
  return {};
}

stack_table gguf_stacks(const model_config& c) {
  if (c.experts.count == 0) return {};
  const expert_names n = expert_names_of(c.family);
  return {"blk",
          "model.layers",
          {{"ffn_gate_exps.weight", n.experts, {n.maps[0], {}}},
           {"ffn_up_exps.weight", n.experts, {n.maps[1], {}}},
           {"ffn_down_exps.weight", n.experts, {n.maps[2], {}}}}};
}

std::optional<stacked_place> find_in_stack(const model_config& c, const stack_table& table, std::string_view name) {
  if (table.stacks.empty() || !name.ends_with(".weight")) return std::nullopt;
  const auto block = detail::block_of(table.own_blocks, name);
  if (!block) return std::nullopt;
  for (const stack_of_maps& s : table.stacks) {
    const auto expert = detail::block_of(s.module, block->second);
    if (!expert || expert->first.size() > 6) continue;
    index_t e = 0;
    for (const char digit : expert->first) e = 10 * e + (digit - '0');
    for (index_t i = 0; i < detail::maps_in(s); ++i) {
      const std::string_view map = s.maps[static_cast<std::size_t>(i)];
      if (e >= c.experts.count || expert->second != join(map, ".weight")) continue;
      const shape own = detail::expert_map_extent(c, map);
      const shape lies = s.transposed ? shape{own.columns, own.rows} : own;
      const index_t rows = detail::maps_in(s) * lies.rows;
      stacked_place out{join(table.blocks, ".", block->first, ".", s.stored),
                        {c.experts.count, rows, lies.columns},
                        own,
                        (e * detail::maps_in(s) + i) * own.size(),
                        s.transposed};
      if (s.flat) out.whole = {c.experts.count * rows, lies.columns};
      return out;
    }
  }
  return std::nullopt;
}

std::vector<std::string> names_in_stack(const model_config& c, const stack_table& table, std::string_view stored) {
  std::vector<std::string> out;
  if (table.stacks.empty()) return out;
  const auto block = detail::block_of(table.blocks, stored);
  if (!block) return out;
  for (const stack_of_maps& s : table.stacks)
    if (block->second == s.stored)
      for (index_t e = 0; e < c.experts.count; ++e)
        for (index_t i = 0; i < detail::maps_in(s); ++i)
          out.push_back(join(table.own_blocks, ".", block->first, ".", s.module, ".", e, ".",
                             s.maps[static_cast<std::size_t>(i)], ".weight"));
  return out;
}

}  // namespace plumb::inline v0
