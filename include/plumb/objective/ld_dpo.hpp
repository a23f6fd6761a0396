// SPDX-License-Identifier: BSL-1.0
// Length-desensitised DPO: what a reply says beyond its rival's length counts for less.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// DPO on log-probabilities whose excess over the shorter reply's length is scaled down.
///
///   ℓ(y) = Σ_{t ≤ m} log π(y_t) + α Σ_{t > m} log π(y_t) = log π(y) − (1 − α) tail(y),   m = min(n_w, n_l)
///   L = −log σ(β (ℓ_w − ℓ_w,ref − ℓ_l + ℓ_l,ref))                                       in nats
///
/// for policy and reference alike (as TRL). α `alpha`: 1 is DPO, 0 looks at the common length only.
/// With p = σ(…): ∂L/∂logp_w = −β (1 − p), ∂L/∂tail_w = β (1 − p)(1 − α). At policy = reference L = ln 2.
struct ld_dpo {
  static constexpr const char* name = "ld_dpo";
  static constexpr const char* paper = "Liu et al. 2024, arXiv:2409.06411";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference | need::tail;
  double beta = 0.1;
  double alpha = 0.5;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("alpha", self.alpha, "weight of what lies beyond the shorter reply's length", between(0, 1));
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(beta * (log_ratio(r.chosen) - log_ratio(r.rejected)));
  }
  /// ℓ − ℓ_ref of a reply.
  template <class Real>
  constexpr Real log_ratio(const sequence_record<Real>& s) const {
    return s.log_ratio() - (1 - alpha) * (s.tail - s.ref_tail);
  }
  constexpr double reward(const sequence_record<double>& reply) const { return beta * log_ratio(reply); }
};

}  // namespace plumb::inline v0
