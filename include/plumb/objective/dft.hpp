// SPDX-License-Identifier: BSL-1.0
// Dynamic fine-tuning: likelihood, weighed by how likely the policy already finds each token.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Learns from demonstrations without chasing tokens that the policy finds absurd.
///
///   L_t = −sg(p_t) log p_t,   p_t = π(y_t | x, y_<t)            log p in nats; sg: no gradient through the weight
///   ∂L_t/∂log p_t = −p_t
///
/// Plain likelihood has the gradient of a policy gradient whose reward is 1/p_t, huge for rare tokens; the weight p_t
/// takes that factor out. L lies in [0, 1/e]. The batch's loss is the mean over all valid tokens of the optimiser step.
struct dft {
  static constexpr const char* name = "dft";
  static constexpr const char* paper = "Wu et al. 2025, arXiv:2508.05629";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp;

  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return -exp(value_of(r.logp)) * r.logp;
  }
};

}  // namespace plumb::inline v0
