// SPDX-License-Identifier: BSL-1.0
// DPO under other f-divergences than reverse KL.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Distances from the reference.
enum class f_divergence { reverse_kl, forward_kl, js, alpha };
/// As they are written in settings.
inline constexpr const char* f_divergence_words[] = {"reverse_kl", "forward_kl", "js", "alpha"};

/// DPO with an f-divergence of choice as distance from the reference: its derivative takes the log-ratio's place.
///
///   L = −log σ(β (g(lw) − g(ll))),   lw, ll = log π/π_ref of the replies          in nats, sums over tokens
///   reverse_kl   g(s) = s                              DPO
///   forward_kl   g(s) = −e^−s                          covers every reply of the reference
///   js           g(s) = log σ(s)                       between the two
///   alpha        g(s) = (e^{(α−1)s} − 1)/(α − 1)       α = 1: reverse_kl, α = 0: forward_kl
///   ∂L/∂lw = −β (1 − p) g'(lw),   ∂L/∂ll = β (1 − p) g'(ll),   p = σ(β (g(lw) − g(ll)))
///
/// Exponents are held at 80 at most, beyond which the slope is 0. At policy = reference L = ln 2.
struct f_dpo {
  static constexpr const char* name = "f_dpo";
  static constexpr const char* paper = "Wang et al. 2023, arXiv:2309.16240";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference;
  double beta = 0.1;
  f_divergence divergence = f_divergence::reverse_kl;
  double alpha = 0.5;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("divergence", self.divergence, "what the distance from the reference is", one_of(f_divergence_words));
    about("alpha", self.alpha, "order of the alpha-divergence", any_number());
  }
  constexpr const char* conflict() const {
    return alpha == 0.5 || divergence == f_divergence::alpha ? nullptr : "alpha asks for divergence=alpha, set first";
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(beta * (bend(r.chosen.log_ratio()) - bend(r.rejected.log_ratio())));
  }
  /// β log π/π_ref, whatever the divergence.
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
  /// g, of a log-ratio.
  template <class Real>
  constexpr Real bend(const Real& s) const {
    if (divergence == f_divergence::forward_kl) return -exp(min(-s, 80.0));
    if (divergence == f_divergence::js) return log_sigmoid(s);
    const double rate = divergence == f_divergence::alpha ? alpha - 1 : 0;
    return rate == 0 ? s : expm1(min(rate * s, 80.0)) / rate;
  }
};

}  // namespace plumb::inline v0
