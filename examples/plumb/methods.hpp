// SPDX-License-Identifier: BSL-1.0
// Objectives by name, with settings given as text.
#pragma once

#include <plumb/objective/all.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace program {

using namespace plumb;

/// An objective chosen on the command line, by the level of its records.
using method = std::variant<any_objective<level::token>, any_objective<level::sequence>, any_objective<level::pair>,
                            any_objective<level::group>>;

/// Keys and values as the user wrote them.
using settings_list = std::vector<std::pair<std::string, std::string>>;

/// "beta=0.1" as key and value; throws errc::bad_argument for anything else.
std::pair<std::string, std::string> split_setting(const std::string& text);

/// The objective of that name; an unknown one is errc::not_found that names the nearest.
method find_method(std::string_view name);

/// Applies settings: "also" terms first, since they bring parameters along. Unknown keys are errc::bad_argument.
void apply_settings(method& m, const settings_list& settings);

std::string name_of(const method& m);
need needs_of(const method& m);
/// What a method that learns from a teacher's distributions does, or null.
const distill* distillation_of(const method& m);
/// Does it train a score head alone, of what is no language model any more?
bool says_scores(const method& m);
/// Are its rows solutions with a label after each step?
bool reads_steps(const method& m);
std::vector<parameter> parameters_of(const method& m);

/// "reference, tokens" as the names of single needs.
std::vector<std::string> need_names(need needs);

}  // namespace program
