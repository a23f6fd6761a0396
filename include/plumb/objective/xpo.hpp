// SPDX-License-Identifier: BSL-1.0
// Exploratory preference optimisation: DPO that leaves what the reference would say.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Which reply of a pair the reference sampled.
enum class reference_reply { chosen, rejected, both };
inline constexpr const char* reference_reply_words[] = {"chosen", "rejected", "both"};

/// DPO on pairs that are sampled while training, with a bonus for exploration.
///
///   L = −log σ(βΔ) + α Σ log π(y|x) over the replies y that the reference sampled          in nats, sums over tokens
///   Δ = (log π(y_w|x) − log π_ref(y_w|x)) − (log π(y_l|x) − log π_ref(y_l|x))
///
/// w, l: chosen, rejected; β `beta`; α `alpha`; `explored`: which replies the reference sampled. ∂L/∂log π(y_w) =
/// −β σ(−βΔ), plus α where it is explored; of y_l the opposite sign, plus α. α = 0 is dpo.
struct xpo {
  static constexpr const char* name = "xpo";
  static constexpr const char* paper = "Xie et al. 2024, arXiv:2405.21046";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;
  double beta = 0.1, alpha = 1e-5;
  reference_reply explored = reference_reply::rejected;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("alpha", self.alpha, "weight of the exploration bonus", at_least(0));
    about("explored", self.explored, "which reply the reference sampled", one_of(reference_reply_words));
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    Real loss = -log_sigmoid(beta * (r.chosen.log_ratio() - r.rejected.log_ratio()));
    if (explored != reference_reply::rejected) loss += alpha * r.chosen.logp;
    if (explored != reference_reply::chosen) loss += alpha * r.rejected.logp;
    return loss;
  }
  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
