// SPDX-License-Identifier: BSL-1.0
// Distillation: the whole next-token distribution of a teacher, not its choice alone.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/range.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

enum class distill_divergence { forward_kl, reverse_kl, jsd };  ///< distances from the teacher
inline constexpr const char* distill_divergence_words[] = {"forward_kl", "reverse_kl", "jsd"};

/// Brings the student's distribution S near the teacher's T, row by row; both of logits / temperature.
///
///   forward_kl   KL(T‖S) = Σ_v T (log T − log S)            covers all that the teacher may say
///   reverse_kl   KL(S‖T) = Σ_v S (log S − log T)            settles on what the teacher likes best
///   jsd          β KL(T‖M) + (1 − β) KL(S‖M),  M = βT + (1 − β)S      generalised Jensen–Shannon (GKD)   in nats
///
/// jsd with β = 0 means KL(T‖S) and with β = 1 KL(S‖T), as GKD defines it; these are not the limits of the formula,
/// which are 0. No factor temperature². ∂L/∂z_k = (φ'_k − S_k Σ_j φ'_j)/temperature; for KL(T‖S): (S_k − T_k)/temperature.
/// `top_k` > 0: v runs over the teacher's k likeliest words; with `tail` all others are one more, else renormalised.
/// The batch's loss is the mean over all valid tokens of the optimiser step. At student = teacher 0.
struct distill {
  static constexpr const char* name = "distill";
  static constexpr const char* paper = "Agarwal et al. 2023, arXiv:2306.13649 (GKD); Hinton et al. 2015";
  static constexpr auto level = plumb::level::row;
  static constexpr auto needs = need::statistic;
  static constexpr bool compares = true;  ///< looks at the teacher's row beside the student's
  distill_divergence divergence = distill_divergence::jsd;
  double temperature = 1, beta = 0.5;
  int top_k = 0;
  bool tail = true;
  static constexpr void describe(auto& self, auto& about) {
    about("divergence", self.divergence, "what the distance from the teacher is", one_of(distill_divergence_words));
    about("temperature", self.temperature, "divides both rows of logits", above(0));
    about("beta", self.beta, "the teacher's share in the mixture of jsd", between(0, 1));
    about("top_k", self.top_k, "how many of the teacher's likeliest words count; 0: all", at_least(0));
    about("tail", self.tail, "all other words together as one more; false: renormalise", yes_or_no());
  }
  constexpr const char* conflict() const {
    if (beta != 0.5 && divergence != distill_divergence::jsd) return "beta asks for divergence=jsd, set first";
    return tail || top_k > 0 ? nullptr : "tail=false asks for a top_k above 0, set first";
  }
  /// φ: one word's part, from its log-probability under the student and under the teacher.
  template <class Real>
  constexpr Real operator()(const Real& logp, double other) const {
    using enum distill_divergence;
    const double t = exp(other);
    const Real s = exp(logp);
    if (divergence == forward_kl || (divergence == jsd && beta == 0)) return t == 0 ? Real(0.0) : t * (other - logp);
    if (divergence == reverse_kl || beta == 1) return value_of(s) == 0 ? Real(0.0) : s * (logp - other);
    const Real mixed = t == 0 ? log1p(-beta) + logp : log_add_exp(log1p(-beta) + logp, log(beta) + other);
    Real sum = t == 0 ? Real(0.0) : beta * t * (other - mixed);
    if (value_of(s) != 0) sum += (1 - beta) * s * (logp - mixed);
    return sum;
  }
};

}  // namespace plumb::inline v0
