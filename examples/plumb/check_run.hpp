// SPDX-License-Identifier: BSL-1.0
// plumb train --check.
#pragma once

#include "engine.hpp"
#include "settings.hpp"

#include <vector>

namespace program {

/// Shows the first rows as tokens with their mask, tries one micro-batch of the longest rows, and forecasts time, memory
/// and disk. The rows have their final length. Trains nothing and writes nothing but its results: JSON Lines to standard
/// output, the same to read to standard error. `drawn`: the rows are the first of a stream, of this length; 0: they are all.
void check_run(engine& model, const run_settings& settings, const common_options& common, std::vector<example> data,
               index_t drawn, std::vector<example> held_out);

}  // namespace program
