// SPDX-License-Identifier: BSL-1.0
// Dr. GRPO: GRPO without its biases to long wrong replies and to easy or hard prompts.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/reduction.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// GRPO, divided by one constant length instead of each reply's own.
///
///   L_t = −min(ρA, clip(ρ, 1 − ε, 1 + ε_h) A) + β KL_t,   ρ = π(y_t)/π_old(y_t)
///
/// A `advantage`: reward minus the mean of its group, not divided by the deviation (`group_advantages` with
/// `advantage_scale::none`); ε `clip`, ε_h `clip_high`, 0 for ε, β `kl_weight`; KL_t: estimate of KL(π‖π_ref) by
/// `kl_estimator` [nats]. Slopes as grpo's. ρ is held at e^40. The batch's loss is the sum over its valid tokens,
/// divided by the number of replies times C `length`: the longest reply that sampling allows [tokens].
struct dr_grpo {
  static constexpr const char* name = "dr_grpo";
  static constexpr const char* paper = "Liu et al. 2025, arXiv:2503.20783";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  double clip = 0.2, clip_high = 0, kl_weight = 0, length = 512;
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k3;

  static constexpr void describe(auto& self, auto& about) {
    detail::describe_clip(self, about);
    detail::describe_kl(self, about);
    about("length", self.length, "longest reply that sampling allows, in tokens: the divisor", at_least(1));
  }
  constexpr const char* conflict() const { return detail::kl_conflict(*this); }
  /// What these parameters really read.
  constexpr need active_needs() const { return detail::policy_needs(*this); }
  /// Σ / (S C), S the replies of the optimiser step.
  constexpr plumb::reduction own_reduction() const { return reduction::constant_length(length); }

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
