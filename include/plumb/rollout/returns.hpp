// SPDX-License-Identifier: BSL-1.0
// From rewards per token to what each token was worth: discounted returns and generalised advantage estimation.
#pragma once

#include <plumb/rollout/checks.hpp>
#include <vector>

namespace plumb::inline v0 {

/// G_t = r_t + γ G_{t+1}: the discounted sum of the rewards from a token to the reply's end, [tokens].
///
/// rewards [tokens] of one reply. Throws errc::bad_argument for a reward that is not finite and γ outside [0, 1].
inline std::vector<double> returns_to_go(std::span<const double> rewards, double gamma = 1) {
  detail::check_finite_numbers("returns_to_go", "rewards", rewards);
  detail::check_share("returns_to_go", "gamma", gamma);
  std::vector<double> result(rewards.size());
  double later = 0;
  for (std::size_t t = rewards.size(); t-- > 0;) result[t] = later = rewards[t] + gamma * later;
  return result;
}

/// What generalised advantage estimation says about a reply, each [tokens].
struct advantage_estimate {
  std::vector<double> advantages;  ///< A_t
  std::vector<double> returns;     ///< A_t + V_t: what the value head regresses on
};

/// Generalised advantage estimation on one reply.
///
///   δ_t = r_t + γ V_{t+1} − V_t,   A_t = δ_t + γλ A_{t+1},   V and A are 0 after the last token
///
/// rewards, values [tokens]; V_t `values`: the value head's estimate before token t; γ `gamma`: discount per token; λ
/// `lambda`: 1 trusts the rewards (no bias), 0 the value head (least variance). mask [tokens], or empty: 0 for tokens
/// that the policy did not write, such as a tool's answer in between; they are stepped over without discount and get
/// 0. Throws errc::bad_argument for sizes that differ, numbers that are not finite, γ or λ outside [0, 1], and a
/// reward on a token that is stepped over, which would be lost. Paper: Schulman et al. 2015, arXiv:1506.02438.
inline advantage_estimate gae(std::span<const double> rewards, std::span<const double> values, double gamma = 1,
                              double lambda = 0.95, std::span<const unsigned char> mask = {}) {
  detail::check_size("gae", "values, one per reward", rewards.size(), values.size());
  if (!mask.empty()) detail::check_size("gae", "mask entries, one per reward", rewards.size(), mask.size());
  detail::check_finite_numbers("gae", "rewards", rewards);
  detail::check_share("gae", "gamma", gamma);
  detail::check_share("gae", "lambda", lambda);
  const detail::token_mask counts{mask};
  advantage_estimate result{std::vector<double>(rewards.size()), std::vector<double>(rewards.size())};
  double next_value = 0, later = 0;
  for (std::size_t t = rewards.size(); t-- > 0;) {
    if (!counts[t]) {
      if (rewards[t] != 0)
        throw error(errc::bad_argument, "gae",
                    join("token ", t, " is masked but has a reward of ", rewards[t],
                         "; give it to the last token that the policy wrote"));
      continue;
    }
    detail::check_finite_numbers("gae", "values", values.subspan(t, 1));
    later = rewards[t] + gamma * next_value - values[t] + gamma * lambda * later;
    next_value = values[t];
    result.advantages[t] = later;
    result.returns[t] = later + values[t];
  }
  return result;
}

}  // namespace plumb::inline v0
