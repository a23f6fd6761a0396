// SPDX-License-Identifier: BSL-1.0
// Reward models from ratings: the scalar head's output should be the number that people gave.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the score of a reply its rating.
///
///   L = (r − y)²,   ∂L/∂r = 2 (r − y)
///
/// r: the scalar head's output at the reply's last token; y: its rating, in whatever unit the data has (0 to 4 in
/// HelpSteer). A reply without a rating is no record: the reader leaves it out, and the mean is over rated replies.
/// Lowest value 0, at r = y.
struct reward_regression {
  static constexpr const char* name = "reward_regression";
  static constexpr const char* paper =
      "Dong et al. 2023, arXiv:2310.05344 (SteerLM); Wang et al. 2024, arXiv:2406.08673";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::reward | need::target;

  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r) const {
    return square(r.reward - r.target);
  }

  constexpr void metrics(const sequence_record<double>& r, auto& add) const {
    add("min_reward", r.reward);
    add("mean_reward", r.reward);
    add("max_reward", r.reward);
    add("mean_target", r.target);
    add("absolute_error", abs(r.reward - r.target));
  }
};

}  // namespace plumb::inline v0
