// SPDX-License-Identifier: BSL-1.0
// Process reward models: a verdict after each step of a solution instead of one at its end.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Tells good steps of a solution from bad ones.
///
///   L_t = −y log σ(r_t) − (1 − y) log σ(−r_t),   ∂L/∂r_t = σ(r_t) − y          in nats
///
/// r_t: the scalar head's output at the last token of a step, which has seen the step and all before it; y: that step's
/// label, 1 for right, 0 for wrong, or the probability that it is right. Tokens without a label (the mask) do not count;
/// the batch's loss is the mean over labelled tokens of the optimiser step. At r = 0: ln 2.
struct process_reward {
  static constexpr const char* name = "process_reward";
  static constexpr const char* paper = "Lightman et al. 2023, arXiv:2305.20050; Uesato et al. 2022, arXiv:2211.14275";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::reward | need::target;

  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return -r.target * log_sigmoid(r.reward) - (1 - r.target) * log_sigmoid(-r.reward);
  }

  /// accuracy: does the sign of r agree with the label? Soft labels count as right from 0.5 on.
  constexpr void metrics(const token_record<double>& r, auto& add) const {
    add("accuracy", (r.reward > 0) == (r.target >= 0.5) ? 1 : 0);
    add("min_reward", r.reward);
    add("mean_reward", r.reward);
    add("max_reward", r.reward);
  }
};

}  // namespace plumb::inline v0
