// SPDX-License-Identifier: BSL-1.0
// Nash mirror descent: a policy that wins against every other one, from preferences that need no reward.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// The policy gradient of winning against an opponent, held to the reference.
///
///   L = (β sg(s) − A) log π(y|x),   s = log π(y|x) − log π_ref(y|x),   A = P(y beats y' | x) − ½
///   ∂L/∂log π = β s − A                          in nats, sums over tokens; sg: no gradient through it
///
/// β `beta`; A `advantage`, from a judge or a preference model. y is sampled by the policy, y' by the opponent: the
/// mixture of policy and reference (geometric, Nash-MD), or an earlier policy (self-play). The term β s log π has the
/// gradient of β KL(π‖π_ref). The value of L says nothing by itself; at policy = reference it is −A log π.
struct nash_md {
  static constexpr const char* name = "nash_md";
  static constexpr const char* paper = "Munos et al. 2023, arXiv:2312.00886";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference | need::advantage;
  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", at_least(0));
  }
  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r) const {
    return (beta * value_of(r.log_ratio()) - r.advantage) * r.logp;
  }
  constexpr void metrics(const sequence_record<double>& r, auto&& add) const {
    add("kl", r.log_ratio());
    add("win_probability", r.advantage + 0.5);
  }
};

}  // namespace plumb::inline v0
