// SPDX-License-Identifier: BSL-1.0
// Entropy-adaptive fine-tuning: likelihood, weighed by how open the policy is about each token.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// φ of the entropy among a row's `top_k` likeliest words, renormalised: Σ_v −q_v log q_v. 0: of all words.
struct top_entropy {
  static constexpr bool compares = false, tail = false;
  int top_k = 20;
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    const Real q = exp(logp);
    return value_of(q) == 0 ? Real(0.0) : -q * logp;
  }
};

/// Learns from demonstrations where the policy hesitates, and leaves alone what it is sure of.
///
///   L_t = −sg(H_t / h)^α log π(y_t | x, y_<t),   H_t: entropy among the `top_k` likeliest words, renormalised      in nats
///   ∂L_t/∂log π(y_t) = −(H_t / h)^α
///
/// sg: no gradient through the weight. h `scale` is about the largest H_t, ln top_k (3 for 20 words). A token that the policy
/// is sure of and gets wrong (low entropy, low probability) contradicts what it knows: likelihood would pull hardest there and
/// make it forget. The batch's loss is the mean over all valid tokens of the step; the weights do not enter the denominator.
struct eaft {
  static constexpr const char* name = "eaft";
  static constexpr const char* paper = "Diao et al. 2026, arXiv:2601.02151";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::statistic;
  using row_statistic = top_entropy;
  double alpha = 1, scale = 3;
  top_entropy function{};

  static constexpr void describe(auto& self, auto& about) {
    about("alpha", self.alpha, "power of the weight; 0: plain likelihood", at_least(0));
    about("scale", self.scale, "entropy at which a token counts whole, nats", above(0));
    about("top_k", self.function.top_k, "how many of the likeliest words the entropy is of; 0: all", at_least(0));
  }
  constexpr top_entropy row_function() const { return function; }
  /// (H / h)^α; NaN stays NaN.
  constexpr double weight(double entropy) const {
    if (alpha == 0) return 1;
    return entropy <= 0 ? 0 : exp(alpha * log(entropy / scale));
  }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return -weight(value_of(r.statistic)) * r.logp;
  }
  constexpr void metrics(const token_record<double>& r, auto&& add) const { add("token_weight", weight(r.statistic)); }
};

}  // namespace plumb::inline v0
