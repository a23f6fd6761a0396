// SPDX-License-Identifier: BSL-1.0
// The parts that policy-gradient objectives share: the ratio to the sampling policy, its clipping, a KL term.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/kl.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// ρ = π(y_t)/π_old(y_t), with π_old the policy that sampled the token; held at e^40.
template <class Real>
constexpr Real importance_ratio(const token_record<Real>& r) {
  return ratio_of(r.logp - r.old);
}

/// The pessimistic surrogate of PPO, to be maximised: min(ρA, clip(ρ, 1 − low, 1 + high) A).
///
/// Its slope is A while ρ is in the trust region or moves back towards it, and 0 where the step already went further
/// than `low` or `high` in the direction that A asks for. At ρ = 1 it is the policy gradient's A.
template <class Real>
constexpr Real clipped_surrogate(const Real& ratio, double advantage, double low, double high) {
  return min(ratio * advantage, clamp(ratio, 1 - low, 1 + high) * advantage);
}

/// PPO's loss of the policy: −clipped_surrogate(ρ, A, ε, ε), and where A < 0 and d > 0 at most −dA (dual clip, Ye et al.
/// 2019): a token that has become d times as likely as when it was sampled is not pushed down without bound. d > 1, or 0.
template <class Real>
constexpr Real dual_clipped_loss(const Real& ratio, double advantage, double clip, double dual_clip) {
  const Real loss = -clipped_surrogate(ratio, advantage, clip, clip);
  return dual_clip != 0 && advantage < 0 ? min(loss, -dual_clip * advantage) : loss;
}

namespace detail {
/// add(name, value) of the shares of tokens whose slope the clipping has cut, below and above.
constexpr void clip_metrics(double ratio, double advantage, double low, double high, auto& add) {
  const bool below = ratio < 1 - low && advantage < 0;
  const bool over = ratio > 1 + high && advantage > 0;
  add("clip_ratio/low_mean", below ? 1 : 0);
  add("clip_ratio/high_mean", over ? 1 : 0);
  add("clip_ratio/region_mean", below || over ? 1 : 0);
}

// The parameters clip, clip_high, kl_weight and kl_estimator mean the same wherever they occur.

constexpr void describe_clip(auto& self, auto& about) {
  about("clip", self.clip, "how far below 1 the ratio to the sampling policy counts", between(0, 1));
  about("clip_high", self.clip_high, "how far above 1 it counts; 0: as far as below", at_least(0));
}
/// ε_h.
constexpr double upper_clip(const auto& self) { return self.clip_high == 0 ? self.clip : self.clip_high; }
constexpr void describe_kl(auto& self, auto& about) {
  about("kl_weight", self.kl_weight, "weight of the KL divergence to the reference; 0: no reference", at_least(0));
  about("kl_estimator", self.kl_estimator, "how one token estimates it", one_of(kl_estimator_words));
}
constexpr const char* kl_conflict(const auto& self) {
  return self.kl_estimator != plumb::kl_estimator::k3 && self.kl_weight == 0
             ? "kl_estimator asks for a kl_weight above 0, set first"
             : nullptr;
}
/// What a policy gradient with these parameters really reads.
constexpr need policy_needs(const auto& self) {
  return need::logp | need::old_logp | need::advantage | (self.kl_weight != 0 ? need::reference : need::none);
}
/// loss + kl_weight · KL.
template <class Real>
constexpr Real with_kl(const auto& self, const Real& loss, const token_record<Real>& r) {
  return self.kl_weight != 0 ? loss + self.kl_weight * kl_estimate(r.log_ratio(), self.kl_estimator) : loss;
}
}  // namespace detail

}  // namespace plumb::inline v0
