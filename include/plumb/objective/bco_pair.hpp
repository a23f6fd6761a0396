// SPDX-License-Identifier: BSL-1.0
// Binary classifier optimisation on pairs: each reply is classified by itself.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Trains the implicit reward to be positive for chosen replies and negative for rejected ones.
///
///   L = −log σ(β lw) − log σ(−β ll)
///   ∂L/∂lw = −β σ(−β lw),   ∂L/∂ll = β σ(β ll)
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply, nats, sums over tokens. It bounds DPO's loss from
/// above. No reward shift δ; `bco` has one. At policy = reference L = 2 ln 2.
struct bco_pair {
  static constexpr const char* name = "bco_pair";
  static constexpr const char* paper = "Jung et al. 2024, arXiv:2404.04656";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(beta * r.chosen.log_ratio()) - log_sigmoid(-beta * r.rejected.log_ratio());
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
