// SPDX-License-Identifier: BSL-1.0
// The rows that an objective learns from, read from a file.
#pragma once

#include "engine.hpp"

#include <plumb/data/read_labelled.hpp>

#include <optional>
#include <string>

namespace program {

/// Throws errc::bad_argument for an objective that asks a score head which is not there.
void check_rows_of(const method& m, const engine& model);

/// One row as what the objective learns from. Nothing for a reply without the rating that the objective is about, and, with
/// `leave_out`, for a preference between equal replies.
std::optional<example> read_example(const method& m, const json::value& row, const std::string& place,
                                    const engine& model, bool leave_out, const step_options& steps,
                                    const read_options& how);

/// Demonstrations for objectives on tokens, preferences for objectives on pairs. Throws errc::unsupported for an objective that
/// needs what rows of text cannot give (advantages, values, …) in this version. With `skipped`, preferences whose two replies are
/// equal, which teach nothing, are left out and their places put there; without, they are errc::bad_data.
std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option,
                                   const engine& model, std::vector<std::string>* skipped = nullptr,
                                   const step_options& steps = {}, const read_options& how = {});

}  // namespace program
