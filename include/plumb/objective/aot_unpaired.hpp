// SPDX-License-Identifier: BSL-1.0
// Distributional preference alignment via optimal transport, without pairs: chosen against rejected by rank.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/order.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the distribution of the chosen replies' log-ratios dominate that of the rejected ones': quantile by quantile.
///
///   lw, ll = log π(y|x) − log π_ref(y|x) of chosen and rejected                     in nats, sums over tokens
///   L = mean_k f(lw_(k) − ll_(k)),   f(δ) = −(1 − ε) log σ(βδ) − ε log σ(−βδ)       (k): the k-th smallest
///
/// β `beta`; ε `label_smoothing`; which chosen reply stands beside which rejected one in the data does not matter.
/// Ranks within the records that are evaluated together, equals in their order. ∂L/∂lw_(k) = −∂L/∂ll_(k) = f'(δ_k)/n;
/// the loss of a record is that of its chosen reply's rank. One record: dpo.
struct aot_unpaired {
  static constexpr const char* name = "aot_unpaired";
  static constexpr const char* paper = "Melnyk et al. 2024, arXiv:2406.05882";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;
  double beta = 0.1, label_smoothing = 0;
  /// The log-ratios of the other side that have the same rank.
  struct partners {
    double of_chosen = 0, of_rejected = 0;
  };
  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped", from_below(0, 0.5));
  }
  template <class Real>
  std::vector<partners> prepare(std::span<const pair_record<Real>> pairs) const {
    const auto chosen = detail::of_counted(pairs, [](const pair_record<Real>& r) { return r.chosen.log_ratio(); });
    const auto rejected = detail::of_counted(pairs, [](const pair_record<Real>& r) { return r.rejected.log_ratio(); });
    const auto below = detail::rank_partners(chosen, rejected), over = detail::rank_partners(rejected, chosen);
    std::vector<partners> result(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) result[i] = {below[i], over[i]};
    return result;
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r, const partners& by_rank) const {
    const Real of_rejected = loss(by_rank.of_rejected - r.rejected.log_ratio());  // counted with its chosen reply
    return loss(r.chosen.log_ratio() - by_rank.of_chosen) + (of_rejected - detach(of_rejected));
  }
  template <class Real>
  constexpr Real loss(const Real& gap) const {
    return -(1 - label_smoothing) * log_sigmoid(beta * gap) - label_smoothing * log_sigmoid(-beta * gap);
  }
  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
