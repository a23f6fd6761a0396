// SPDX-License-Identifier: BSL-1.0
// REINFORCE: the plain policy gradient.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes tokens with a positive advantage likelier and those with a negative one rarer.
///
///   L_t = −A_t log π(y_t | x, y_<t)            log-probabilities in nats,   ∂L_t/∂log π = −A_t
///
/// A_t `advantage`: how much better than expected the completion went on after this token. It is a number, without
/// gradient; rollout/advantage.hpp estimates it. Right for tokens that the present policy sampled; for older samples
/// there are ppo and grpo. The value of L says nothing by itself. The batch's loss is the mean over all valid tokens of
/// the optimiser step.
struct reinforce {
  static constexpr const char* name = "reinforce";
  static constexpr const char* paper = "Williams 1992, Machine Learning 8";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::advantage;

  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return -r.advantage * r.logp;
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const { add("advantage", r.advantage); }
};

}  // namespace plumb::inline v0
