// SPDX-License-Identifier: BSL-1.0
// Which of several sampled replies to learn from: the best, the best and the worst, and which prompts teach nothing.
#pragma once

#include <optional>

#include <plumb/rollout/checks.hpp>

namespace plumb::inline v0 {

/// The reply with the largest reward: best-of-n, and rejection sampling when it is trained on with sft. Of equals the
/// first. Throws errc::bad_argument for no rewards and for rewards that are not finite.
inline std::size_t best_of(std::span<const double> rewards) {
  detail::check_finite_numbers("best_of", "rewards", rewards);
  if (rewards.empty()) throw error(errc::bad_argument, "best_of", "expected at least one reward, found none");
  std::size_t best = 0;
  for (std::size_t i = 1; i < rewards.size(); ++i)
    if (rewards[i] > rewards[best]) best = i;
  return best;
}

/// A preference made of sampled replies: places of the chosen and the rejected one.
struct preference {
  std::size_t chosen = 0;
  std::size_t rejected = 0;
};

/// The best against the worst of several replies, for pair objectives on samples of the policy's own (online DPO,
/// iterated DPO, DNO). Of equals the first on both sides; nothing when the gap is not above `margin`: such a prompt
/// says nothing, or too little. Throws errc::bad_argument for fewer than two rewards and rewards that are not finite.
inline std::optional<preference> best_and_worst(std::span<const double> rewards, double margin = 0) {
  detail::check_not_negative("best_and_worst", "margin", margin);
  if (rewards.size() < 2)
    throw error(errc::bad_argument, "best_and_worst", join("expected at least 2 rewards, found ", rewards.size()));
  preference out{best_of(rewards), 0};
  for (std::size_t i = 1; i < rewards.size(); ++i)
    if (rewards[i] < rewards[out.rejected]) out.rejected = i;
  if (!(rewards[out.chosen] - rewards[out.rejected] > margin)) return std::nullopt;
  return out;
}

/// Do all rewards of a group agree? Then its advantages are 0, and DAPO samples another prompt in its place.
/// Throws errc::bad_argument for rewards that are not finite.
inline bool all_equal(std::span<const double> rewards) {
  detail::check_finite_numbers("all_equal", "rewards", rewards);
  for (const double r : rewards)
    if (r != rewards[0]) return false;
  return true;
}

}  // namespace plumb::inline v0
