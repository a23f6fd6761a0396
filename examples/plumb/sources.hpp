// SPDX-License-Identifier: BSL-1.0
// Where rows come from: one or several files, with shares and stages, in memory or drawn from disk.
#pragma once

#include "engine.hpp"
#include "settings.hpp"

#include <plumb/data/example_stream.hpp>
#include <plumb/data/read.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace program {

/// Rows that were left out since they teach nothing.
struct left_out {
  std::size_t count = 0;
  std::string first;  ///< its place
};

/// Are rows drawn from disk while the run goes on? So they are with stream=true, shares, stages or a setting of mixtures.
/// Throws errc::bad_argument for settings that contradict each other.
bool draws_rows(const run_settings& settings);

/// All rows of all files, one file after the other.
std::vector<example> read_sources(const run_settings& settings, const engine& model, left_out* skipped,
                                  const read_options& how);

/// The files as a stream; model, skipped and what `how` points to must outlive it.
std::unique_ptr<example_stream> open_sources(const run_settings& settings, const engine& model, left_out& skipped,
                                             const read_options& how);

}  // namespace program
