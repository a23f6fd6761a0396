// SPDX-License-Identifier: BSL-1.0
// DAPO: GRPO with more room upwards and every token of the step counting equally.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// GRPO with its clipping decoupled and its mean over tokens.
///
///   L_t = −min(ρA, clip(ρ, 1 − ε, 1 + ε_h) A) + β KL_t,   ρ = π(y_t)/π_old(y_t)
///
/// A `advantage`; ε `clip`; ε_h `clip_high`, larger than ε so that rare tokens can grow; β `kl_weight`; KL_t: estimate
/// of KL(π‖π_ref) by `kl_estimator` [nats]. Slopes as grpo's. ρ is held at e^40. The batch's loss is the mean over all
/// valid tokens of the optimiser step, so a long reply counts as much as its tokens. The paper's other parts belong to
/// the rollout: drop groups whose rewards are all equal, and `overlong_penalty`.
struct dapo {
  static constexpr const char* name = "dapo";
  static constexpr const char* paper = "Yu et al. 2025, arXiv:2503.14476";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  double clip = 0.2, clip_high = 0.28, kl_weight = 0;
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k3;

  static constexpr void describe(auto& self, auto& about) {
    detail::describe_clip(self, about);
    detail::describe_kl(self, about);
  }
  constexpr const char* conflict() const { return detail::kl_conflict(*this); }
  /// What these parameters really read.
  constexpr need active_needs() const { return detail::policy_needs(*this); }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return detail::with_kl(*this, -clipped_surrogate(importance_ratio(r), r.advantage, clip, detail::upper_clip(*this)),
                           r);
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const {
    detail::clip_metrics(importance_ratio(r), r.advantage, clip, detail::upper_clip(*this), add);
  }
};

}  // namespace plumb::inline v0
