// SPDX-License-Identifier: BSL-1.0
// Training a contender, whose objective is known by its name alone. The training loop of every level of objective is compiled
// in one place, training.cpp.
#pragma once

#include <optional>
#include <vector>

#include <plumb/backend/cpu.hpp>
#include <plumb/data/example_stream.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/rollout/scorer.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/options.hpp>

#include "contenders.hpp"

namespace demo {

using base_model = plumb::language_model<plumb::cpu>;
using student = plumb::policy<plumb::cpu>;

/// What rows an objective wants.
struct wanted_rows {
  plumb::level level = plumb::level::pair;
  plumb::index_t replies = 0;  ///< of a group; 0: any number
};
wanted_rows rows_wanted_by(const contender& c);

/// Trains on a list of rows, or on rows that a stream makes; adds to the log. Returns the seconds that it took.
double train(student& policy, const contender& c, std::vector<plumb::example> rows, const plumb::fit_options& o,
             std::vector<plumb::log_entry>& log, const std::optional<plumb::teacher<plumb::cpu, float>>& teacher = {});
double train(student& policy, const contender& c, plumb::example_stream& rows, const plumb::fit_options& o,
             std::vector<plumb::log_entry>& log);

}  // namespace demo
