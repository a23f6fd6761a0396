// SPDX-License-Identifier: BSL-1.0
// Sequence likelihood calibration without a reference: a margin between the replies, and likelihood as the anchor.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Wants the chosen reply ahead by a fixed margin, and keeps it likely in itself.
///
///   L = max(0, δ − (log π(y_w|x) − log π(y_l|x))) − (λ/n_w) log π(y_w|x)
///   ∂L/∂log π(y_w) = −1 − λ/n_w,   ∂L/∂log π(y_l) = 1 within the margin;   −λ/n_w and 0 beyond it
///
/// δ `delta`, nats; λ `weight`; n_w: tokens of the chosen reply, so the second term is its mean per token.
struct slic {
  static constexpr const char* name = "slic";
  static constexpr const char* paper = "Zhao et al. 2023, arXiv:2305.10425 (SLiC-HF)";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  double delta = 1;
  double weight = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("delta", self.delta, "by how much chosen is to be ahead, nats", above(0));
    about("weight", self.weight, "of the likelihood term", at_least(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return relu(delta - (r.chosen.logp - r.rejected.logp)) - weight * r.chosen.mean_logp();
  }

  /// There is no β: the reward is log π itself.
  constexpr double reward(const sequence_record<double>& reply) const { return reply.logp; }

  constexpr void metrics(const pair_record<double>& r, auto& add) const { add("nll_loss", -r.chosen.mean_logp()); }
};

}  // namespace plumb::inline v0
