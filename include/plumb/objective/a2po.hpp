// SPDX-License-Identifier: BSL-1.0
// A*-PO: regression of the log-ratio on the advantage over the best policy there is.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Moves the policy to the optimum of reward minus β₂ KL by least squares; one sampled reply per prompt is enough.
///
///   s = log π(y|x) − log π_ref(y|x)                                                        in nats, sum over tokens
///   L = (β₂ s − A)²,   A = r(x, y) − V*(x),   V*(x) = β₁ log mean_k exp(r(x, y_k)/β₁)      y_k sampled by π_ref
///   ∂L/∂log π = 2 β₂ (β₂ s − A)
///
/// β₂ `beta`; A `advantage`, computed once before training (`optimal_value`). Zero where the policy is the optimum
/// π_ref exp(A/β₂). At policy = reference L = A².
struct a2po {
  static constexpr const char* name = "a2po";
  static constexpr const char* paper = "Brantley et al. 2025, arXiv:2505.20686";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference | need::advantage;
  double beta = 0.001;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }
  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r) const {
    return square(beta * r.log_ratio() - r.advantage);
  }
  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
