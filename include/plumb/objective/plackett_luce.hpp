// SPDX-License-Identifier: BSL-1.0
// Plackett–Luce: a reward model learns from a whole ranking, not only from pairs.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// −log P(ranking), where a ranking is drawn from best to worst, each time with probability ∝ e^r among those left.
///
///   scores r_1 … r_K, the best reply's first:   Σ_{k=1}^{K−1} (log Σ_{j≥k} e^{r_j} − r_k)
///
/// In nats; log K! where all scores are equal; K = 2 is the Bradley–Terry loss −log σ(r_1 − r_2). The sums run from the
/// worst reply to the best, so that each needs one more term only, and without overflow.
template <class Real>
class ranking_likelihood {
 public:
  /// Adds the next better reply.
  constexpr void add(const Real& score) {
    if (any_) {
      all_ = log_add_exp(score, all_);
      loss_ += all_ - score;
    } else {
      all_ = score;
      any_ = true;
    }
  }
  constexpr const Real& loss() const { return loss_; }

 private:
  Real all_{}, loss_{};
  bool any_ = false;
};

/// The ranking's likelihood under the scalar head's outputs.
///
///   L = Σ_{k=1}^{K−1} (log Σ_{j≥k} e^{r_j} − r_k),   ∂L/∂r_i = Σ_{k≤min(i,K−1)} e^{r_i} / Σ_{j≥k} e^{r_j} − [i < K]
struct plackett_luce {
  static constexpr const char* name = "plackett_luce";
  static constexpr const char* paper = "Zhu et al. 2023, arXiv:2301.11270 (Plackett 1975, Luce 1959)";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = need::reward;

  template <class Real>
  constexpr Real operator()(std::span<const sequence_record<Real>> ranked) const {
    ranking_likelihood<Real> ranking;
    for (auto k = ranked.size(); k-- > 0;) ranking.add(ranked[k].reward);
    return ranking.loss();
  }
  constexpr double reward(const sequence_record<double>& reply) const { return reply.reward; }
};

}  // namespace plumb::inline v0
