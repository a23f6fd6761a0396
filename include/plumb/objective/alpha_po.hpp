// SPDX-License-Identifier: BSL-1.0
// AlphaPO: SimPO with a reward whose shape is a parameter.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// SimPO with the log-probability bent: above α = 0 unlikely replies have steeper rewards, below it flatter ones.
///
///   R(y) = (1 − p^−α)/α,   p = exp(log π(y|x)/n)          α → 0: R = log p, which is SimPO
///   L    = −log σ(β (R(y_w) − R(y_l)) − γ)
///   ∂R/∂log π(y|x) = p^−α/n;   the rest as simpo
///
/// n: tokens of the reply; γ `gamma`: the margin, outside β. p^−α is held at e^80 at most, with
/// slope 0 beyond.
struct alpha_po {
  static constexpr const char* name = "alpha_po";
  static constexpr const char* paper = "Gupta et al. 2025, arXiv:2501.03884";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  double beta = 2;
  double gamma = 1;
  double alpha = 0.25;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "scale of the reward per token: 2 to 10", above(0));
    about("gamma", self.gamma, "by how much the chosen reply's reward is to be ahead", at_least(0));
    about("alpha", self.alpha, "shape of the reward; 0: SimPO's logarithm", any_number());
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(beta * (bend(r.chosen.mean_logp()) - bend(r.rejected.mean_logp())) - gamma);
  }

  /// Without a reference: β R.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * bend(reply.mean_logp()); }

  /// R, from log p.
  template <class Real>
  constexpr Real bend(const Real& mean) const {
    return alpha == 0 ? mean : -expm1(min(-alpha * mean, 80.0)) / alpha;
  }
};

}  // namespace plumb::inline v0
