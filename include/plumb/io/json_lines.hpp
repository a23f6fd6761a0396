// SPDX-License-Identifier: BSL-1.0
// Rows from files: JSON Lines (one value a line) or one JSON array, each row with the place it came from.
// Bodies: json_lines_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>

#include <plumb/core/function_ref.hpp>
#include <plumb/io/json_fwd.hpp>

namespace plumb::inline v0::json {

namespace detail {

/// Takes a row and its place; false asks to stop.
using row_reader = function_ref<bool(value&&, const std::string&)>;

void read_lines(const std::filesystem::path& path, row_reader f);
void read_rows(const std::filesystem::path& path, row_reader f);

/// Calls `f(value, place)`; false means that `f` returned false, which asks to stop.
template <class F>
bool give_row(F& f, value&& row, const std::string& place) {
  if constexpr (std::is_same_v<std::invoke_result_t<F&, value&&, const std::string&>, bool>) {
    return f(std::move(row), place);
  } else {
    f(std::move(row), place);
    return true;
  }
}

}  // namespace detail

/// Calls `f(value, place)` for each line of a JSON Lines file, in order; `place` is `path:line`.
///
/// Blank lines are skipped; anything else that is not one JSON value is a `bad_file` error at its line. Lines may end in
/// "\n" or "\r\n". If `f` returns bool, false stops the reading. The file is mapped, so its size does not matter.
template <class F>
void for_each_line(const std::filesystem::path& path, F&& f) {
  detail::read_lines(path,
                     [&](value&& row, const std::string& place) { return detail::give_row(f, std::move(row), place); });
}

/// Like `for_each_line`, and also reads a file that holds one JSON array: each item is a row, `place` is where it starts.
template <class F>
void for_each_row(const std::filesystem::path& path, F&& f) {
  detail::read_rows(path,
                    [&](value&& row, const std::string& place) { return detail::give_row(f, std::move(row), place); });
}

}  // namespace plumb::inline v0::json
