// SPDX-License-Identifier: BSL-1.0
// DiscoPOP: a blend of logistic and exponential loss that was found by a language model.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Uses the logistic loss where a pair is ranked wrongly and the exponential one where it is ranked well.
///
///   z = β (lw − ll),   m = σ(z/τ)
///   L = −(1 − m) log σ(z) + m e^−z
///   ∂L/∂z = −(1 − m) σ(−z) − m e^−z + m (1 − m) (log σ(z) + e^−z)/τ
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply, nats, sums over tokens; τ `tau`: how sharp the change
/// is, up to 1, where m e^−z stays bounded. The last term of the slope makes it positive around z = 0, so the loss is
/// not convex. At policy = reference L = ½ (1 + ln 2).
struct discopop {
  static constexpr const char* name = "discopop";
  static constexpr const char* paper = "Lu et al. 2024, arXiv:2406.08414";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;
  double tau = 0.05;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("tau", self.tau, "width of the change from one loss to the other", above_up_to(0, 1));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real gap = beta * (r.chosen.log_ratio() - r.rejected.log_ratio());
    const Real exponential = exp(log_sigmoid(gap / tau) - gap);  // m e^−z in one exponent: never 0 · ∞
    return exponential - sigmoid(-gap / tau) * log_sigmoid(gap);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
