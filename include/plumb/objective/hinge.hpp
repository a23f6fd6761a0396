// SPDX-License-Identifier: BSL-1.0
// The hinge loss on log-ratios: pairs that are ranked well enough are left alone.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Widens the gap between the replies until it is 1/β, and then stops.
///
///   Δ = lw − ll,   lw, ll = log π/π_ref of the chosen and the rejected reply          in nats, sums over tokens
///   L = max(0, 1 − βΔ)
///   ∂L/∂Δ = −β below βΔ = 1, 0 above, −β/2 exactly there
///
/// 1/β: the gap to reach, in nats. At policy = reference L = 1.
struct hinge {
  static constexpr const char* name = "hinge";
  static constexpr const char* paper = "Liu et al. 2023, arXiv:2309.06657 (RSO); Zhao et al. 2023, arXiv:2305.10425";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "1 over the gap in log-ratio that is enough, in nats", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return relu(1 - beta * (r.chosen.log_ratio() - r.rejected.log_ratio()));
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
