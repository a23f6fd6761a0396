// SPDX-License-Identifier: BSL-1.0
// Token-level DPO: the divergence along each reply takes part.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// The two forms of the paper.
enum class tdpo_form { tdpo1, tdpo2 };
inline constexpr const char* tdpo_form_words[] = {"tdpo1", "tdpo2"};

/// DPO that also balances how far the policy has moved along the two replies.
///
///   tdpo1   L = −log σ(β (lw − ll − (d_l − d_w)))
///   tdpo2   L = −log σ(β (lw − ll − α (d_l − sg(d_w))))                                in nats, sums over tokens
///   d = Σ_t KL(π_ref(· | x, y_<t) ‖ π(· | x, y_<t))
///
/// lw, ll: log π/π_ref of chosen and rejected; d_w, d_l `sequential_kl` of each; sg: held constant. With
/// p = σ(…): ∂L/∂lw = −β (1 − p), ∂L/∂d_l = αβ (1 − p) (tdpo1: α = 1, and ∂L/∂d_w = −β (1 − p)).
/// At policy = reference L = ln 2.
struct tdpo {
  static constexpr const char* name = "tdpo";
  static constexpr const char* paper = "Zeng et al. 2024, arXiv:2404.11999";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reference | need::sequential_kl;
  double beta = 0.1;
  tdpo_form form = tdpo_form::tdpo2;
  double alpha = 0.5;

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference: small moves far", above(0));
    about("form", self.form, "which of the paper's losses", one_of(tdpo_form_words));
    about("alpha", self.alpha, "weight of the divergences in tdpo2", at_least(0));
  }
  constexpr const char* conflict() const {
    return alpha == 0.5 || form == tdpo_form::tdpo2 ? nullptr : "alpha asks for form=tdpo2, set first";
  }
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    const Real gap = r.chosen.log_ratio() - r.rejected.log_ratio();
    const Real& chosen = r.chosen.sequential_kl;
    if (form == tdpo_form::tdpo1) return -log_sigmoid(beta * (gap - (r.rejected.sequential_kl - chosen)));
    return -log_sigmoid(beta * (gap - alpha * (r.rejected.sequential_kl - detach(chosen))));
  }
  constexpr double reward(const sequence_record<double>& reply) const { return beta * reply.log_ratio(); }
  constexpr void metrics(const pair_record<double>& r, auto&& add) const {
    add("sequential_kl/chosen", r.chosen.sequential_kl);
    add("sequential_kl/rejected", r.rejected.sequential_kl);
  }
};

}  // namespace plumb::inline v0
