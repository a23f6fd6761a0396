// SPDX-License-Identifier: BSL-1.0
// Direct preference optimisation, with the conservative variant for noisy labels.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the chosen reply more likely than the rejected one, relative to the reference, by logistic regression.
///
///   Δ = (log π(y_w|x) − log π_ref(y_w|x)) − (log π(y_l|x) − log π_ref(y_l|x))      in nats, sums over tokens
///   L = −(1 − ε) log σ(βΔ) − ε log σ(−βΔ)
///
/// w, l: chosen, rejected; β `beta`; ε `label_smoothing`, the share of pairs that are labelled the wrong way round
/// (0: plain DPO; above: cDPO). ∂L/∂Δ = β (σ(βΔ) − 1 + ε). At policy = reference L = ln 2.
struct dpo {
  static constexpr const char* name = "dpo";
  static constexpr const char* paper = "Rafailov et al. 2023, arXiv:2305.18290; cDPO: Mitchell 2023";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;
  double label_smoothing = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped", from_below(0, 0.5));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real gap = beta * (r.chosen.log_ratio() - r.rejected.log_ratio());
    return -(1 - label_smoothing) * log_sigmoid(gap) - label_smoothing * log_sigmoid(-gap);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
