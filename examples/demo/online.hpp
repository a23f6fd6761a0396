// SPDX-License-Identifier: BSL-1.0
// Online training: the policy answers the training questions, the oracle scores its answers, an objective learns from
// them, and the policy answers anew.
#pragma once

#include <span>
#include <vector>

#include "contest.hpp"
#include "training.hpp"

namespace demo {

/// What there is to learn from.
struct classroom {
  const oracle& judge;
  std::span<const ranked_answers> answers;        ///< of the SFT model: the questions, and what it can expect of them
  std::span<const demonstration> demonstrations;  ///< of the questions, of every manner
  exam_rules rules;                               ///< how the policy samples
};

/// Trains on so many samples and updates as the offline objectives have: 64 replies to each question and 84 updates where the
/// settings are the demo's. Returns the seconds that it took; the log gets the mean score of each round's samples as "oracle".
double learn_online(student& policy, const contender& c, const classroom& room, plumb::fit_options o,
                    std::vector<plumb::log_entry>& log);

}  // namespace demo
