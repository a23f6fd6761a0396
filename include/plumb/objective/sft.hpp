// SPDX-License-Identifier: BSL-1.0
// Supervised fine-tuning: the negative log-likelihood of each token, with label smoothing and z-loss on request.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Makes the demonstrated tokens likely.
///
///   L_t = −(1 − ε) log π(y_t | x, y_<t) − ε (1/V) Σ_v log π(v | x, y_<t) + w (log Z_t)²       in nats
///
/// ε `label_smoothing`: the share of the target that is spread evenly over the V words (Szegedy et al. 2016); w `z_loss`:
/// holds the log-partition log Z_t = log Σ_v exp z_v near 0 (PaLM: 1e-4). At 0 neither costs anything.
/// ∂L/∂log π = −(1 − ε), ∂L/∂mean_logp = −ε, ∂L/∂log Z = 2 w log Z.
///
/// The batch's loss is the mean over all valid tokens of the optimiser step, so it does not depend on how the
/// step is split into micro-batches; exp of it is the perplexity. Which tokens are valid is the mask's business
/// (completion only, assistant turns only, all).
struct sft {
  static constexpr const char* name = "sft";
  static constexpr const char* paper = "Ouyang et al. 2022, arXiv:2203.02155, section 3.5";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::mean_logp | need::log_partition;
  double label_smoothing = 0;
  double z_loss = 0;

  static constexpr void describe(auto& self, auto& about) {
    about("label_smoothing", self.label_smoothing, "share of the target spread over all words", from_below(0, 1));
    about("z_loss", self.z_loss, "weight of the squared log-partition", at_least(0));
  }
  /// What these parameters really read.
  constexpr need active_needs() const {
    return need::logp | (label_smoothing == 0 ? need::none : need::mean_logp) |
           (z_loss == 0 ? need::none : need::log_partition);
  }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    Real loss = -(1 - label_smoothing) * r.logp;
    if (label_smoothing != 0) loss -= label_smoothing * r.mean_logp;
    if (z_loss != 0) loss += z_loss * square(r.log_partition);
    return loss;
  }
};

}  // namespace plumb::inline v0
