// SPDX-License-Identifier: BSL-1.0
// Efficient exact optimisation on pairs: the reverse KL divergence between the policy's preference and the label.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Matches the preference that the policy implies to the smoothed label, by reverse KL divergence.
///
///   q = σ(βΔ),   Δ = lw − ll,   lw, ll = log π/π_ref of the replies                   in nats, sums over tokens
///   L = q [log q − log(1 − ε)] + (1 − q) [log(1 − q) − log ε]
///   ∂L/∂Δ = β q (1 − q) [βΔ − log((1 − ε)/ε)]
///
/// ε `label_smoothing`: must be above 0, since KL to a certain label is infinite. The target is the zero of the
/// slope's last factor. At policy = reference L = −ln 2 − ½ log(ε(1 − ε)).
struct exo {
  static constexpr const char* name = "exo";
  static constexpr const char* paper = "Ji et al. 2024, arXiv:2402.00856";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;
  double label_smoothing = 1e-3;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("label_smoothing", self.label_smoothing, "share of pairs whose labels are swapped; not 0", inside(0, 0.5));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real gap = beta * (r.chosen.log_ratio() - r.rejected.log_ratio());
    return sigmoid(gap) * (log_sigmoid(gap) - log(1 - label_smoothing)) +
           sigmoid(-gap) * (log_sigmoid(-gap) - log(label_smoothing));
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
