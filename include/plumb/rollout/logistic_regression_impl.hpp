// SPDX-License-Identifier: BSL-1.0
// The bodies of rollout/logistic_regression.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <plumb/core/math.hpp>
#include <plumb/rollout/checks.hpp>
#include <plumb/rollout/logistic_regression.hpp>

namespace plumb::inline v0 {

namespace detail {

inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The loss of fit_logistic, its gradient and its curvature at w, b, kept as one vector [width + 1] with b last.
struct logistic_loss {
  std::span<const double> vectors;
  std::size_t width;
  std::vector<double> sign, share;  ///< y_i and C s_i, [n]

  /// w·x_i + b.
  [[nodiscard]] double score(std::span<const double> at, std::size_t i) const {
    return dot(at.first(width), row(i)) + at[width];
  }
  [[nodiscard]] double value(std::span<const double> at) const {
    double sum = 0.5 * dot(at.first(width), at.first(width));
    for (std::size_t i = 0; i < sign.size(); ++i) sum -= share[i] * log_sigmoid(sign[i] * score(at, i));
    return sum;
  }
  [[nodiscard]] std::vector<double> gradient(std::span<const double> at) const {
    return combine(at, [&](std::size_t i) { return -share[i] * sign[i] * sigmoid(-sign[i] * score(at, i)); });
  }
  /// C s_i σ σ': how much row i bends the loss, [n].
  [[nodiscard]] std::vector<double> bends(std::span<const double> at) const {
    std::vector<double> out(sign.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double z = score(at, i);
      out[i] = share[i] * sigmoid(z) * sigmoid(-z);
    }
    return out;
  }
  /// The matrix of second derivatives times `direction`.
  [[nodiscard]] std::vector<double> curvature(std::span<const double> bends, std::span<const double> direction) const {
    return combine(direction, [&](std::size_t i) { return bends[i] * score(direction, i); });
  }

 private:
  [[nodiscard]] std::span<const double> row(std::size_t i) const { return vectors.subspan(i * width, width); }
  /// (w, 0) + Σ_i factor(i) (x_i, 1).
  template <class Factor>
  std::vector<double> combine(std::span<const double> at, Factor factor) const {
    std::vector<double> out(at.begin(), at.end());
    out[width] = 0;
    for (std::size_t i = 0; i < sign.size(); ++i) {
      const double f = factor(i);
      const auto x = row(i);
      for (std::size_t k = 0; k < width; ++k) out[k] += f * x[k];
      out[width] += f;
    }
    return out;
  }
};

/// Solves curvature · step = −gradient by conjugate gradients, until the rest is `accuracy` of the gradient.
inline std::vector<double> newton_step(const logistic_loss& loss, std::span<const double> at,
                                       std::span<const double> gradient, double accuracy) {
  const auto bends = loss.bends(at);
  std::vector<double> step(at.size()), rest(at.size()), direction;
  for (std::size_t k = 0; k < rest.size(); ++k) rest[k] = -gradient[k];
  direction = rest;
  double size = dot(rest, rest);
  const double enough = accuracy * accuracy * size;
  for (std::size_t turn = 0; turn < 2 * at.size() && size > enough; ++turn) {
    const auto bent = loss.curvature(bends, direction);
    const double along = dot(direction, bent);
    if (!(along > 0)) break;  // nothing bends any more: all vectors lie far on their side
    const double length = size / along;
    for (std::size_t k = 0; k < rest.size(); ++k) {
      step[k] += length * direction[k];
      rest[k] -= length * bent[k];
    }
    const double next = dot(rest, rest);
    for (std::size_t k = 0; k < rest.size(); ++k) direction[k] = rest[k] + next / size * direction[k];
    size = next;
  }
  return step;
}

inline logistic_loss make_logistic_loss(std::span<const double> vectors, index_t width,
                                        const std::vector<bool>& positive, double strength) {
  constexpr std::string_view place = "logistic regression";
  const std::size_t count = positive.size();
  if (width < 1 || vectors.size() % static_cast<std::size_t>(width) != 0 ||
      vectors.size() / static_cast<std::size_t>(width) != count)
    throw error(errc::bad_argument, std::string(place),
                join("expected ", count, " vectors of ", width, " numbers, found ", vectors.size(), " numbers"));
  check_finite_numbers(place, "vectors", vectors);
  if (!(strength > 0) || !std::isfinite(strength))
    throw error(errc::bad_argument, std::string(place), join("strength: expected a number above 0, found ", strength));
  const auto liked = static_cast<double>(std::count(positive.begin(), positive.end(), true));
  const auto all = static_cast<double>(count);
  if (liked == 0 || liked == all)
    throw error(errc::bad_argument, std::string(place),
                join("expected vectors of both kinds, found ", liked, " positive ones of ", count));
  logistic_loss loss{vectors, static_cast<std::size_t>(width), {}, {}};
  for (const bool p : positive) {
    loss.sign.push_back(p ? 1 : -1);
    loss.share.push_back(strength * all / (2 * (p ? liked : all - liked)));
  }
  return loss;
}

}  // namespace detail

double logistic_classifier::probability(std::span<const double> x) const {
  return sigmoid(detail::dot(weights, x) + bias);
}

logistic_classifier fit_logistic(std::span<const double> vectors, index_t width, const std::vector<bool>& positive,
                                 double strength) {
  const auto loss = detail::make_logistic_loss(vectors, width, positive, strength);
  std::vector<double> at(loss.width + 1), tried(at.size());
  double value = loss.value(at);
  for (int turn = 0; turn < 100; ++turn) {
    const auto gradient = loss.gradient(at);
    const double size = std::sqrt(detail::dot(gradient, gradient));
    const auto step = detail::newton_step(loss, at, gradient, std::min(0.1, std::max(1e-10, size)));
    const double slope = detail::dot(gradient, step);  // twice what is left to win
    if (!(slope < -1e-24 * std::max(1.0, value))) break;
    const double rounding = 1e-14 * value;
    double share = 1, found = value;
    for (; share > 1e-10; share /= 2) {  // shorter until the loss falls as its slope promises
      for (std::size_t k = 0; k < at.size(); ++k) tried[k] = at[k] + share * step[k];
      found = loss.value(tried);
      if (found <= value + 1e-4 * share * slope + rounding) break;
    }
    if (!(share > 1e-10)) break;  // as good as numbers get
    at = tried;
    value = found;
  }
  logistic_classifier out;
  out.bias = at.back();
  at.pop_back();
  out.weights = std::move(at);
  return out;
}

}  // namespace plumb::inline v0
