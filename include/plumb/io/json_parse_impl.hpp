// SPDX-License-Identifier: BSL-1.0
// The bodies of io/json_parse.hpp; Boost.JSON's parser is a large template. Collected by plumb/impl.hpp, which one .cpp of a
// program includes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>

#include <plumb/io/file.hpp>
#include <plumb/io/json_parse.hpp>

namespace plumb::inline v0::json {

namespace detail {

std::string place_of(std::string_view text, std::size_t offset, const std::string& place, std::size_t line) {
  for (const char c : text.substr(0, offset)) line += c == '\n' ? 1 : 0;
  return join(place.empty() ? std::string_view("JSON") : std::string_view(place), ":", line);
}

std::string excerpt(std::string_view text, std::size_t offset) {
  if (offset >= text.size()) return "the end of the text";
  std::string near;
  for (const char c : text.substr(offset, 24)) near += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  while (!near.empty() && (static_cast<unsigned char>(near.back()) & 0xC0u) == 0x80u) near.pop_back();
  if (!near.empty() && static_cast<unsigned char>(near.back()) >= 0xC0u) near.pop_back();  // a cut character
  return join("\"", near, "\"");
}

/// Receives the parser's events and builds a value; doubles are read from their digits, because
/// Boost.JSON before 1.83 may miss the nearest double by one unit in the last place.
struct builder {
  static constexpr std::size_t max_object_size = object::max_size();
  static constexpr std::size_t max_array_size = array::max_size();
  static constexpr std::size_t max_key_size = string::max_size();
  static constexpr std::size_t max_string_size = string::max_size();

  using code = boost::system::error_code;
  using text = boost::json::string_view;

  boost::json::value_stack stack;
  std::size_t members = 0;  // written in the text, repeated keys included

  bool on_document_begin(code&) {
    stack.reset();
    return true;
  }
  bool on_document_end(code&) { return true; }
  bool on_object_begin(code&) { return true; }
  bool on_object_end(std::size_t count, code&) {
    members += count;
    stack.push_object(count);
    return true;
  }
  bool on_array_begin(code&) { return true; }
  bool on_array_end(std::size_t count, code&) {
    stack.push_array(count);
    return true;
  }
  bool on_key_part(text part, std::size_t, code&) {
    stack.push_chars(part);
    return true;
  }
  bool on_key(text part, std::size_t, code&) {
    stack.push_key(part);
    return true;
  }
  bool on_string_part(text part, std::size_t, code&) {
    stack.push_chars(part);
    return true;
  }
  bool on_string(text part, std::size_t, code&) {
    stack.push_string(part);
    return true;
  }
  bool on_number_part(text, code&) { return true; }
  bool on_int64(std::int64_t number, text, code&) {
    stack.push_int64(number);
    return true;
  }
  bool on_uint64(std::uint64_t number, text, code&) {
    stack.push_uint64(number);
    return true;
  }
  bool on_double(double number, text digits, code& failed) {
    double exact = number;
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), exact);
    if (problem == std::errc::result_out_of_range) {
      // Too small for a double reads as zero or the smallest numbers, as everywhere; too large is refused.
      if (number > 1 || number < -1) {
        failed = boost::json::error::exponent_overflow;
        return false;
      }
      exact = number;
    }
    stack.push_double(exact);
    return true;
  }
  bool on_bool(bool truth, code&) {
    stack.push_bool(truth);
    return true;
  }
  bool on_null(code&) {
    stack.push_null();
    return true;
  }
  bool on_comment_part(text, code&) { return true; }
  bool on_comment(text, code&) { return true; }
};

/// How many members all objects of a value have together.
std::size_t count_members(const value& v) {
  std::size_t count = 0;
  if (const object* const o = v.if_object()) {
    count = o->size();
    for (const auto& member : *o) count += count_members(member.value());
  } else if (const array* const a = v.if_array()) {
    for (const value& item : *a) count += count_members(item);
  }
  return count;
}

}  // namespace detail

value parse(std::string_view text, const std::string& place, const limits& limit) {
  const auto fail = [&](std::size_t offset, std::string_view message) {
    throw error(errc::bad_file, detail::place_of(text, offset, place, limit.first_line), message);
  };
  if (text.size() > limit.bytes) {
    fail(0, join("the JSON text has ", text.size(), " bytes; at most ", limit.bytes, " are accepted"));
  }
  const std::size_t start = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  boost::json::parse_options options;
  options.max_depth = limit.depth;
  boost::json::basic_parser<detail::builder> parser(options);
  boost::system::error_code failed;
  const std::size_t used = start + parser.write_some(false, text.data() + start, text.size() - start, failed);
  if (failed == boost::json::error::incomplete) {
    fail(text.size(), "expected more JSON, found the end: the text is cut off or a bracket or quote is not closed");
  }
  if (failed == boost::json::error::too_deep) {
    fail(used, join("arrays and objects are nested more than ", limit.depth, " deep"));
  }
  if (failed) {
    fail(used, join("expected valid JSON, found ", detail::excerpt(text, used), " (", failed.message(), ")"));
  }
  const std::size_t rest = text.find_first_not_of(" \t\r\n", used);
  if (rest != std::string_view::npos) {
    fail(rest, join("expected the end after one JSON value, found ", detail::excerpt(text, rest)));
  }
  value result = parser.handler().stack.release();
  if (limit.unique_keys && detail::count_members(result) != parser.handler().members) {
    fail(0, "an object gives the same key twice");
  }
  return result;
}

value parse_file(const std::filesystem::path& path, const limits& limit) {
  const mapped_file file(path);
  return parse(file.text(), path.string(), limit);
}

}  // namespace plumb::inline v0::json
