// SPDX-License-Identifier: BSL-1.0
// The text side of chat templates: budgets, values as Python prints them, JSON as transformers writes it. Compiled once
// per program.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/text/template.hpp>
#include <plumb/text/template_lexer_impl.hpp>
#include <plumb/text/template_value.hpp>
#include <plumb/text/unicode_case.hpp>

namespace plumb::inline v0::detail::jinja {

/// Where the evaluator is, and what it may still spend.
struct context {
  const std::string& place;
  template_limits left;  ///< steps, bytes and depth still to spend
  std::size_t line = 1;

  [[noreturn]] void fail(std::string_view message) const {
    throw error(errc::bad_data, join(place, ":", line), message);
  }
  void step(std::size_t n = 1) {
    if (n > left.steps) fail("the template takes too many steps; is there a loop that grows?");
    left.steps -= n;
  }
  /// A text or list of `n` bytes is about to be made.
  void make(std::size_t n) {
    if (n > left.bytes || n > most_text) fail("the template makes too much text; is there a text that doubles itself?");
    left.bytes -= n;
    step(n / 64);
  }
  static constexpr std::size_t most_text = std::size_t{1} << 24;
};

/// A floating number as Python's repr writes it: 1.0, 1e+16, 1e-05.
inline std::string python_number(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, d, std::chars_format::scientific).ptr;
  const std::string_view all(text, static_cast<std::size_t>(end - text));
  const std::size_t e = all.find('e');
  const int power = std::atoi(std::string(all.substr(e + 1)).c_str());
  if (power < -4 || power >= 16) return std::string(all);  // both write at least two digits of the exponent
  const auto fixed = std::to_chars(text, text + sizeof text, d, std::chars_format::fixed).ptr;
  std::string out(text, static_cast<std::size_t>(fixed - text));
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

/// A string as Python's repr writes it.
inline void append_quoted(std::string& out, std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    const char_class kind = class_of(step.code);
    const auto digits = [&](int count) {
      for (int shift = 4 * (count - 1); shift >= 0; shift -= 4) out += hex[(step.code >> shift) & 15u];
    };
    if (step.code == static_cast<unsigned char>(quote) || step.code == '\\') {
      out += '\\';
      out += static_cast<char>(step.code);
    } else if (step.code == '\n') {
      out += "\\n";
    } else if (step.code == '\r') {
      out += "\\r";
    } else if (step.code == '\t') {
      out += "\\t";
    } else if (kind == char_class::other || (kind == char_class::space && step.code != ' ')) {
      out += step.code < 0x100 ? "\\x" : step.code < 0x10000 ? "\\u" : "\\U";
      digits(step.code < 0x100 ? 2 : step.code < 0x10000 ? 4 : 8);
    } else {
      append_utf8(out, step.code);
    }
    at += step.size;
  }
  out += quote;
}

/// A value as Python's str (or, inside lists and dicts, repr) writes it.
inline void append_text(context& cx, std::string& out, const value& v, bool quoted = false) {
  cx.step();
  if (const auto* const s = v.text()) {
    cx.make(s->size());
    if (quoted)
      append_quoted(out, *s);
    else
      out += *s;
  } else if (const auto* const b = v.as<bool>()) {
    out += *b ? "True" : "False";
  } else if (const auto* const i = v.integer()) {
    plumb::detail::append(out, *i);
  } else if (const auto* const d = v.as<double>()) {
    out += python_number(*d);
  } else if (v.is_none()) {
    out += "None";
  } else if (const auto* const l = v.list()) {
    out += l->tuple ? '(' : '[';
    for (std::size_t k = 0; k < l->items.size(); ++k) {
      if (k > 0) out += ", ";
      append_text(cx, out, l->items[k], true);
    }
    if (l->tuple && l->items.size() == 1) out += ',';
    out += l->tuple ? ')' : ']';
  } else if (const auto* const m = v.dict()) {
    out += '{';
    for (std::size_t k = 0; k < m->items.size(); ++k) {
      if (k > 0) out += ", ";
      append_text(cx, out, m->items[k].first, true);
      out += ": ";
      append_text(cx, out, m->items[k].second, true);
    }
    out += '}';
  } else if (v.is_undefined()) {
    if (quoted) out += "Undefined";
  } else {
    out += join("<", v.type_name(), ">");
  }
  if (out.size() > context::most_text) cx.fail("the template makes too much text");
}

