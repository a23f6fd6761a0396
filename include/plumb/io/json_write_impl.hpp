// SPDX-License-Identifier: BSL-1.0
// The bodies of io/json_write.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include <plumb/core/error.hpp>
#include <plumb/io/json_write.hpp>
#include <plumb/io/utf8.hpp>

namespace plumb::inline v0::json {

namespace detail {

void write_string(std::string& out, std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    const char c = text[at];
    if (step.code == '"' || step.code == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (step.code < 0x20) {
      out += "\\u00";
      out += hex[(step.code >> 4) & 15u];
      out += hex[step.code & 15u];
    } else if (step.valid) {
      out += text.substr(at, step.size);
    } else {
      append_utf8(out, replacement_character);
    }
    at += step.size;
  }
  out += '"';
}

void write_double(std::string& out, double number) {
  if (!std::isfinite(number)) {
    throw error(errc::not_finite, "JSON", "JSON has no NaN and no infinity; write null or leave the key out");
  }
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  const std::string_view text(digits, static_cast<std::size_t>(end - digits));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";  // stays a floating number when read back
}

/// Starts a new line at a depth when `indent` is not negative.
void new_line(std::string& out, int indent, int depth) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth), ' ');
}

void write_value(std::string& out, const value& v, int indent, int depth) {
  const std::string_view comma = indent < 0 ? ", " : ",";
  if (const auto* const object_ = v.if_object()) {
    out += '{';
    bool first = true;
    for (const auto& member : *object_) {
      if (!first) out += comma;
      first = false;
      new_line(out, indent, depth + 1);
      write_string(out, {member.key().data(), member.key().size()});
      out += ": ";
      write_value(out, member.value(), indent, depth + 1);
    }
    if (!first) new_line(out, indent, depth);
    out += '}';
  } else if (const auto* const array_ = v.if_array()) {
    out += '[';
    bool first = true;
    for (const value& item : *array_) {
      if (!first) out += comma;
      first = false;
      new_line(out, indent, depth + 1);
      write_value(out, item, indent, depth + 1);
    }
    if (!first) new_line(out, indent, depth);
    out += ']';
  } else if (const auto* const text = v.if_string()) {
    write_string(out, {text->data(), text->size()});
  } else if (const auto* const integer = v.if_int64()) {
    plumb::detail::append(out, *integer);
  } else if (const auto* const natural = v.if_uint64()) {
    plumb::detail::append(out, *natural);
  } else if (const auto* const number = v.if_double()) {
    write_double(out, *number);
  } else if (const auto* const truth = v.if_bool()) {
    plumb::detail::append(out, *truth);
  } else {
    out += "null";
  }
}

}  // namespace detail

std::string dump(const value& v, int indent) {
  std::string out;
  detail::write_value(out, v, indent, 0);
  return out;
}

}  // namespace plumb::inline v0::json
