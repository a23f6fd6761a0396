// SPDX-License-Identifier: BSL-1.0
// What a family calls the parts of its mixtures of experts.
#pragma once

#include <array>
#include <string_view>

namespace plumb::inline v0 {

/// Names in a block ("mlp"), of the hub's files where these have a tensor for each map.
struct expert_names {
  std::string_view part = "mlp";                                              ///< the mixture
  std::string_view router = "mlp.gate";                                       ///< in the mixture
  std::string_view experts = "mlp.experts";                                   ///< the list of experts
  std::array<std::string_view, 3> maps{"gate_proj", "up_proj", "down_proj"};  ///< of an expert: gate, up, down
};
constexpr expert_names expert_names_of(std::string_view family) noexcept {
  if (family == "mixtral")
    return {"block_sparse_moe", "block_sparse_moe.gate", "block_sparse_moe.experts", {"w1", "w3", "w2"}};
  if (family == "granitemoe") return {"block_sparse_moe", "block_sparse_moe.router.layer", "block_sparse_moe.experts"};
  if (family == "jetmoe") return {"mlp", "mlp.router.layer", "mlp.experts"};
  if (family == "dbrx") return {"ffn", "ffn.router.layer", "ffn.experts"};
  return {};
}

/// Do this family's models have mixtures of experts?
constexpr bool has_mixtures(std::string_view family) noexcept {
  for (const std::string_view each : {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe", "dbrx", "jetmoe"})
    if (family == each) return true;
  return false;
}
/// Does llama.cpp divide the chosen experts' weights by their sum in this family? Its files do not say it.
constexpr bool shares_expert_weights(std::string_view family) noexcept {
  return family != "qwen2_moe" && family != "olmoe";
}
/// The factor of the load-balancing loss with which this family is trained, where files do not say it.
constexpr double usual_loss_factor(std::string_view family) noexcept {
  return family == "olmoe" || family == "dbrx" || family == "jetmoe" ? 0.01 : 0.001;
}

}  // namespace plumb::inline v0