/// How tojson writes.
struct json_style {
  std::string indent;  ///< of one level
  bool lines = false;  ///< each item on its own line
  bool ascii = false;
  bool sorted = false;
  std::string between = ", ", colon = ": ";
};

inline void append_json_text(std::string& out, std::string_view text, bool ascii) {
  constexpr std::string_view hex = "0123456789abcdef";
  const auto unit = [&](char32_t code) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += hex[(code >> shift) & 15u];
  };
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    constexpr std::string_view plain = "\"\\\n\r\t\f\b", named = "\"\\nrtfb";
    const auto found = step.code < 0x80 ? plain.find(static_cast<char>(step.code)) : std::string_view::npos;
    if (found != std::string_view::npos) {
      out += '\\';
      out += named[found];
    } else if (step.code < 0x20 || (ascii && step.code >= 0x7F && step.code < 0x10000)) {
      unit(step.code);
    } else if (ascii && step.code >= 0x10000) {
      unit(0xD800 + ((step.code - 0x10000) >> 10));
      unit(0xDC00 + ((step.code - 0x10000) & 0x3FF));
    } else {
      append_utf8(out, step.code);
    }
    at += step.size;
  }
  out += '"';
}

/// A value as Python's json.dumps writes it.
inline void append_json(context& cx, std::string& out, const value& v, const json_style& style, int depth = 0) {
  cx.step();
  const auto new_line = [&](int levels) {
    if (!style.lines) return;
    out += '\n';
    for (int i = 0; i < levels; ++i) out += style.indent;
  };
  if (const auto* const s = v.text()) {
    cx.make(s->size());
    append_json_text(out, *s, style.ascii);
  } else if (const auto* const b = v.as<bool>()) {
    out += *b ? "true" : "false";
  } else if (const auto* const i = v.integer()) {
    plumb::detail::append(out, *i);
  } else if (const auto* const d = v.as<double>()) {
    out += std::isnan(*d) ? "NaN" : std::isinf(*d) ? (*d > 0 ? "Infinity" : "-Infinity") : python_number(*d);
  } else if (v.is_none()) {
    out += "null";
  } else if (const auto* const l = v.list()) {
    out += '[';
    for (std::size_t k = 0; k < l->items.size(); ++k) {
      if (k > 0) out += style.between;
      new_line(depth + 1);
      append_json(cx, out, l->items[k], style, depth + 1);
    }
    if (!l->items.empty()) new_line(depth);
    out += ']';
  } else if (const auto* const m = v.dict()) {
    std::vector<const pair_of_values*> members;
    for (const auto& member : m->items) members.push_back(&member);
    if (style.sorted) {
      for (const auto* const member : members)
        if (member->first.text() == nullptr) cx.fail("tojson: sort_keys needs keys that are texts");
      std::stable_sort(members.begin(), members.end(),
                       [](const auto* a, const auto* c) { return *a->first.text() < *c->first.text(); });
    }
    out += '{';
    for (std::size_t k = 0; k < members.size(); ++k) {
      if (k > 0) out += style.between;
      new_line(depth + 1);
      const value& key = members[k]->first;
      if (key.list() != nullptr) cx.fail("tojson: a key of a dict cannot be a tuple");
      if (key.text() != nullptr) {
        append_json(cx, out, key, style);
      } else {
        out += '"';
        append_json(cx, out, key, style);
        out += '"';
      }
      out += style.colon;
      append_json(cx, out, members[k]->second, style, depth + 1);
    }
    if (!members.empty()) new_line(depth);
    out += '}';
  } else {
    cx.fail(join("tojson: a value of the type ", v.type_name(), " cannot be written as JSON",
                 v.is_undefined() ? join(" (", *v.as<undefined>()->hint, ")") : ""));
  }
  if (out.size() > context::most_text) cx.fail("the template makes too much text");
}

// --- characters

