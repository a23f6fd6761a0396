// SPDX-License-Identifier: BSL-1.0
// GSPO: the trust region around whole replies, as they are rewarded, rather than around single tokens.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/order.hpp>
#include <plumb/objective/reduction.hpp>
#include <plumb/objective/surrogate.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0 {

/// GRPO with one importance ratio per reply.
///
///   s = exp(mean_t (log π(y_t) − log π_old(y_t))),   s_t = sg(s) · π(y_t)/sg(π(y_t))       sg: no gradient through it
///   L_t = −min(s_t A, clip(s_t, 1 − ε, 1 + ε_h) A) + β KL_t
///
/// Means over the reply's valid tokens. s_t has the value of s; summed over the reply, divided by its length, the
/// slopes −sA/n of all tokens are those of −min(sA, clip(s) A) with the true s. A `advantage` (`group_advantages`), ε
/// `clip`, ε_h `clip_high`, 0 for ε, β `kl_weight`; KL_t: estimate of KL(π‖π_ref) by `kl_estimator` [nats]. s is the
/// geometric mean of the tokens' ratios, so it stays much nearer to 1 than they do: the paper clips at 3e-4 and 4e-4.
/// The batch's loss is the mean over replies of the mean over each reply's tokens.
struct gspo {
  static constexpr const char* name = "gspo";
  static constexpr const char* paper = "Zheng et al. 2025, arXiv:2507.18071";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  static constexpr auto reduction = plumb::reduction::sequence_mean();
  static constexpr bool couples = false;  // tokens of one reply only
  double clip = 0.2, clip_high = 0, kl_weight = 0;
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k3;

  static constexpr void describe(auto& self, auto& about) {
    detail::describe_clip(self, about);
    detail::describe_kl(self, about);
  }
  constexpr const char* conflict() const { return detail::kl_conflict(*this); }
  /// What these parameters really read.
  constexpr need active_needs() const { return detail::policy_needs(*this); }

  /// log s of each token's reply, [tokens].
  template <class Real>
  std::vector<double> prepare(std::span<const token_record<Real>> tokens) const {
    return detail::means_by_sequence(tokens, [](const token_record<Real>& r) { return r.logp - r.old; });
  }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r, double log_ratio) const {
    const Real ratio = ratio_of(log_ratio + (r.logp - detach(r.logp)));
    return detail::with_kl(*this, -clipped_surrogate(ratio, r.advantage, clip, detail::upper_clip(*this)), r);
  }
  constexpr void metrics(const token_record<double>& r, auto&& add, double log_ratio) const {
    detail::clip_metrics(ratio_of(log_ratio), r.advantage, clip, detail::upper_clip(*this), add);
  }
};

}  // namespace plumb::inline v0
