// SPDX-License-Identifier: BSL-1.0
// InfoNCE: the best reply against all others at once.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// The negative log-probability of picking the best reply when replies are drawn ∝ e^{r/τ}.
///
///   L = log Σ_j e^{r_j/τ} − r_1/τ,   ∂L/∂r_k = (e^{r_k/τ} / Σ_j e^{r_j/τ} − [k = 1]) / τ
///
/// r: the scalar head's outputs, the best reply's first; the order of the others does not matter. τ `temperature`. In
/// nats; log K where all scores are equal; K = 2 and τ = 1 is the Bradley–Terry loss.
struct infonce {
  static constexpr const char* name = "infonce";
  static constexpr const char* paper = "van den Oord et al. 2018, arXiv:1807.03748";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = need::reward;

  double temperature = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("temperature", self.temperature, "divides the scores: small looks at the hardest replies only", above(0));
  }
  template <class Real>
  constexpr Real operator()(std::span<const sequence_record<Real>> ranked) const {
    Real all = ranked[0].reward / temperature;
    for (const auto& reply : ranked.subspan(1)) all = log_add_exp(all, reply.reward / temperature);
    return all - ranked[0].reward / temperature;
  }
  constexpr double reward(const sequence_record<double>& reply) const { return reply.reward; }
};

}  // namespace plumb::inline v0
