// SPDX-License-Identifier: BSL-1.0
// Distributional preference alignment via optimal transport, on pairs: margins ordered by size, not pair by pair.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/order.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the distribution of the policy's margins dominate that of the reference's: every quantile above its own.
///
///   u = log π(y_w|x) − log π(y_l|x),   v = log π_ref(y_w|x) − log π_ref(y_l|x)         in nats, sums over tokens
///   L_i = −(1 − ε) log σ(βδ_i) − ε log σ(−βδ_i),   δ_i = u_i − v_(rank of u_i)         v_(k): the k-th smallest v
///
/// w, l: chosen, rejected; β `beta`; ε `label_smoothing`; ranks within the records that are evaluated together, equals
/// in their order. ∂L_i/∂u_i = β (σ(βδ_i) − 1 + ε), and of no other record: sorting has no slope. One record: dpo.
struct aot {
  static constexpr const char* name = "aot";
  static constexpr const char* paper = "Melnyk et al. 2024, arXiv:2406.05882";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;
  double beta = 0.1, label_smoothing = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped", from_below(0, 0.5));
  }
  /// v of the rank of u, [records].
  template <class Real>
  std::vector<double> prepare(std::span<const pair_record<Real>> pairs) const {
    using record = pair_record<Real>;
    const auto policy = detail::of_counted(pairs, [](const record& r) { return r.chosen.logp - r.rejected.logp; });
    const auto reference = detail::of_counted(pairs, [](const record& r) { return r.chosen.ref - r.rejected.ref; });
    return detail::rank_partners(policy, reference);
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r, double reference) const {
    const Real gap = beta * (r.chosen.logp - r.rejected.logp - reference);
    return -(1 - label_smoothing) * log_sigmoid(gap) - label_smoothing * log_sigmoid(-gap);
  }
  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
