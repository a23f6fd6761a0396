// SPDX-License-Identifier: BSL-1.0
// Selective language modelling: of all demonstrated tokens, those that the policy still has to learn.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/order.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0 {

/// Likelihood of the tokens that a good reference finds much likelier than the policy does.
///
///   L = −(1/|S|) Σ_{t∈S} log π(y_t | x, y_<t),   S: the share `keep` of valid tokens with the largest log π_ref − log π
///   ∂L/∂log π(y_t) = −1/|S| within S, 0 elsewhere
///
/// Log-probabilities in nats; S is chosen without a gradient over all tokens of the optimiser step, |S| rounded down
/// and at least 1, equals in their order. The reference is a model trained on good text, not the policy's own start.
struct rho1 {
  static constexpr const char* name = "rho1";
  static constexpr const char* paper = "Lin et al. 2024, arXiv:2404.07965";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::reference;
  double keep = 0.6;

  static constexpr void describe(auto& self, auto& about) {
    about("keep", self.keep, "share of the tokens that are learnt from", above_up_to(0, 1));
  }
  /// Valid tokens over chosen ones for a chosen token, so that the mean over valid tokens is L; 0 for the others; [tokens].
  template <class Real>
  std::vector<double> prepare(std::span<const token_record<Real>> tokens) const {
    std::vector<double> excess(tokens.size()), weight(tokens.size());
    double counted = 0, learnable = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const bool counts = tokens[i].mask && tokens[i].weight != 0;
      counted += tokens[i].mask ? 1 : 0;
      learnable += counts ? 1 : 0;
      excess[i] = counts ? tokens[i].logp - tokens[i].ref : missing;  // NaN comes last and is never chosen
      if (counts && excess[i] != excess[i]) weight[i] = missing;      // but not passed over in silence either
    }
    const auto chosen = static_cast<std::size_t>(keep * learnable > 1 ? keep * learnable : 1);
    const auto order = detail::sorted_order(excess);
    for (std::size_t k = 0; k < order.size() && k < chosen; ++k)
      if (excess[order[k]] == excess[order[k]]) weight[order[k]] = counted / static_cast<double>(chosen);
    return weight;
  }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r, double weight) const {
    return weight == 0 ? Real(0) : -weight * r.logp;
  }
};

}  // namespace plumb::inline v0
