// SPDX-License-Identifier: BSL-1.0
// From a reply's score to rewards on its tokens: KL in the reward, and penalties for how a reply ends.
#pragma once

#include <plumb/objective/kl.hpp>
#include <plumb/rollout/checks.hpp>
#include <vector>

namespace plumb::inline v0 {

/// r_t = −β kl_t, plus the score on the last token that counts, [tokens].
///
/// logps, references [tokens]: log-probabilities of the sampled tokens under the policy that sampled them and under the
/// reference, in nats; β `kl_weight`; kl_t by `estimator`: k1, whose sum is the log-ratio of the reply, is right inside
/// a reward; k3 is never negative. mask [tokens], or empty: tokens with 0 get 0. Throws errc::bad_argument for
/// sizes that differ, numbers that are not finite, and a reply without a token that counts.
inline std::vector<double> token_rewards(double score, std::span<const double> logps,
                                         std::span<const double> references, double kl_weight,
                                         kl_estimator estimator = kl_estimator::k1,
                                         std::span<const unsigned char> mask = {}) {
  detail::check_size("token_rewards", "reference log-probs, one per token", logps.size(), references.size());
  if (!mask.empty()) detail::check_size("token_rewards", "mask entries, one per token", logps.size(), mask.size());
  detail::check_finite_numbers("token_rewards", "scores", std::span(&score, 1));
  detail::check_not_negative("token_rewards", "kl_weight", kl_weight);
  const detail::token_mask counts{mask};
  std::vector<double> result(logps.size(), 0.0);
  std::size_t last = logps.size();
  for (std::size_t t = 0; t < logps.size(); ++t) {
    if (!counts[t]) continue;
    const double ratio = logps[t] - references[t];
    detail::check_finite_numbers("token_rewards", "log-ratios", std::span(&ratio, 1));
    result[t] = -kl_weight * kl_estimate(ratio, estimator);
    last = t;
  }
  if (last == logps.size())
    throw error(errc::bad_argument, "token_rewards",
                join("expected a reply with at least one token that counts, found none of ", logps.size()));
  result[last] += score;
  return result;
}

/// The score of a reply, less `penalty` when it never came to an end (it stopped for its length): the policy learns to
/// stop. TRL's missing_eos_penalty.
constexpr double score_of_ending(double score, bool ended, double penalty) { return ended ? score : score - penalty; }

/// What a long reply loses, from 0 to −factor: DAPO's soft punishment.
///
///   0 up to longest − buffer tokens,   −factor (tokens − (longest − buffer))/buffer up to longest,   −factor beyond
///
/// Throws errc::bad_argument unless 0 < buffer ≤ longest and factor ≥ 0. Paper: Yu et al. 2025, arXiv:2503.14476.
inline double overlong_penalty(double tokens, double longest, double buffer, double factor = 1) {
  detail::check_not_negative("overlong_penalty", "factor", factor);
  detail::check_not_negative("overlong_penalty", "number of tokens", tokens);
  if (!(buffer > 0 && buffer <= longest) || std::isinf(longest))
    throw error(errc::bad_argument, "overlong_penalty",
                join("expected a buffer above 0 and at most longest, found buffer ", buffer, " and longest ", longest));
  const double excess = tokens - (longest - buffer);
  return excess <= 0 ? 0 : -factor * (excess < buffer ? excess / buffer : 1);
}

/// V*(x) = β log mean_k exp(r_k/β): what the best policy can expect of a prompt, from rewards of the reference's
/// replies to it. Between their mean (β → ∞) and their maximum (β → 0). For a2po: its advantage is r − V*.
/// Throws errc::bad_argument for no rewards, rewards that are not finite, and β not above 0.
inline double optimal_value(std::span<const double> rewards, double beta = 0.5) {
  detail::check_finite_numbers("optimal_value", "rewards", rewards);
  if (rewards.empty() || !(beta > 0) || std::isinf(beta))
    throw error(errc::bad_argument, "optimal_value",
                join("expected at least one reward and a finite beta above 0, found ", rewards.size(), " and ", beta));
  double largest = rewards[0], sum = 0;
  for (const double r : rewards) largest = r > largest ? r : largest;
  for (const double r : rewards) sum += std::exp((r - largest) / beta);
  return largest + beta * std::log(sum / static_cast<double>(rewards.size()));
}

}  // namespace plumb::inline v0
