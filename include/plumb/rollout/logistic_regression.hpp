// SPDX-License-Identifier: BSL-1.0
// A linear classifier of two kinds of vectors. Bodies: logistic_regression_impl.hpp.
#pragma once

#include <span>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// P(positive | x) = σ(w·x + b).
struct logistic_classifier {
  std::vector<double> weights;  ///< w, [width]
  double bias = 0;              ///< b

  /// In (0, 1). `x` [width].
  [[nodiscard]] double probability(std::span<const double> x) const;
};

/// The classifier that minimises
///
///   ½ ‖w‖² + C Σ_i s_i log(1 + exp(−y_i (w·x_i + b))),   s_i = n / (2 · vectors of x_i's kind),   y_i = ±1
///
/// `vectors` [n, width], one after another; `positive` [n]; C `strength`. The factors s_i make both kinds weigh the same, however
/// many there are of each; b is not held to 0. Newton's method, whose steps come from conjugate gradients, so that no
/// matrix [width, width] is ever made; the loss is convex, so the result does not depend on a start.
/// Throws errc::bad_argument when the sizes do not fit, a kind is missing, a number is not finite, or C is not above 0.
logistic_classifier fit_logistic(std::span<const double> vectors, index_t width, const std::vector<bool>& positive,
                                 double strength = 1);

}  // namespace plumb::inline v0
