// SPDX-License-Identifier: BSL-1.0
// RLOO: the reply as one action, with the other replies to the prompt as baseline.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// The clipped policy gradient of whole replies.
///
///   ρ = π(y|x)/π_old(y|x) = exp(Σ_t log π(y_t) − Σ_t log π_old(y_t))                       in nats, sums over tokens
///   L = −min(ρA, clip(ρ, 1 − ε, 1 + ε_h) A)
///
/// A `advantage`: the reply's reward minus the mean of the others' (`rloo_advantages`), with the KL to the reference in
/// the reward (r − β Σ_t k1_t); ε `clip`, ε_h `clip_high`, 0 for ε. ∂L/∂log π(y|x) = −ρA where not clipped, else 0; at
/// ρ = 1 it is the policy gradient. ρ is held at e^40. The batch's loss is the mean over replies, whatever their
/// lengths.
struct rloo {
  static constexpr const char* name = "rloo";
  static constexpr const char* paper = "Ahmadian et al. 2024, arXiv:2402.14740";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage;
  double clip = 0.2, clip_high = 0;

  static constexpr void describe(auto& self, auto& about) { detail::describe_clip(self, about); }
  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r) const {
    return -clipped_surrogate(ratio_of(r.logp - r.old), r.advantage, clip, detail::upper_clip(*this));
  }
  constexpr void metrics(const sequence_record<double>& r, auto&& add) const {
    detail::clip_metrics(ratio_of(r.logp - r.old), r.advantage, clip, detail::upper_clip(*this), add);
  }
};

}  // namespace plumb::inline v0
