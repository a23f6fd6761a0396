// SPDX-License-Identifier: BSL-1.0
// CISPO: a policy gradient whose importance weights are cut, so that no token loses its gradient.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// Clips the importance weight instead of the update.
///
///   L_t = −w A log π(y_t) + β KL_t,   w = sg(min(max(ρ, 1 − ε), c)),   ρ = π(y_t)/π_old(y_t)     sg: no gradient
///
/// A `advantage`; c `clip_high`: the largest weight itself, not its distance from 1; ε `clip`: 1 for no lower bound; β
/// `kl_weight`; KL_t: estimate of KL(π‖π_ref) by `kl_estimator` [nats]. ∂L/∂log π = −wA, plus β times the estimator's
/// slope: where PPO has none, the rare tokens of a turn of thought still learn. The batch's loss is the mean over all
/// valid tokens of the optimiser step; its value says nothing by itself.
struct cispo {
  static constexpr const char* name = "cispo";
  static constexpr const char* paper = "MiniMax 2025, arXiv:2506.13585";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  double clip = 1, clip_high = 5, kl_weight = 0;
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k3;

  static constexpr void describe(auto& self, auto& about) {
    about("clip", self.clip, "how far below 1 the weight may go; 1: to 0", between(0, 1));
    about("clip_high", self.clip_high, "the largest weight", above(0));
    detail::describe_kl(self, about);
  }
  constexpr const char* conflict() const {
    return clip_high < 1 - clip ? "the largest weight, clip_high, is below the smallest, 1 - clip"
                                : detail::kl_conflict(*this);
  }
  /// What these parameters really read.
  constexpr need active_needs() const { return detail::policy_needs(*this); }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return detail::with_kl(*this, -weight(r) * r.advantage * r.logp, r);
  }
  /// w.
  template <class Real>
  constexpr double weight(const token_record<Real>& r) const {
    return clamp(ratio_of(value_of(r.logp) - r.old), 1 - clip, clip_high);
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const {
    const double ratio = importance_ratio(r);
    add("cispo_clip_ratio", ratio > clip_high && r.advantage > 0 ? 1 : 0);
    add("weight", weight(r));
  }
};

}  // namespace plumb::inline v0
