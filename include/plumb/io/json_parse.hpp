// SPDX-License-Identifier: BSL-1.0
// JSON text to values: Boost.JSON's parser with exact numbers, limits, and errors that name file and line.
#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json/value.hpp>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>

/// JSON as a value: the types are Boost.JSON's, the functions are plumb's and throw `plumb::error`.
namespace plumb::inline v0::json {

using boost::json::array;
using boost::json::object;
using boost::json::string;
using boost::json::value;

/// Limits of one document; what lies beyond is an error, not a crash.
struct limits {
  std::size_t depth = 64;                    ///< arrays and objects inside one another
  std::size_t bytes = std::size_t{1} << 31;  ///< length of the text
  bool unique_keys = false;    ///< refuse an object that gives a key twice (otherwise the last one counts)
  std::size_t first_line = 1;  ///< the line at which the text starts in its file
};

namespace detail {

/// `file:line` of an offset.
inline std::string place_of(std::string_view text, std::size_t offset, const std::string& place, std::size_t line) {
  for (const char c : text.substr(0, offset)) line += c == '\n' ? 1 : 0;
  return join(place.empty() ? std::string_view("JSON") : std::string_view(place), ":", line);
}

/// A few characters around an offset, for a message; control characters become blanks.
inline std::string excerpt(std::string_view text, std::size_t offset) {
  if (offset >= text.size()) return "the end of the text";
  std::string near;
  for (const char c : text.substr(offset, 24)) near += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  while (!near.empty() && (static_cast<unsigned char>(near.back()) & 0xC0u) == 0x80u) near.pop_back();
  if (!near.empty() && static_cast<unsigned char>(near.back()) >= 0xC0u) near.pop_back();  // a cut character
  return join("\"", near, "\"");
}

}  // namespace detail

/// Parses one JSON document, which must fill the text but for white space; `place` names it in errors (a file).
///
/// Strict JSON (no comments, no trailing commas), valid UTF-8; a byte order mark is skipped. Numbers: integers that fit
/// stay exact, others become the nearest double. Errors: `bad_file` at `place:line`.
/// Its body is compiled once per program, beside Boost.JSON's own: see boost_json_impl.hpp.
value parse(std::string_view text, const std::string& place = {}, const limits& limit = {});

/// Parses a whole file as one JSON document; errors name `path:line`.
inline value parse_file(const std::filesystem::path& path, const limits& limit = {}) {
  const mapped_file file(path);
  return parse(file.text(), path.string(), limit);
}

}  // namespace plumb::inline v0::json
