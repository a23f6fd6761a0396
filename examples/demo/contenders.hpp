// SPDX-License-Identifier: BSL-1.0
// Who takes part in the contest: every objective that trains a policy, with what it learns from, and every one that trains a
// reward model. tests/test_world.cpp holds these lists against plumb's own, so that no objective is forgotten.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace demo {

/// What an objective is shown.
enum class lesson {
  // Replies of the SFT model, sampled and ranked beforehand:
  ranked,  ///< pairs of best and worst, the same replies with labels, or whole groups: as the objective wants them
  best_replies,  ///< the best of each group, to imitate
  conditional,   ///< best and worst alike, a control word in front of the question saying which; asked for the best
  guided,        ///< best and worst alike, not told apart; the DPO model says what it thinks of each token
  // Replies that the policy samples while it learns, several to a question; r: their score by the oracle:
  leave_one_out,    ///< r − β KL, less the mean of the others
  greedy_baseline,  ///< r − β KL, less that of the greedy reply
  length_baseline,  ///< r − β KL, less the group's mean weighted by length
  token_returns,    ///< −β KL of each token and r at the end, summed to the end, whitened over the batch
  group_relative,   ///< r − mean of the group, by its deviation
  group_centred,    ///< r − mean of the group
  varied_groups,    ///< group_relative, long replies punished, groups of equals left out
  critic,           ///< generalised advantages from a value head
  optimal_value,    ///< r − V*, from the SFT model's replies
  duels,            ///< the share of the group's others that a reply beats, less ½
  best_and_worst,   ///< a pair of the group's best and worst
  reference_rival,  ///< a pair of the policy's best and the SFT model's worst
  best_of,          ///< the best of the group, to imitate
  self_play,        ///< a pair of a faultless demonstration and a sample; the reference is the policy when it sampled
  with_teacher,     ///< a pair of the best, such a demonstration included, and the worst; the reference likewise
};

/// One that takes part: its settings ("beta=0.1 also=0.2*sft_chosen"), what it learns from, and the objective where that has
/// another name.
struct contender {
  std::string_view name, settings;
  lesson shown = lesson::ranked;
  std::string_view of = {};

  [[nodiscard]] constexpr std::string_view objective() const { return of.empty() ? name : of; }
  /// Is it one of those named? None named: all are.
  [[nodiscard]] bool wanted(std::span<const std::string> only) const {
    return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
  }
  /// Does it sample while it learns?
  [[nodiscard]] constexpr bool online() const { return shown >= lesson::leave_one_out; }
  /// Of docs/algorithms.
  [[nodiscard]] constexpr std::string_view page() const {
    if (name == "sft_chosen") return "sft";
    if (shown == lesson::conditional) return name;
    if (of.empty()) return name;
    return of == "dpo" || of == "sft" ? "iterated" : "advantages";
  }
};

/// Settings are each paper's own unless its scale belongs to much larger models.
inline constexpr contender all_contenders[] = {
    {"dpo", "beta=0.1"},
    {"robust_dpo", "beta=0.1 label_smoothing=0.1"},
    {"dpo_norm", "beta=2"},
    {"f_dpo", "beta=0.1 divergence=js"},
    {"ipo", "beta=0.1"},
    {"hinge", "beta=0.1"},
    {"exo", "beta=0.1 label_smoothing=0.001"},
    {"nca", "beta=0.1"},
    {"bco_pair", "beta=0.1"},
    {"sppo", "beta=0.1"},
    {"aot", "beta=0.1"},
    {"aot_unpaired", "beta=0.1"},
    {"apo_zero", "beta=0.1"},
    {"apo_down", "beta=0.1"},
    {"discopop", "beta=0.1 tau=0.2"},
    {"wpo", "beta=0.1"},
    {"tdpo", "beta=0.1"},
    {"ld_dpo", "beta=0.1"},
    {"simpo", "beta=2 gamma=1"},
    {"alpha_po", "beta=2 gamma=1"},
    {"orpo", "beta=0.1"},
    {"cpo", "beta=0.1"},
    {"slic", "delta=1 weight=0.1"},
    {"sft_chosen", ""},
    {"kto", "beta=0.1"},
    {"bco", "beta=0.1"},
    {"apo_zero_unpaired", "beta=0.1"},
    {"dpo_pl", "beta=0.1"},
    {"rrhf", ""},
    {"tpo", "beta=0.1"},
    {"dft", "", lesson::best_replies},
    {"asft", "alpha=0.1", lesson::best_replies},
    {"eaft", "", lesson::best_replies},
    {"conditional", "", lesson::conditional, "sft"},
    {"rho1", "keep=0.3", lesson::guided},
    {"distill", "", lesson::guided},

    {"reinforce", "", lesson::leave_one_out},
    {"remax", "", lesson::greedy_baseline, "reinforce"},
    {"opo", "", lesson::length_baseline, "reinforce"},
    {"reinforce++", "value_weight=0", lesson::token_returns, "ppo"},
    {"rloo", "", lesson::leave_one_out},
    {"grpo", "kl_weight=0.04", lesson::group_relative},
    {"dr_grpo", "kl_weight=0.01 length=48", lesson::group_centred},
    {"bnpo", "kl_weight=0.04", lesson::group_relative},
    {"dapo", "clip_high=0.28", lesson::varied_groups},
    {"gspo", "clip=0.02 clip_high=0.03 kl_weight=0.04", lesson::group_relative},
    {"cispo", "kl_weight=0.04", lesson::group_relative},
    {"sapo", "kl_weight=0.04", lesson::group_relative},
    {"ppo", "", lesson::critic},
    {"a2po", "beta=0.1", lesson::optimal_value},
    {"nash_md", "beta=0.1", lesson::duels},
    {"online_dpo", "beta=0.1", lesson::best_and_worst, "dpo"},
    {"xpo", "beta=0.1", lesson::reference_rival},
    {"raft", "", lesson::best_of, "sft"},
    {"spin", "beta=0.1", lesson::self_play, "dpo"},
    {"dno", "beta=0.1", lesson::with_teacher, "dpo"},
};

/// The reward models, which write no replies: each judges those of the SFT model instead (reward_models.hpp). With the
/// contenders these are all of plumb's objectives; sft has no line of its own, it is what raft learns by.
inline constexpr contender all_reward_models[] = {
    {"reward", "centre=0.01"}, {"reward_regression", ""}, {"process_reward", ""},
    {"plackett_luce", ""},     {"infonce", ""},
};

}  // namespace demo
