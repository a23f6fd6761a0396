// SPDX-License-Identifier: BSL-1.0
// Reward models: Bradley–Terry on the scalar head's outputs, with a margin from the data and centring.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// What a row's margin m does.
enum class margin_use { subtract, scale, ignore };
inline constexpr const char* margin_use_words[] = {"subtract", "scale", "ignore"};

/// Gives the chosen reply a higher score than the rejected one.
///
///   subtract   L = −log σ(r_w − r_l − m) + c (r_w + r_l)²             Llama 2: the scores differ by more than m
///   scale      L = −|m| log σ(r_w − r_l) + c (r_w + r_l)²             HelpSteer2: rows weigh as much as their margin
///   ignore     L = −log σ(r_w − r_l)     + c (r_w + r_l)²
///   ∂L/∂r_w = −w (1 − p) + 2c (r_w + r_l),  ∂L/∂r_l = w (1 − p) + 2c (r_w + r_l),  p the argument of log, w = |m| or 1
///
/// r_w, r_l: scores of the replies by the model's scalar head; m: the row's margin, 0 when the data has none (under
/// `scale` such a row has no weight); c `centre`: holds scores near 0, which pairs leave free. Equal scores: ln 2 + 4c r².
struct reward {
  static constexpr const char* name = "reward";
  static constexpr const char* paper = "Ouyang et al. 2022, arXiv:2203.02155; margin: 2307.09288 (Llama 2), 2410.01257";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::reward | need::margin;
  double centre = 0;
  margin_use use_margin = margin_use::subtract;

  static constexpr void describe(auto& self, auto& about) {
    about("centre", self.centre, "weight of the term that centres scores on 0; 0.01 is usual", at_least(0));
    about("use_margin", self.use_margin, "what the row's margin does to its loss", one_of(margin_use_words));
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const double m = use_margin == margin_use::subtract ? r.margin : 0;
    const double weight = use_margin == margin_use::scale ? abs(r.margin) : 1;
    const Real sum = r.chosen.reward + r.rejected.reward;
    return centre * square(sum) - weight * log_sigmoid(r.chosen.reward - r.rejected.reward - m);
  }

  /// The scores themselves; what other objectives get from a function that cannot have this struct's name.
  constexpr void metrics(const pair_record<double>& r, auto& add) const {
    const double chosen = r.chosen.reward, rejected = r.rejected.reward;
    add("rewards/chosen", chosen);
    add("rewards/rejected", rejected);
    add("rewards/accuracies", chosen > rejected ? 1 : 0);
    add("rewards/margins", chosen - rejected);
    for (const char* key : {"min_reward", "mean_reward", "max_reward"}) add(key, chosen), add(key, rejected);
    add("accuracy", chosen > rejected ? 1 : 0);
    add("margin", chosen - rejected);
  }
};

}  // namespace plumb::inline v0
