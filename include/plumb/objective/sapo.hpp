// SPDX-License-Identifier: BSL-1.0
// SAPO: the trust region as a smooth gate instead of a clip.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/reduction.hpp>
#include <plumb/objective/surrogate.hpp>

namespace plumb::inline v0 {

/// Fades the policy gradient out with the distance from the sampling policy.
///
///   L_t = −(4/τ) σ(τ (ρ − 1)) A + β KL_t,   ρ = π(y_t)/π_old(y_t),   τ = τ_p where A > 0, else τ_n
///
/// A `advantage`, τ_p `temperature`, τ_n `temperature_negative` (larger: pushed-down tokens fade sooner, since they
/// spread probability over all other words); β `kl_weight`; KL_t: estimate of KL(π‖π_ref) by `kl_estimator` [nats].
/// ∂L/∂log π = −4 σ(z) σ(−z) ρA with z = τ (ρ − 1), plus β times the estimator's slope; at ρ = 1 the policy gradient's
/// −A. ρ is held at e^40. The batch's loss is the mean over replies of the mean over each reply's tokens.
struct sapo {
  static constexpr const char* name = "sapo";
  static constexpr const char* paper = "Gao et al. 2025, arXiv:2511.20347";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::old_logp | need::advantage | need::reference;
  static constexpr auto reduction = plumb::reduction::sequence_mean();
  double temperature = 1, temperature_negative = 1.05, kl_weight = 0;
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k3;

  static constexpr void describe(auto& self, auto& about) {
    about("temperature", self.temperature, "how fast the gate closes where the advantage is positive", above(0));
    about("temperature_negative", self.temperature_negative, "how fast it closes elsewhere", above(0));
    detail::describe_kl(self, about);
  }
  constexpr const char* conflict() const { return detail::kl_conflict(*this); }
  /// What these parameters really read.
  constexpr need active_needs() const { return detail::policy_needs(*this); }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    const double tau = r.advantage > 0 ? temperature : temperature_negative;
    return detail::with_kl(*this, -(4 / tau) * r.advantage * sigmoid(tau * (importance_ratio(r) - 1)), r);
  }
};

}  // namespace plumb::inline v0
