// SPDX-License-Identifier: BSL-1.0
// Estimates of KL(π ‖ π_ref) from the log-ratio of a sampled token, as terms of a loss.
#pragma once

#include <plumb/core/math.hpp>

namespace plumb::inline v0 {

/// Estimators of KL(π ‖ π_ref) from one sample, named after Schulman 2020, "Approximating KL divergence".
enum class kl_estimator { k1, k2, k3, k3_plus };
inline constexpr const char* kl_estimator_words[] = {"k1", "k2", "k3", "k3_plus"};

namespace detail {
/// Where ratios of probabilities stop to grow: e^40 ≈ 2.4e17. The slope beyond is 0.
inline constexpr double largest_log_ratio = 40;
}  // namespace detail

/// e^x for a log-ratio x in nats, held at e^40, so that one absurd token cannot make a loss infinite.
template <class Real>
constexpr Real ratio_of(const Real& log_ratio) {
  return exp(min(log_ratio, detail::largest_log_ratio));
}

/// One sample's estimate of KL(π ‖ π_ref), from d = log π(y_t) − log π_ref(y_t) in nats, with y sampled by π.
///
///   k1        d                     no bias, may be negative; its gradient as a loss is 0 in expectation
///   k2        d²/2                  as a loss it has the gradient of the KL: E[d ∇log π]
///   k3        e^−d − 1 + d          no bias, never negative; its gradient as a loss is that of KL(π_ref ‖ π)
///   k3_plus   value of k3, slope of k2
///
/// Slopes ∂/∂d: 1, d, 1 − e^−d, d. At d = 0 all are 0. e^−d is held at e^40.
template <class Real>
constexpr Real kl_estimate(const Real& d, kl_estimator how) {
  if (how == kl_estimator::k1) return d;
  const Real squared = 0.5 * square(d);
  if (how == kl_estimator::k2) return squared;
  if (how == kl_estimator::k3) return expm1(min(-d, detail::largest_log_ratio)) + d;
  return kl_estimate(detach(d), kl_estimator::k3) + (squared - detach(squared));
}

}  // namespace plumb::inline v0
