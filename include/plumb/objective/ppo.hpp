// SPDX-License-Identifier: BSL-1.0
// Proximal policy optimisation: clipped policy gradient, clipped regression of the value head, entropy bonus.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/surrogate.hpp>
#include <plumb/objective/value_loss.hpp>

namespace plumb::inline v0 {

/// Improves the policy by small steps on tokens that a slightly older policy sampled.
///
///   L_t = max(−ρA, −clip(ρ, 1 ± ε) A) + c_v ½ max((V − R)², (clip(V, V_old ± ε_v) − R)²) − c_e H
///   ρ = π(y_t)/π_old(y_t);  where A < 0 and d > 0 the policy's part is at most −dA (dual clip)
///
/// A `advantage`, R `return`, V `value`, V_old `old_value`, H `entropy` [nats]; ε `clip`, ε_v `value_clip`, c_v
/// `value_weight`, c_e `entropy_weight`, d `dual_clip`. ∂L/∂log π = −ρA where not clipped, else 0; at ρ = 1 the policy
/// gradient. ρ is held at e^40. The batch's loss is the mean over all valid tokens of the optimiser step.
struct ppo {
  static constexpr const char* name = "ppo";
  static constexpr const char* paper = "Schulman et al. 2017, arXiv:1707.06347; dual clip: Ye et al. 2019, 1912.09729";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs =
      need::logp | need::old_logp | need::advantage | need::value | need::old_value | need::entropy;
  double clip = 0.2, value_clip = 0.2, value_weight = 0.1, entropy_weight = 0, dual_clip = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("clip", self.clip, "how far from 1 the ratio to the sampling policy may go", inside(0, 1));
    about("value_clip", self.value_clip, "how far the value may go from the one at sampling", above(0));
    about("value_weight", self.value_weight, "weight of the value head's loss; 0: no value head", at_least(0));
    about("entropy_weight", self.entropy_weight, "weight of the entropy bonus", at_least(0));
    about("dual_clip", self.dual_clip, "bound of the loss over |A| where A < 0: above 1, or 0 for none", at_least(0));
  }
  constexpr const char* conflict() const {
    if (dual_clip != 0 && !(dual_clip > 1)) return "dual_clip is a number above 1, commonly 3, or 0 to switch it off";
    return value_clip != 0.2 && value_weight == 0 ? "value_clip asks for a value_weight above 0, set first" : nullptr;
  }
  /// What these parameters really read.
  constexpr need active_needs() const {
    return need::logp | need::old_logp | need::advantage | (entropy_weight != 0 ? need::entropy : need::none) |
           (value_weight != 0 ? need::value | need::old_value : need::none);
  }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    Real loss = dual_clipped_loss(importance_ratio(r), r.advantage, clip, dual_clip);
    if (value_weight != 0) loss += value_weight * clipped_value_loss(r, value_clip);
    return entropy_weight != 0 ? loss - entropy_weight * r.entropy : loss;
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const {
    const double ratio = importance_ratio(r);
    add("policy/approxkl_avg", kl_estimate(r.logp - r.old, kl_estimator::k2));
    add("policy/clipfrac_avg", clamp(ratio, 1 - clip, 1 + clip) * r.advantage < ratio * r.advantage ? 1 : 0);
    add("val/ratio", ratio);
    add("loss/policy_avg", dual_clipped_loss(ratio, r.advantage, clip, dual_clip));
    if (value_weight != 0) detail::value_metrics(r, value_clip, add);
  }
};

}  // namespace plumb::inline v0
