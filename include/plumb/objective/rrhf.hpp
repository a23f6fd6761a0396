// SPDX-License-Identifier: BSL-1.0
// RRHF: rank responses by their likelihood, with a hinge per pair, and imitate the best.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// Pays for each pair of replies that the policy ranks the wrong way round, and for the best reply's likelihood.
///
///   p_k = log π(y_k|x) / n_k,   L = Σ_{i<j} max(0, p_j − p_i) − λ p_1
///   ∂L/∂p_k = #{i<k : p_k > p_i} − #{j>k : p_j > p_k} − λ [k = 1],   half a count where both are equal
///
/// Replies best first, n_k tokens, λ `weight`. No reference and no margin: a pair ranked right costs nothing.
struct rrhf {
  static constexpr const char* name = "rrhf";
  static constexpr const char* paper = "Yuan et al. 2023, arXiv:2304.05302";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = need::logp | need::tokens;

  double weight = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("weight", self.weight, "of the best reply's negative log-likelihood per token", at_least(0));
  }
  template <class Real>
  constexpr Real operator()(std::span<const sequence_record<Real>> ranked) const {
    Real loss = -weight * ranked[0].mean_logp();
    for (decltype(ranked.size()) i = 0; i < ranked.size(); ++i)
      for (auto j = i + 1; j < ranked.size(); ++j) loss += relu(ranked[j].mean_logp() - ranked[i].mean_logp());
    return loss;
  }
  /// What the replies are ranked by: log π per token.
  constexpr double reward(const sequence_record<double>& reply) const { return reply.mean_logp(); }

  constexpr void metrics(std::span<const sequence_record<double>> ranked, auto& add) const {
    add("nll_loss", -ranked[0].mean_logp());
  }
};

}  // namespace plumb::inline v0
