// SPDX-License-Identifier: BSL-1.0
// Anchored preference optimisation, zero: for chosen replies that are better than what the model says now.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Raises the chosen reply and lowers the rejected one, each against the reference and not against each other.
///
///   L = 1 − σ(β lw) + σ(β ll)
///   ∂L/∂lw = −β s(β lw),   ∂L/∂ll = β s(β ll),   s(z) = σ(z) σ(−z)
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply, nats, sums over tokens. Slopes fade as a reply leaves
/// the reference. At policy = reference L = 1.
struct apo_zero {
  static constexpr const char* name = "apo_zero";
  static constexpr const char* paper = "D'Oosterlinck et al. 2024, arXiv:2408.06266";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real chosen_lost = sigmoid(-beta * r.chosen.log_ratio());  // 1 − σ, without cancellation
    return chosen_lost + sigmoid(beta * r.rejected.log_ratio());
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
