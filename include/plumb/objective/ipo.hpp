// SPDX-License-Identifier: BSL-1.0
// Identity preference optimisation: the gap is regressed on a target, so no pair, however certain, drives it off.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Moves the gap between the replies to a finite target, from both sides.
///
///   h = lw/n_w − ll/n_l − 1/(2β)          nats per token;  `per_token = false`: h = lw − ll − 1/(2β), nats
///   L = h²
///   ∂L/∂log π(y_w) = 2h/n_w,   ∂L/∂log π(y_l) = −2h/n_l          n = 1 without per_token
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply; n_w, n_l: their tokens. 1/(2β) is the target.
/// At policy = reference L = 1/(4β²).
struct ipo {
  static constexpr const char* name = "ipo";
  static constexpr const char* paper = "Azar et al. 2023, arXiv:2310.12036";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference | need::tokens;

  double beta = 0.1;
  bool per_token = true;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "1 over twice the gap to reach: small moves far", above(0));
    about("per_token", self.per_token, "gap of the mean per token, as the authors do; false: of the sums", yes_or_no());
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const double chosen_tokens = per_token ? r.chosen.tokens : 1;
    const double rejected_tokens = per_token ? r.rejected.tokens : 1;
    return square(r.chosen.log_ratio() / chosen_tokens - r.rejected.log_ratio() / rejected_tokens - 1 / (2 * beta));
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
