// SPDX-License-Identifier: BSL-1.0
// DPO with log-ratios per token: length gives no advantage.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// DPO on the mean log-ratio per token instead of the sum: long replies have no large gaps by their length alone.
///
///   Δ = lw/n_w − ll/n_l          nats per token
///   L = −log σ(βΔ)
///   ∂L/∂log π(y_w) = −β σ(−βΔ)/n_w,   ∂L/∂log π(y_l) = β σ(−βΔ)/n_l
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply; n_w, n_l: their tokens. Gaps are small, so β is
/// large: 2 to 10. At policy = reference L = ln 2.
struct dpo_norm {
  static constexpr const char* name = "dpo_norm";
  static constexpr const char* paper = "Lambert et al. 2024, arXiv:2411.15124 (length-normalised DPO)";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference | need::tokens;

  double beta = 5;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference, per token: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real chosen = r.chosen.log_ratio() / r.chosen.tokens;
    const Real rejected = r.rejected.log_ratio() / r.rejected.tokens;
    return -log_sigmoid(beta * (chosen - rejected));
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
