// SPDX-License-Identifier: BSL-1.0
// Supervised fine-tuning: the negative log-likelihood of a demonstration's tokens.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the demonstrated tokens likely.
///
///   L_t = −log π(y_t | x, y_<t)            in nats;  ∂L/∂log π = −1
///
/// The batch's loss is the mean over all valid tokens of the optimiser step, so it does not depend on how the
/// step is split into micro-batches; exp of it is the perplexity. Which tokens are valid is the mask's business
/// (completion only, assistant turns only, all).
struct sft {
  static constexpr const char* name = "sft";
  static constexpr const char* paper = "Ouyang et al. 2022, arXiv:2203.02155, section 3.5";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp;

  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return -r.logp;
  }
};

}  // namespace plumb::inline v0
