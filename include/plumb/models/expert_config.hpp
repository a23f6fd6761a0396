// SPDX-License-Identifier: BSL-1.0
// The numbers that fix a model's mixtures of experts.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// Which layers have a mixture of experts in place of one feed-forward part, and what it is made of.
struct expert_config {
  index_t count = 0;                    ///< experts in a layer; 0: the model has no mixtures
  index_t chosen = 0;                   ///< of them run for a token
  index_t width = 0;                    ///< inside an expert
  index_t shared_width = 0;             ///< inside the expert that every token has; 0: there is none
  bool shared_weights = true;           ///< the weights of the chosen ones are divided by their sum
  double loss_factor = 0.001;           ///< of the load-balancing loss, as the model's makers trained it
  index_t every = 1;                    ///< every how many layers there is one: those where (layer + 1) % every is 0
  std::vector<index_t> dense_layers{};  ///< that have none even so

  friend bool operator==(const expert_config&, const expert_config&) = default;
  /// Is there a mixture in this layer?
  [[nodiscard]] bool in(index_t layer) const noexcept {
    return count > 0 && (layer + 1) % every == 0 &&
           std::find(dense_layers.begin(), dense_layers.end(), layer) == dense_layers.end();
  }

  /// Throws errc::bad_model, naming `place`, for numbers that make no mixture.
  void check(const std::string& place) const {
    if (count == 0) return;
    const auto range = [&](std::string_view key, index_t found, index_t least, index_t most) {
      if (found < least || found > most)
        throw error(errc::bad_model, place,
                    join("\"", key, "\": expected a number from ", least, " to ", most, ", found ", found));
    };
    range("num_experts", count, 1, 65536);
    range("num_experts_per_tok", chosen, 1, count);
    range("moe_intermediate_size", width, 1, index_t{1} << 31);
    range("shared_expert_intermediate_size", shared_width, 0, index_t{1} << 31);
    range("decoder_sparse_step", every, 1, 10000);
    range("mlp_only_layers", static_cast<index_t>(dense_layers.size()), 0, 10000);
    if (!(loss_factor >= 0 && loss_factor < 1e30))
      throw error(errc::bad_model, place,
                  join("\"router_aux_loss_coef\": expected a number from 0, found ", loss_factor));
  }
};

}  // namespace plumb::inline v0