inline std::size_t count_characters(std::string_view text) noexcept {
  std::size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u ? 1 : 0;
  return n;
}

/// The characters of a text, one by one.
inline std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = utf8_at(text, at).size;
    out.push_back(text.substr(at, size));
    at += size;
  }
  return out;
}

/// Strips white space, or the characters of `which`, from the sides asked for.
inline std::string_view strip(std::string_view text, const std::string* which, bool left, bool right) {
  const auto goes = [&](std::string_view c) {
    return which != nullptr ? which->find(c) != std::string::npos : is_blank(utf8_at(c, 0).code);
  };
  while (left && !text.empty()) {
    const std::size_t size = utf8_at(text, 0).size;
    if (!goes(text.substr(0, size))) break;
    text.remove_prefix(size);
  }
  while (right && !text.empty()) {
    const std::size_t at = before(text, text.size());
    if (!goes(text.substr(at))) break;
    text = text.substr(0, at);
  }
  return text;
}

inline std::string upper(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    if (step.code == 0xDF)
      out += "SS";
    else
      append_utf8(out, to_upper(step.code));
    at += step.size;
  }
  return out;
}
inline std::string lower(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    if (step.code == 0x130)
      out += "i\xCC\x87";  // the one lower case of two characters
    else
      append_utf8(out, to_lower(step.code));
    at += step.size;
  }
  return out;
}
/// The first character in upper case, the others in lower case.
inline std::string capital(std::string_view text) {
  if (text.empty()) return {};
  const std::size_t first = utf8_at(text, 0).size;
  return upper(text.substr(0, first)) + lower(text.substr(first));
}
/// Python's str.title: a capital after anything that is no letter with a case.
inline std::string python_title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (const std::string_view c : characters(text)) {
    const char_class kind = class_of(utf8_at(c, 0).code);
    const bool cased =
        kind == char_class::upper_letter || kind == char_class::lower_letter || kind == char_class::title_letter;
    out += cased && !in_word ? upper(c) : lower(c);
    in_word = cased;
  }
  return out;
}
/// Jinja's filter title: a capital after white space and - ( { [ <.
inline std::string jinja_title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (const std::string_view c : characters(text)) {
    const bool edge = is_blank(utf8_at(c, 0).code) || c == "-" || c == "(" || c == "{" || c == "[" || c == "<";
    out += edge ? std::string(c) : in_word ? lower(c) : upper(c);
    in_word = !edge;
  }
  return out;
}

/// Python's str.splitlines: the ends of lines are \n, \r, \r\n, \v, \f, \x1c to \x1e, U+0085, U+2028 and U+2029.
inline std::vector<value> split_lines(std::string_view text, bool keep_ends = false) {
  std::vector<value> out;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    std::size_t end = at + step.size;
    const bool line_end = (step.code >= 0x0A && step.code <= 0x0D) || (step.code >= 0x1C && step.code <= 0x1E) ||
                          step.code == 0x85 || step.code == 0x2028 || step.code == 0x2029;
    if (line_end) {
      if (step.code == '\r' && end < text.size() && text[end] == '\n') ++end;
      out.emplace_back(text.substr(start, (keep_ends ? end : at) - start));
      start = end;
    }
    at = end;
  }
  if (start < text.size()) out.emplace_back(text.substr(start));
  return out;
}

inline std::string replace_all(context& cx, std::string_view text, std::string_view from, std::string_view to,
                               std::int64_t most) {
  std::string out;
  std::size_t at = 0;
  const auto put = [&](std::string_view part) {
    cx.make(part.size());
    if (out.size() + part.size() > context::most_text) cx.fail("the template makes too much text");
    out += part;
  };
  for (std::int64_t n = 0; most < 0 || n < most; ++n) {
    if (from.empty()) {  // before every character, and at the end
      put(to);
      if (at >= text.size()) return out;
      const std::size_t size = utf8_at(text, at).size;
      put(text.substr(at, size));
      at += size;
      continue;
    }
    const std::size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    put(text.substr(at, found - at));
    put(to);
    at = found + from.size();
  }
  put(text.substr(at));
  return out;
}

}  // namespace plumb::inline v0::detail::jinja
