// SPDX-License-Identifier: BSL-1.0
// BNPO: GRPO with one mean over all tokens of the batch.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// GRPO whose every token counts equally.
///
///   L_t = −min(ρA, clip(ρ, 1 − ε, 1 + ε_h) A) + β KL_t,   ρ = π(y_t)/π_old(y_t)
///
/// A `advantage`; ε `clip`; ε_h `clip_high`, 0 for ε; β `kl_weight`; KL_t: estimate of KL(π‖π_ref) by `kl_estimator`
/// [nats]. Slopes as grpo's. ρ is held at e^40. The batch's loss is the mean over all valid tokens of the optimiser
/// step; TRL's bnpo takes those of each micro-batch, which is the same where a step is one batch.
struct bnpo {
  static constexpr const char* name = "bnpo";
  static constexpr const char* paper = "TRL; Liu et al. 2025, arXiv:2503.20783, discusses the normalisation";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  double clip = 0.2, clip_high = 0, kl_weight = 0;
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
