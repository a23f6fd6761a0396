// SPDX-License-Identifier: BSL-1.0
// Weighted preference optimisation: DPO that listens to pairs which the policy itself could have written.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// DPO with off-policy pairs weighed down.
///
///   L = w · (−log σ(βΔ)),   Δ = lw − ll,   w = exp(c_w + c_l), detached                in nats, sums over tokens
///   c = (1/n) Σ_t (log π(y_t) − log Σ_v π(v)²)
///
/// lw, ll: log π/π_ref of chosen and rejected; c `confidence`: how likely a reply is compared with what the policy would
/// sample itself (c ≈ 0). ∂L/∂Δ = −w β σ(−βΔ). At policy = reference L = w ln 2.
struct wpo {
  static constexpr const char* name = "wpo";
  static constexpr const char* paper = "Zhou et al. 2024, arXiv:2406.11827";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference | need::confidence;
  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -weight(r) * log_sigmoid(beta * (r.chosen.log_ratio() - r.rejected.log_ratio()));
  }
  /// w.
  template <class Real>
  static constexpr double weight(const pair_record<Real>& r) {
    return exp(r.chosen.confidence + r.rejected.confidence);
  }
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
  constexpr void metrics(const pair_record<double>& r, auto&& add) const { add("weight", weight(r)); }
};

}  // namespace plumb::inline v0
