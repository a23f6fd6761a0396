// SPDX-License-Identifier: BSL-1.0
// Self-play preference optimisation with hard labels: each log-ratio is regressed on a fixed target.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Moves the chosen reply's log-ratio to +1/(2β) and the rejected one's to −1/(2β).
///
///   L = (lw − 1/(2β))² + (ll + 1/(2β))²
///   ∂L/∂lw = 2 (lw − 1/(2β)),   ∂L/∂ll = 2 (ll + 1/(2β))
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply, nats, sums over tokens.
/// At policy = reference L = 1/(2β²).
struct sppo {
  static constexpr const char* name = "sppo";
  static constexpr const char* paper = "Wu et al. 2024, arXiv:2405.00675";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "1 over twice the log-ratio to reach: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const double target = 1 / (2 * beta);
    return square(r.chosen.log_ratio() - target) + square(r.rejected.log_ratio() + target);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
