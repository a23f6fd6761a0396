// SPDX-License-Identifier: BSL-1.0
// SimPO: the reward is the mean log-probability per token, as when generating; no reference, and a margin.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the chosen reply more likely per token than the rejected one, by a margin.
///
///   L = −log σ(β (c − r) − γ),   c = log π(y_w|x)/n_w,   r = log π(y_l|x)/n_l          nats per token
///   ∂L/∂log π(y_w) = −β (1 − p)/n_w,   ∂L/∂log π(y_l) = β (1 − p)/n_l,   p = σ(β (c − r) − γ)
///
/// n_w, n_l: tokens of the replies; γ `gamma`: the margin, outside β (the margin in nats per token is γ/β).
struct simpo {
  static constexpr const char* name = "simpo";
  static constexpr const char* paper = "Meng et al. 2024, arXiv:2405.14734";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  double beta = 2;
  double gamma = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "scale of the reward per token: 2 to 10", above(0));
    about("gamma", self.gamma, "by how much the chosen reply's reward is to be ahead", at_least(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(beta * (r.chosen.mean_logp() - r.rejected.mean_logp()) - gamma);
  }

  /// Without a reference: β log π per token.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.mean_logp(); }
};

}  // namespace plumb::inline v0
