// SPDX-License-Identifier: BSL-1.0
// KTO: learning from single replies that people liked or disliked.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>
#include <span>

namespace plumb::inline v0 {

/// Gives liked replies more value than a baseline and disliked ones less, with diminishing returns both ways.
///
///   z0 = max(0, mean of the rows' `kl`),   s = log π(y|x) − log π_ref(y|x)          in nats, sums over tokens
///   L  = λ_D σ(β (z0 − s)) for a liked reply,   λ_U σ(β (s − z0)) for a disliked one
///   ∂L/∂log π = ∓βλ σ(z) σ(−z),   z = β (s − z0),   minus for a liked reply
///
/// λ_D `desirable`, λ_U `undesirable`. `kl` is a log-ratio of a reply that does not belong to the prompt; the mean of
/// many estimates KL(π‖π_ref). z0 is a constant of the batch: no slope. At policy = reference and z0 = 0, L = λ/2. A
/// row without `kl` is an error.
struct kto {
  static constexpr const char* name = "kto";
  static constexpr const char* paper = "Ethayarajh et al. 2024, arXiv:2402.01306";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference | need::desirable | need::divergence;

  double beta = 0.1;
  double desirable = 1;
  double undesirable = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("desirable", self.desirable, "weight of liked replies", at_least(0));
    about("undesirable", self.undesirable, "weight of disliked replies", at_least(0));
  }

  /// z0; every row that counts has one vote in it, whatever its weight.
  constexpr double prepare(std::span<const sequence_record<>> rows) const {
    double sum = 0, count = 0;
    for (const auto& r : rows)
      if (r.weight != 0) ++count, sum += given(r) ? r.kl : 0;
    return sum > 0 ? sum / count : 0;
  }
  template <class Real>
  constexpr Real operator()(const sequence_record<Real>& r, double baseline) const {
    const Real value = beta * (r.log_ratio() - (given(r) ? baseline : missing));  // NaN: the error names this row
    return r.desirable ? desirable * sigmoid(-value) : undesirable * sigmoid(value);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }

  constexpr void metrics(const sequence_record<double>& r, auto& add) const { add("kl", r.kl); }
  static constexpr bool given(const auto& r) { return r.kl - r.kl == 0; }  // neither missing nor infinite
};

}  // namespace plumb::inline v0
