// SPDX-License-Identifier: BSL-1.0
// JSON text to values: Boost.JSON's parser with exact numbers, limits, and errors that name file and line.
// Bodies: json_parse_impl.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include <plumb/core/error.hpp>
#include <plumb/io/json_fwd.hpp>

namespace plumb::inline v0::json {

/// Limits of one document; what lies beyond is an error, not a crash.
struct limits {
  std::size_t depth = 64;                    ///< arrays and objects inside one another
  std::size_t bytes = std::size_t{1} << 31;  ///< length of the text
  bool unique_keys = false;    ///< refuse an object that gives a key twice (otherwise the last one counts)
  std::size_t first_line = 1;  ///< the line at which the text starts in its file
};

namespace detail {

/// `file:line` of an offset.
std::string place_of(std::string_view text, std::size_t offset, const std::string& place, std::size_t line);

/// A few characters around an offset, for a message; control characters become blanks.
std::string excerpt(std::string_view text, std::size_t offset);

}  // namespace detail

/// Parses one JSON document, which must fill the text but for white space; `place` names it in errors (a file).
///
/// Strict JSON (no comments, no trailing commas), valid UTF-8; a byte order mark is skipped. Numbers: integers that fit
/// stay exact, others become the nearest double. Errors: `bad_file` at `place:line`.
value parse(std::string_view text, const std::string& place = {}, const limits& limit = {});

/// Parses a whole file as one JSON document; errors name `path:line`.
value parse_file(const std::filesystem::path& path, const limits& limit = {});

}  // namespace plumb::inline v0::json
