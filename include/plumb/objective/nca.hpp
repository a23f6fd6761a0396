// SPDX-License-Identifier: BSL-1.0
// Noise contrastive alignment for pairs: raises the chosen reply in itself, not only against the rejected one.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Tells the chosen reply from a sample of the reference, and holds both replies' log-ratios near 0 otherwise.
///
///   L = −log σ(β lw) − ½ log σ(−β lw) − ½ log σ(−β ll)
///   ∂L/∂lw = β (½ σ(β lw) − σ(−β lw)),   ∂L/∂ll = ½ β σ(β ll)
///
/// lw, ll: log π/π_ref of the chosen and the rejected reply, nats, sums over tokens. The chosen reply is drawn
/// to β lw = ln 2, the rejected one falls. At policy = reference L = 2 ln 2.
struct nca {
  static constexpr const char* name = "nca";
  static constexpr const char* paper = "Chen et al. 2024, arXiv:2402.05369";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;

  double beta = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
  }

  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real chosen = beta * r.chosen.log_ratio();
    const Real rejected = beta * r.rejected.log_ratio();
    return -log_sigmoid(chosen) - 0.5 * log_sigmoid(-chosen) - 0.5 * log_sigmoid(-rejected);
  }

  /// The reward that the policy implies: β log π/π_ref.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
};

}  // namespace plumb::inline v0
