// SPDX-License-Identifier: BSL-1.0
// A weight of the KL divergence that steers itself towards a target.
#pragma once

#include <plumb/rollout/checks.hpp>

namespace plumb::inline v0 {

/// Raises the weight while the policy is further from the reference than wanted, lowers it while it is nearer.
///
///   weight ← weight · (1 + clip(KL/target − 1, ±0.2) · n/horizon)
///
/// KL: mean over this batch's replies, in nats per reply; n: replies in the batch. Within `horizon` replies the weight
/// changes by about a fifth at most. A plain value: store the weight to resume. Paper: Ziegler et al. 2019,
/// arXiv:1909.08593.
struct adaptive_kl {
  double weight = 0.2;
  double target = 6;
  double horizon = 10000;

  /// Takes in a batch and returns the new weight. Throws errc::bad_argument for a KL that is not finite, a number of
  /// replies that is negative or above the horizon, and a target or horizon not above 0.
  double update(double kl, double replies) {
    detail::check_finite_numbers("adaptive_kl", "KL divergences", std::span(&kl, 1));
    detail::check_not_negative("adaptive_kl", "number of replies", replies);
    detail::check_not_negative("adaptive_kl", "weight", weight);
    if (!(target > 0) || !(horizon > 0) || std::isinf(target) || std::isinf(horizon))
      throw error(errc::bad_argument, "adaptive_kl",
                  join("expected a finite target and horizon above 0, found ", target, " and ", horizon));
    if (replies > horizon)
      throw error(errc::bad_argument, "adaptive_kl",
                  join("expected a horizon of many batches, found ", horizon, " replies where a batch has ", replies));
    const double excess = kl / target - 1;
    return weight *= 1 + (excess < -0.2 ? -0.2 : (excess > 0.2 ? 0.2 : excess)) * replies / horizon;
  }
};

}  // namespace plumb::inline v0
