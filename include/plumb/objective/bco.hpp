// SPDX-License-Identifier: BSL-1.0
// BCO: a classifier of liked and disliked replies, whose log-odds are the implicit reward above the batch's mean.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// Trains the reward β log π/π_ref to be above its mean for liked replies and below it for disliked ones.
///
///   v = β (log π(y|x) − log π_ref(y|x)),   δ = mean of v over the batch, or over all that training has seen
///   L = −log σ(v − δ) for a liked reply,   −log σ(δ − v) for a disliked one
///   ∂L/∂log π = −β σ(δ − v) for a liked reply,   β σ(v − δ) for a disliked one
///
/// v from sums over tokens; δ is a constant of the batch: no slope. Rows that bear a `mean_ratio`, as those of a training
/// run do, have δ = β · mean_ratio. At policy = reference L = ln 2.
struct bco {
  static constexpr const char* name = "bco";
  static constexpr const char* paper = "Jung et al. 2024, arXiv:2404.04656";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference | need::desirable | need::mean_ratio;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }

  /// δ; every row that counts has one vote in it, whatever its weight. Rows that lack something are left out, and are
  /// named when their own loss is computed.
  constexpr double prepare(std::span<const sequence_record<>> rows) const {
    double sum = 0, count = 0;
    for (const auto& r : rows) {
      const double value = running(r) ? beta * r.mean_ratio : reward(r);
      if (r.weight == 0 || value - value != 0) continue;  // missing or infinite
      sum += value;
      ++count;
    }
    return count > 0 ? sum / count : 0;
  }
  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r, double shift) const {
    const Real value = beta * r.log_ratio() - shift;
    return -log_sigmoid(r.desirable ? value : -value);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }

  constexpr void metrics(const sequence_record<double>& r, auto& add) const {
    add("delta", running(r) ? beta * r.mean_ratio : reward(r));
  }
  static constexpr bool running(const auto& r) { return r.mean_ratio - r.mean_ratio == 0; }
};

}  // namespace plumb::inline v0
