// SPDX-License-Identifier: BSL-1.0
// Triple preference optimisation: a gold reply to imitate, and two others to tell apart.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// Imitates a gold reply and makes the chosen one of two others more likely than the rejected one, without a reference.
///
///   L = −(1 − ε) log σ(βΔ − γ) − ε log σ(γ − βΔ) − (λ/n_g) log π(y_g|x)
///   Δ = log π(y_w|x) − log π(y_l|x)   in nats;   `per_token` (TPO-L): log π(y_w|x)/n_w − log π(y_l|x)/n_l
///   ∂L/∂Δ = β (σ(βΔ − γ) − 1 + ε),   ∂L/∂log π(y_g) = −λ/n_g
///
/// The three replies of a group: gold g, chosen w, rejected l, with n tokens. ε `label_smoothing`; γ `gamma`, the margin,
/// of TPO-L only; λ `weight`. A group of another size is an error.
struct tpo {
  static constexpr const char* name = "tpo";
  static constexpr const char* paper = "Saeidi et al. 2024, arXiv:2405.16681";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = need::logp | need::tokens;
  static constexpr int replies = 3;

  double beta = 0.01, label_smoothing = 0, weight = 1;
  bool per_token = false;
  double gamma = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how steep the preference term is", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped", from_below(0, 0.5));
    about("weight", self.weight, "of the gold reply's negative log-likelihood per token", at_least(0));
    about("per_token", self.per_token, "compare log-probabilities per token (TPO-L), not of whole replies",
          yes_or_no());
    about("gamma", self.gamma, "by how much the chosen reply's reward is to be ahead; with per_token", at_least(0));
  }
  constexpr const char* conflict() const {
    return gamma != 0 && !per_token ? "gamma asks for per_token=true, set first" : nullptr;
  }
  template <class Real>
  constexpr Real operator()(std::span<const sequence_record<Real>> ranked) const {
    const Real gap = beta * (said(ranked[1]) - said(ranked[2])) - gamma;
    return -(1 - label_smoothing) * log_sigmoid(gap) - label_smoothing * log_sigmoid(-gap) -
           weight * ranked[0].mean_logp();
  }
  constexpr void metrics(std::span<const sequence_record<double>> ranked, auto& add) const {
    const double chosen = beta * said(ranked[1]), rejected = beta * said(ranked[2]);  // of the two that are compared
    add("rewards/chosen", chosen);
    add("rewards/rejected", rejected);
    add("rewards/accuracies", chosen > rejected ? 1 : 0);
    add("rewards/margins", chosen - rejected);
    add("nll_loss", -ranked[0].mean_logp());
  }
  template <class Real>
  constexpr Real said(const sequence_record<Real>& reply) const {
    return per_token ? reply.mean_logp() : reply.logp;
  }
};

}  // namespace plumb::inline v0
