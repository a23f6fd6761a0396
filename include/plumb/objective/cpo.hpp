// SPDX-License-Identifier: BSL-1.0
// Contrastive preference optimisation: DPO with a uniform reference, and likelihood as the anchor.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the chosen reply more likely than the rejected one without a reference, and keeps it likely in itself.
///
///   Δ = log π(y_w|x) − log π(y_l|x)          nats, sums over tokens
///   L = −(1 − ε) log σ(βΔ) − ε log σ(−βΔ) − (λ/n_w) log π(y_w|x)
///   ∂L/∂Δ = β (σ(βΔ) − 1 + ε);   the last term adds −λ/n_w to ∂L/∂log π(y_w)
///
/// ε `label_smoothing`; λ `weight`; n_w: tokens of the chosen reply, so the last term is its mean per token.
struct cpo {
  static constexpr const char* name = "cpo";
  static constexpr const char* paper = "Xu et al. 2024, arXiv:2401.08417";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  double beta = 0.1;
  double label_smoothing = 0;
  double weight = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how steep the preference term is", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped", from_below(0, 0.5));
    about("weight", self.weight, "of the likelihood term", at_least(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real gap = beta * (r.chosen.logp - r.rejected.logp);
    return -(1 - label_smoothing) * log_sigmoid(gap) - label_smoothing * log_sigmoid(-gap) -
           weight * r.chosen.mean_logp();
  }

  /// Without a reference: β log π.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.logp; }

  constexpr void metrics(const pair_record<double>& r, auto& add) const { add("nll_loss", -r.chosen.mean_logp()); }
};

}  // namespace plumb::inline v0
