// SPDX-License-Identifier: BSL-1.0
// Advantages without a value head: how much better a reply is than others to the same prompt.
#pragma once

#include <plumb/core/types.hpp>
#include <plumb/rollout/returns.hpp>
#include <plumb/rollout/whiten.hpp>
#include <unordered_map>

// `rewards` [replies], one per reply; `groups` [replies]: which prompt each replies to, any numbers, in any order. All
// throw errc::bad_argument for sizes that differ and rewards that are not finite. One advantage per reply comes back,
// [replies], meant for each of its tokens, unless said otherwise.

namespace plumb::inline v0 {

/// What advantages are divided by.
enum class advantage_scale { group, batch, none };
inline constexpr const char* advantage_scale_words[] = {"group", "batch", "none"};

namespace detail {
/// The rewards of each group, and the place of each reply among them.
struct grouped_rewards {
  std::unordered_map<index_t, std::vector<double>> groups;

  grouped_rewards(std::string_view place, std::span<const double> rewards, std::span<const index_t> ids) {
    check_size(place, "group numbers, one per reward", rewards.size(), ids.size());
    check_finite_numbers(place, "rewards", rewards);
    for (std::size_t i = 0; i < rewards.size(); ++i) groups[ids[i]].push_back(rewards[i]);
  }
};
}  // namespace detail

/// Group-relative advantages of grpo: (r − mean of the group)/(σ + 1e-4).
///
/// σ: unbiased standard deviation of the group, or of the whole batch (`batch`: easy and hard prompts keep their size);
/// `none`: divided by nothing (dr_grpo). A group of one, and one whose rewards are all equal, gets 0.
inline std::vector<double> group_advantages(std::span<const double> rewards, std::span<const index_t> groups,
                                            advantage_scale scale = advantage_scale::group, double epsilon = 1e-4) {
  const detail::grouped_rewards all("group_advantages", rewards, groups);
  detail::check_not_negative("group_advantages", "epsilon", epsilon);
  const double batch = std::sqrt(moments_of(rewards).variance);
  std::unordered_map<index_t, moments> of_group;
  for (const auto& [id, members] : all.groups) of_group[id] = moments_of(members);
  std::vector<double> result;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    const moments& m = of_group.at(groups[i]);
    const double gap = m.variance > 0 ? rewards[i] - m.mean : 0;
    const double deviation = scale == advantage_scale::batch ? batch : std::sqrt(m.variance);
    result.push_back(gap == 0 || scale == advantage_scale::none ? gap : gap / (deviation + epsilon));
  }
  return result;
}

/// Leave-one-out advantages of RLOO: r minus the mean of the group's others, n/(n − 1) (r − mean).
/// Throws errc::bad_argument for a group of one, which has no others. Paper: Ahmadian et al. 2024, arXiv:2402.14740.
inline std::vector<double> rloo_advantages(std::span<const double> rewards, std::span<const index_t> groups) {
  const detail::grouped_rewards all("rloo_advantages", rewards, groups);
  std::vector<double> result = group_advantages(rewards, groups, advantage_scale::none);
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    const double n = static_cast<double>(all.groups.at(groups[i]).size());
    if (n < 2)
      throw error(errc::bad_argument, "rloo_advantages",
                  join("expected at least 2 replies to each prompt, found 1 in group ", groups[i],
                       "; sample more replies, or take reinforce_plus_plus"));
    result[i] *= n / (n - 1);
  }
  return result;
}

/// Advantages of ReMax: the reward minus that of the greedy reply to the same prompt, [replies] both.
/// Paper: Li et al. 2023, arXiv:2310.10505.
inline std::vector<double> remax_advantages(std::span<const double> rewards, std::span<const double> greedy) {
  detail::check_size("remax_advantages", "rewards of greedy replies, one per reward", rewards.size(), greedy.size());
  detail::check_finite_numbers("remax_advantages", "rewards", rewards);
  detail::check_finite_numbers("remax_advantages", "greedy rewards", greedy);
  std::vector<double> result;
  for (std::size_t i = 0; i < rewards.size(); ++i) result.push_back(rewards[i] - greedy[i]);
  return result;
}

