// SPDX-License-Identifier: BSL-1.0
// The likelihood of the chosen reply, for pairs: the usual companion of a preference objective.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Keeps the chosen reply likely in itself; `dpo{} + 0.2 * sft_chosen{}` counters DPO's habit of lowering both replies.
///
///   L = −(1/n_w) Σ_t log π(y_w,t | x, y_w,<t)          nats per token;  ∂L/∂log π(y_w) = −1/n_w
///
/// n_w: tokens of the chosen reply. The mean is taken per reply, so every pair counts equally, whatever its length.
struct sft_chosen {
  static constexpr const char* name = "sft_chosen";
  static constexpr const char* paper = "Pang et al. 2024, arXiv:2404.19733 (the likelihood term of RPO)";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -r.chosen.mean_logp();
  }
};

}  // namespace plumb::inline v0
