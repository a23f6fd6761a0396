// SPDX-License-Identifier: BSL-1.0
// Anchored fine-tuning: dft, held near the model it starts from.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Learns from demonstrations as dft does, and pays for every distribution that leaves the reference's.
///
///   L_t = −sg(p_t) log p_t + α KL(π_ref(· | x, y_<t) ‖ π(· | x, y_<t)),   p_t = π(y_t | x, y_<t)      in nats
///   ∂L_t/∂log p_t = −p_t,   ∂L_t/∂KL = α
///
/// sg: no gradient through the weight. The weight of dft alone lets the policy drift where it is already sure; the
/// divergence, over the whole vocabulary, anchors it. The batch's loss is the mean over all valid tokens of the step.
struct asft {
  static constexpr const char* name = "asft";
  static constexpr const char* paper = "Zhu et al. 2025, arXiv:2509.23753";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::sequential_kl;
  double alpha = 0.1;

  static constexpr void describe(auto& self, auto& about) {
    about("alpha", self.alpha, "weight of the divergence from the reference", at_least(0));
  }
  /// What these parameters really read.
  constexpr need active_needs() const { return alpha == 0 ? need::logp : needs; }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    const Real loss = -exp(value_of(r.logp)) * r.logp;
    return alpha == 0 ? loss : loss + alpha * r.sequential_kl;
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const {
    if (alpha != 0) add("sequential_kl", r.sequential_kl);
  }
};

}  // namespace plumb::inline v0
