// SPDX-License-Identifier: BSL-1.0
// DPO on rankings: the Plackett–Luce form of direct preference optimisation.
#pragma once

#include <plumb/objective/plackett_luce.hpp>
#include <plumb/objective/range.hpp>

namespace plumb::inline v0 {

/// Makes the policy's implicit rewards rank the replies as people did.
///
///   s_k = β (log π(y_k|x) − log π_ref(y_k|x)),   L = Σ_{k=1}^{K−1} (log Σ_{j≥k} e^{s_j} − s_k)
///
/// Log-probabilities are sums over tokens, in nats; replies best first. K = 2 is dpo. At policy = reference L = log K!.
struct dpo_pl {
  static constexpr const char* name = "dpo_pl";
  static constexpr const char* paper = "Rafailov et al. 2023, arXiv:2305.18290, appendix A.3";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }
  template <class Real>
  constexpr Real operator()(std::span<const sequence_record<Real>> ranked) const {
    ranking_likelihood<Real> ranking;
    for (auto k = ranked.size(); k-- > 0;) ranking.add(beta * ranked[k].log_ratio());
    return ranking.loss();
  }
  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
