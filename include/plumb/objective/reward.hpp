// SPDX-License-Identifier: BSL-1.0
// Reward models: Bradley–Terry on the scalar head's outputs, with a margin from the data and centring.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Gives the chosen reply a higher score than the rejected one.
///
///   L = −log σ(r_w − r_l − m) + c (r_w + r_l)²
///   ∂L/∂r_w = −(1 − p) + 2c (r_w + r_l),   ∂L/∂r_l = (1 − p) + 2c (r_w + r_l),   p = σ(r_w − r_l − m)
///
/// r_w, r_l: scores of the replies by the model's scalar head; m: the row's margin, 0 when the data has none; c
/// `centre`: holds scores near 0, which the first term leaves free. Equal scores, no margin: L = ln 2 + 4c r².
struct reward {
  static constexpr const char* name = "reward";
  static constexpr const char* paper =
      "Ouyang et al. 2022, arXiv:2203.02155; margin: Touvron et al. 2023, arXiv:2307.09288";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::reward | need::margin;

  double centre = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("centre", self.centre, "weight of the term that centres scores on 0; 0.01 is usual", at_least(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real sum = r.chosen.reward + r.rejected.reward;
    return centre * square(sum) - log_sigmoid(r.chosen.reward - r.rejected.reward - r.margin);
  }

  /// The scores themselves; what other objectives get from a function that cannot have this struct's name.
  constexpr void metrics(const pair_record<double>& r, auto& add) const {
    add("rewards/chosen", r.chosen.reward);
    add("rewards/rejected", r.rejected.reward);
    add("rewards/accuracies", r.chosen.reward > r.rejected.reward ? 1 : 0);
    add("rewards/margins", r.chosen.reward - r.rejected.reward);
  }
};

}  // namespace plumb::inline v0
