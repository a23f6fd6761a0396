// SPDX-License-Identifier: BSL-1.0
// ORPO: supervised fine-tuning that also prefers the chosen reply's odds, in one stage and without a reference.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the chosen reply likely, and its odds per token larger than those of the rejected one.
///
///   L  = −c − β log σ(lo),   c, r = log π(y|x)/n of the chosen and the rejected reply          nats per token
///   lo = (c − r) − (log(1 − e^c) − log(1 − e^r))          the log of the odds ratio
///   ∂L/∂log π(y_w) = [−1 − β σ(−lo)/(1 − e^c)]/n_w,   ∂L/∂log π(y_l) = β σ(−lo)/(1 − e^r)/n_l
///
/// β `beta`: weight of the odds-ratio term. Odds of certainty are infinite: c and r count as −1e-12 at most, beyond
/// which only the likelihood term has a slope.
struct orpo {
  static constexpr const char* name = "orpo";
  static constexpr const char* paper = "Hong et al. 2024, arXiv:2403.07691";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "weight of the odds-ratio term (λ in the paper)", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -r.chosen.mean_logp() - beta * log_sigmoid(log_odds_ratio(r));
  }

  /// Without a reference: β log π per token.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.mean_logp(); }

  constexpr void metrics(const pair_record<double>& r, auto& add) const {
    add("nll_loss", -r.chosen.mean_logp());
    add("log_odds_chosen", log_odds_ratio(r));
    add("log_odds_ratio", log_sigmoid(log_odds_ratio(r)));  // TRL's name for log σ of it
  }

  template <class Real>
  static constexpr Real log_odds_ratio(const pair_record<Real>& r) {
    const Real chosen = min(r.chosen.mean_logp(), -1e-12);
    const Real rejected = min(r.rejected.mean_logp(), -1e-12);
    return (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected));
  }
};

}  // namespace plumb::inline v0
