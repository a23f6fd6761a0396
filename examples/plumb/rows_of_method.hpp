// SPDX-License-Identifier: BSL-1.0
// The rows that an objective learns from, read from a file.
#pragma once

#include "engine.hpp"

#include <plumb/data/read_labelled.hpp>

#include <string>

namespace program {

/// Demonstrations for objectives on tokens, preferences for objectives on pairs. Throws errc::unsupported for an objective that
/// needs what rows of text cannot give (advantages, values, …) in this version. With `skipped`, preferences whose two replies are
/// equal, which teach nothing, are left out and their places put there; without, they are errc::bad_data.
std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option,
                                   const engine& model, std::vector<std::string>* skipped = nullptr,
                                   const step_options& steps = {}, const read_options& how = {});

}  // namespace program
