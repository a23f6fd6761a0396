// SPDX-License-Identifier: BSL-1.0
// The bodies of io/json_lines.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json_lines.hpp>
#include <plumb/io/json_parse.hpp>

namespace plumb::inline v0::json {

namespace detail {

inline constexpr std::string_view blanks = " \t\r\n";

std::string_view without_mark(std::string_view text) {
  return text.substr(0, 3) == "\xEF\xBB\xBF" ? text.substr(3) : text;
}

void lines_of(std::string_view text, const std::string& file, row_reader f) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(blanks) == std::string_view::npos) continue;
    value row;
    try {
      row = parse(line, file, {.first_line = number});
    } catch (const error& problem) {
      const std::string message = std::string(problem.what()).substr(problem.place().size() + 2);
      throw error(errc::bad_file, problem.place(),
                  join(message, "; expected one complete JSON value on each line (JSON Lines)"));
    }
    if (!f(std::move(row), join(file, ":", number))) return;
  }
}

/// The offset after the value that starts at `at`: brackets are counted, strings skipped; checks nothing else.
std::size_t end_of_item(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\' ? 1 : 0;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (depth == 0) return at;
      --depth;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return text.size();
}

void items_of(std::string_view text, const std::string& file, row_reader f) {
  std::size_t line = 1, counted = 0;
  const auto line_at = [&](std::size_t offset) {
    for (; counted < offset && counted < text.size(); ++counted) line += text[counted] == '\n' ? 1 : 0;
    return line;
  };
  const auto fail = [&](std::size_t offset, std::string_view wanted) {
    throw error(errc::bad_file, join(file, ":", line_at(offset)),
                join("expected ", wanted, ", found ", excerpt(text, offset)));
  };
  std::size_t at = text.find_first_not_of(blanks, text.find('[') + 1);
  if (at < text.size() && text[at] == ']') {
    at = text.find_first_not_of(blanks, at + 1);
    if (at != std::string_view::npos) fail(at, "the end of the file after the array");
    return;
  }
  for (;;) {
    if (at == std::string_view::npos) fail(text.size(), "a row or \"]\" that closes the array");
    const std::size_t end = end_of_item(text, at);
    if (end <= at) fail(at, "a JSON value");
    const std::size_t first = line_at(at);
    value row = parse(text.substr(at, end - at), file, {.first_line = first});
    if (end >= text.size()) fail(end, "\",\" or \"]\" after a row of the array");
    const bool last = text[end] == ']';
    if (!last && text[end] != ',') fail(end, "\",\" or \"]\" after a row of the array");
    if (!f(std::move(row), join(file, ":", first))) return;
    at = text.find_first_not_of(blanks, end + 1);
    if (last) break;
  }
  if (at != std::string_view::npos) fail(at, "the end of the file after the array");
}

void read_lines(const std::filesystem::path& path, row_reader f) {
  const mapped_file file(path);
  lines_of(without_mark(file.text()), path.string(), f);
}

void read_rows(const std::filesystem::path& path, row_reader f) {
  const mapped_file file(path);
  const std::string_view text = without_mark(file.text());
  const std::size_t first = text.find_first_not_of(blanks);
  if (first != std::string_view::npos && text[first] == '[') {
    items_of(text, path.string(), f);
  } else {
    lines_of(text, path.string(), f);
  }
}

}  // namespace detail

}  // namespace plumb::inline v0::json