/// Advantages of OPO: r − Σ n_i r_i/Σ n_i over the group, the baseline that leaves the least variance when the gradient
/// of a reply grows with its length. lengths [replies] in tokens, above 0. Paper: Hao et al. 2025, arXiv:2505.23585.
inline std::vector<double> opo_advantages(std::span<const double> rewards, std::span<const double> lengths,
                                          std::span<const index_t> groups) {
  const detail::grouped_rewards all("opo_advantages", rewards, groups);
  detail::check_size("opo_advantages", "lengths, one per reward", rewards.size(), lengths.size());
  std::unordered_map<index_t, double> weighted, total;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    if (!(lengths[i] > 0) || std::isinf(lengths[i]))
      throw error(errc::bad_argument, "opo_advantages",
                  join("expected lengths above 0, found ", lengths[i], " at ", i));
    weighted[groups[i]] += lengths[i] * rewards[i];
    total[groups[i]] += lengths[i];
  }
  std::vector<double> result;
  for (std::size_t i = 0; i < rewards.size(); ++i)
    result.push_back(all.groups.at(groups[i]).size() > 1 ? rewards[i] - weighted.at(groups[i]) / total.at(groups[i])
                                                         : 0);
  return result;
}

/// Advantages of REINFORCE++, per token: returns-to-go of the token rewards, whitened over all tokens of the batch.
///
/// rewards [tokens] of all replies one after the other, usually −β k1 with the score on each last token
/// (`token_rewards`); lengths [replies] in tokens, their sum [tokens]. Paper: Hu 2025, arXiv:2501.03262.
inline std::vector<double> reinforce_plus_plus(std::span<const double> rewards, std::span<const index_t> lengths,
                                               double gamma = 1) {
  std::vector<double> returns;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto left = static_cast<index_t>(rewards.size() - returns.size());
    if (lengths[i] < 0 || lengths[i] > left)
      throw error(errc::bad_argument, "reinforce_plus_plus",
                  join("expected lengths that add up to the ", rewards.size(), " rewards, found ", lengths[i],
                       " where ", left, " are left"));
    const auto reply = returns_to_go(rewards.subspan(returns.size(), static_cast<std::size_t>(lengths[i])), gamma);
    returns.insert(returns.end(), reply.begin(), reply.end());
  }
  detail::check_size("reinforce_plus_plus", "rewards, the sum of the lengths", returns.size(), rewards.size());
  return whiten(returns);
}

/// REINFORCE++ with the group's mean as baseline, for rewards that are given once per reply: r − mean of the group,
/// whitened over all tokens of the batch, so that long replies weigh more. lengths [replies] in tokens.
inline std::vector<double> reinforce_plus_plus_baseline(std::span<const double> rewards,
                                                        std::span<const index_t> groups,
                                                        std::span<const index_t> lengths) {
  detail::check_size("reinforce_plus_plus_baseline", "lengths, one per reward", rewards.size(), lengths.size());
  std::vector<double> result = group_advantages(rewards, groups, advantage_scale::none);
  double mean = 0, variance = 0, tokens = 0;
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (lengths[i] < 1)
      throw error(errc::bad_argument, "reinforce_plus_plus_baseline",
                  join("expected lengths of at least 1, found ", lengths[i], " at ", i));
    mean += static_cast<double>(lengths[i]) * result[i];
    tokens += static_cast<double>(lengths[i]);
  }
  mean /= tokens > 0 ? tokens : 1;
  for (std::size_t i = 0; i < result.size(); ++i)
    variance += static_cast<double>(lengths[i]) * (result[i] - mean) * (result[i] - mean);
  variance /= tokens > 1 ? tokens - 1 : 1;
  for (double& x : result) x = (x - mean) / std::sqrt(variance + 1e-8);
  return result;
}

}  // namespace plumb::inline v0
