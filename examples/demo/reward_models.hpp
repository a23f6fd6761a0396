// SPDX-License-Identifier: BSL-1.0
// The reward models of the contest: each objective that trains a score head starts from the SFT model, learns from the same
// answers, and judges the SFT model's replies to questions that no stage asked.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contest.hpp"
#include "judgement.hpp"
#include "training.hpp"

namespace demo {

/// What became of one reward model, or of heads that were never trained.
struct reward_model_result {
  contender entry;
  judgement judged{};
  double seconds = 0;
  std::vector<plumb::log_entry> log{};
};

/// Rows of one objective: pairs as they are, their replies with the oracle's score (of each part: its score of the reply so
/// far), or whole groups.
std::vector<plumb::example> reward_rows(std::string_view objective, const plumb::tokenizer& words, const oracle& judge,
                                        std::span<const ranked_answers> answers);

/// Trains each reward model whose name is in `only` (empty: all), and lets it judge the replies of a paper; the first result
/// is that of untrained heads. Empty when no name is a reward model's.
std::vector<reward_model_result> hold_reward_contest(const base_model& model, std::span<const ranked_answers> answers,
                                                     const oracle& judge, std::span<const question> questions,
                                                     const exam_paper& sft, const contest_rules& rules,
                                                     std::span<const std::string> only = {});

/// Prints the table and writes contest_rewards.md and curves/NAME.svg.
void show_reward_models(std::span<const reward_model_result> results, const exam_paper& sft,
                        const contest_rules& rules);

}  // namespace demo
