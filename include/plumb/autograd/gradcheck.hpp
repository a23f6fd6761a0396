// SPDX-License-Identifier: BSL-1.0
// Is a backward right? Compare it with central differences of the forward, in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <plumb/autograd/tape.hpp>
#include <plumb/core/random.hpp>

namespace plumb::inline v0 {

/// The largest disagreement that `gradcheck` found, and where.
struct gradcheck_result {
  double worst = 0;      ///< |analytic − numeric| / max(1, |analytic|, |numeric|)
  index_t input = -1;    ///< which input
  index_t element = -1;  ///< which number of it, row by row
  double analytic = 0;
  double numeric = 0;
  /// Is every gradient right to within `tolerance`?
  [[nodiscard]] bool within(double tolerance) const noexcept { return worst <= tolerance; }
};

/// Checks the gradients of `function(tape, inputs) → output` with respect to every input.
///
/// The output [rows, columns] is made a number by fixed random weights; each input number x is moved by ±step:
/// numeric = (f(x + step) − f(x − step)) / 2 step, with step relative to max(1, |x|).
/// `function` takes `tape<B, double>&` and `std::span<const variable<B, double>>`. It runs 2 n + 1 times for n numbers.
template <class B, class Function>
gradcheck_result gradcheck(const device_ptr<B>& device, std::span<const tensor<B, double>> inputs, Function&& function,
                           double step = 1e-5) {
  tape<B, double> t(device);
  std::vector<tensor<B, double>> points;
  for (const auto& input : inputs) points.push_back(input.clone());

  const auto run = [&](bool learn) {
    t.reset();
    std::vector<variable<B, double>> variables;
    for (auto& point : points)
      variables.push_back(learn ? t.input(std::as_const(point).get()) : t.constant(std::as_const(point).get()));
    const auto out = function(t, std::span<const variable<B, double>>(variables));
    std::vector<double> weights(static_cast<std::size_t>(out.value.size()));
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = philox_word(derive_key(7, 1), i) / 4294967296.0 - 0.5;
    std::vector<double> values(weights.size());
    B::download(t.device(), out.value.data, values.data(), out.value.size());
    double scalar = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) scalar += weights[i] * values[i];
    if (learn) {
      const tensor<B, double> seed(device, out.value.extent(), weights);
      t.backward(out, seed.get());
    }
    return std::pair(scalar, variables);
  };

  const auto [value, variables] = run(true);
  std::vector<std::vector<double>> analytic;
  for (const auto& v : variables) {
    std::vector<double> gradient(static_cast<std::size_t>(v.value.size()), 0.0);
    if (v.slot && v.slot->started && !gradient.empty())
      B::download(t.device(), static_cast<const double*>(v.slot->value.data), gradient.data(), v.value.size());
    analytic.push_back(std::move(gradient));
  }

  gradcheck_result result;
  for (std::size_t k = 0; k < points.size(); ++k) {
    const std::vector<double> original = points[k].host();
    for (std::size_t i = 0; i < original.size(); ++i) {
      const double h = step * std::max(1.0, std::abs(original[i]));
      auto moved = original;
      moved[i] = original[i] + h;
      points[k].assign(moved);
      const double above = run(false).first;
      moved[i] = original[i] - h;
      points[k].assign(moved);
      const double below = run(false).first;
      const double numeric = (above - below) / (2 * h), found = analytic[k][i];
      const double wrong = std::abs(found - numeric) / std::max({1.0, std::abs(found), std::abs(numeric)});
      if (!(wrong <= result.worst))  // also catches NaN
        result = {wrong, static_cast<index_t>(k), static_cast<index_t>(i), found, numeric};
    }
    points[k].assign(original);
  }
  return result;
}

}  // namespace plumb::inline v0
