// SPDX-License-Identifier: BSL-1.0
// Rows that the user gives: a JSON Lines file, a JSON array in a file, or standard input as it arrives.
#pragma once

#include "arguments.hpp"

#include <plumb/core/function_ref.hpp>
#include <plumb/io/json.hpp>

#include <initializer_list>
#include <string>
#include <string_view>

namespace program {

/// Calls row(object, place) for each row of --in, in order; `place` is "file:line". `pause` is called after the last row
/// and whenever no further row is there yet, so that somebody who waits for an answer gets it.
/// Throws errc::bad_file for what is not JSON, and for input without any row.
void read_rows(const arguments& given, function_ref<void(const json::object&, const std::string& place)> row,
               function_ref<void()> pause);

/// Refuses keys that the command does not know, naming the nearest.
void check_keys(const json::object& row, std::initializer_list<std::string_view> known, const std::string& place);

}  // namespace program
