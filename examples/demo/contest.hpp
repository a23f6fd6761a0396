// SPDX-License-Identifier: BSL-1.0
// The contest: every objective starts from the same SFT model, sees the same answers, and sits the same examination.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/backend/cpu.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/options.hpp>

#include "answers.hpp"
#include "contenders.hpp"
#include "exam.hpp"

namespace demo {

struct contest_rules {
  double rate = 5e-4, epochs = 1;  ///< of every contender's adapter
  plumb::index_t rank = 16, batch = 16;
  std::uint64_t seed = 1;
  exam_rules exam;
  std::filesystem::path folder;  ///< pictures and the table go here
};

/// How every contender is trained.
plumb::fit_options options_of(const contest_rules& rules);

/// What became of one contender.
struct contest_result {
  contender entry;
  std::string level{};
  exam_paper paper{};
  estimate kl{};
  double seconds = 0;
  std::vector<plumb::log_entry> log{};
};

/// Trains and examines each contender whose name is in `only` (empty: all); tells each result as it comes. What each is
/// shown: the answers, their questions, or the demonstrations (contenders.hpp).
std::vector<contest_result> hold_contest(const plumb::language_model<plumb::cpu>& model,
                                         std::span<const ranked_answers> answers,
                                         std::span<const demonstration> demonstrations, const oracle& judge,
                                         std::span<const question> questions, std::span<const std::string> neutral,
                                         const exam_paper& sft, const contest_rules& rules,
                                         std::span<const std::string> only = {});

/// Draws curves/NAME.svg: the loss, or, where the policy samples as it learns, the score of its samples.
void draw_curve(const contender& c, std::span<const plumb::log_entry> log, const contest_rules& rules);

/// Prints the table and writes contest.md and contest_online.md (the tables), contest.svg (wins against KL) and
/// curves/NAME.svg.
void show_contest(std::span<const contest_result> results, const exam_paper& sft, const contest_rules& rules);

}  // namespace demo
