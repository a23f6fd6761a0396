// SPDX-License-Identifier: BSL-1.0
// DPO for labels that are known to be partly wrong: an unbiased estimate of the loss on clean labels.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Learns from pairs of which a known share is labelled the wrong way round, as if every label were right.
///
///   Δ = lw − ll,   lw, ll = log π/π_ref of the chosen and the rejected reply          in nats, sums over tokens
///   L = [−(1 − ε) log σ(βΔ) + ε log σ(−βΔ)] / (1 − 2ε)
///   ∂L/∂Δ = −β [(1 − ε) σ(−βΔ) + ε σ(βΔ)] / (1 − 2ε)
///
/// ε `label_smoothing`: the share of swapped labels; at 0 this is dpo. Over labels that are swapped with probability
/// ε the mean of L is the DPO loss on the true ones. The slope never turns round: L is unbounded below, and falls at
/// −βε/(1 − 2ε) on settled pairs. At policy = reference L = ln 2.
struct robust_dpo {
  static constexpr const char* name = "robust_dpo";
  static constexpr const char* paper = "Chowdhury et al. 2024, arXiv:2403.00409";
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
    return (label_smoothing * log_sigmoid(-gap) - (1 - label_smoothing) * log_sigmoid(gap)) / (1 - 2 * label_smoothing);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
