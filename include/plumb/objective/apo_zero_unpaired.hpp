// SPDX-License-Identifier: BSL-1.0
// APO-zero on single replies: liked ones rise, disliked ones fall, each against the reference.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// KTO without a baseline: the reference itself is the anchor.
///
///   L = 1 − σ(β s) for a liked reply,   σ(β s) for a disliked one,   s = log π(y|x) − log π_ref(y|x)
///   ∂L/∂log π = ∓β σ(β s) σ(−β s),   minus for a liked reply
///
/// s: nats, sum over tokens. At policy = reference L = ½.
struct apo_zero_unpaired {
  static constexpr const char* name = "apo_zero_unpaired";
  static constexpr const char* paper = "D'Oosterlinck et al. 2024, arXiv:2408.06266";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference | need::desirable;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r) const {
    const Real value = beta * r.log_ratio();
    return sigmoid(r.desirable ? -value : value);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
