// SPDX-License-Identifier: BSL-1.0
// The filters of chat templates on texts and numbers, and the choice among all. Compiled once per program.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_methods_impl.hpp>

namespace plumb::inline v0::detail::jinja {

inline value evaluator::filter(const std::string& name, const value& of, call_arguments& given) {
  value out;
  if (name == "tojson") return json_filter(of, given);
  if (name == "default" || name == "d") {
    argument_reader in(cx_, given, name);
    const value* const otherwise = in.next("default_value");
    const bool falsy = in.flag("boolean", false);
    in.done();
    if (!of.is_undefined() && (!falsy || truth(of))) return of;
    return otherwise != nullptr ? *otherwise : value("");
  }
  if (text_filter(name, of, given, out) || list_filter(name, of, given, out) || number_filter(name, of, given, out) ||
      choosing_filter(name, of, given, out))
    return out;
  cx_.fail(join("there is no filter \"", name, "\""));
}

/// tojson as transformers defines it: no HTML escapes, and by default no \u escapes either.
inline value evaluator::json_filter(const value& of, call_arguments& given) {
  argument_reader in(cx_, given, "tojson");
  json_style style;
  style.ascii = in.flag("ensure_ascii", false);
  if (const value* const indent = in.next("indent"); indent != nullptr && !indent->is_none()) {
    style.lines = true;
    style.between = ",";
    if (const auto* const n = indent->integer()) {
      if (*n > 64) cx_.fail("tojson: indent must be at most 64");
      style.indent.assign(static_cast<std::size_t>(std::max<std::int64_t>(*n, 0)), ' ');
    } else if (indent->text() != nullptr && indent->text()->size() <= 64) {
      style.indent = *indent->text();
    } else {
      cx_.fail("tojson: indent must be an integer or a short text");
    }
  }
  if (const value* const marks = in.next("separators"); marks != nullptr && !marks->is_none()) {
    const auto* const two = marks->list();
    if (two == nullptr || two->items.size() != 2 || two->items[0].text() == nullptr || two->items[1].text() == nullptr)
      cx_.fail("tojson: separators must be two texts");
    style.between = *two->items[0].text();
    style.colon = *two->items[1].text();
  }
  style.sorted = in.flag("sort_keys", false);
  in.done();
  std::string out;
  append_json(cx_, out, of, style);
  cx_.make(out.size());
  return value(std::move(out));
}

inline bool evaluator::text_filter(const std::string& name, const value& of, call_arguments& given, value& out) {
  if (!is_one_of(name, {"trim", "upper", "lower", "capitalize", "title", "string", "safe", "e", "escape", "forceescape",
                        "replace", "indent", "format", "wordcount", "center"}))
    return false;
  argument_reader in(cx_, given, join("filter ", name));
  const std::string text = text_of(of);
  cx_.make(text.size());
  if (name == "trim") {
    const std::string* const which = in.text_or_none("chars");
    in.done();
    out = value(strip(text, which, true, true));
  } else if (name == "replace") {
    const std::string from = text_of(in.needed("old")), to = text_of(in.needed("new"));
    const std::int64_t most = in.integer("count", -1);
    in.done();
    out = value(replace_all(cx_, text, from, to, most));
  } else if (name == "format") {
    if (!given.named.empty()) cx_.fail("filter format takes values without names");
    out = formatted(cx_, text, value::list(given.list, true));
  } else if (name == "center") {
    out = text_method(text, "center", given);
  } else if (name == "indent") {
    const value* const width = in.next("width");
    const bool first = in.flag("first", false), blank = in.flag("blank", false);
    in.done();
    std::string pad = "    ";
    if (width != nullptr && width->text() != nullptr)
      pad = *width->text();
    else if (width != nullptr)
      pad = *repeated(cx_, value(" "), width->integer() != nullptr ? *width->integer() : 4).text();
    std::string all;
    const auto lines = split_lines(text + "\n");  // so that a line end at the end gives an empty last line
    cx_.make(lines.size() * (pad.size() + 1));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string& line = *lines[i].text();
      if (i > 0) all += '\n';
      if (i == 0 ? first : blank || !line.empty()) all += pad;
      all += line;
    }
    out = value(std::move(all));
  } else {
    in.done();
    if (name == "upper") out = value(upper(text));
    if (name == "lower") out = value(lower(text));
    if (name == "capitalize") out = value(capital(text));
    if (name == "title") out = value(jinja_title(text));
    if (name == "string" || name == "safe") out = value(text);
    if (name == "wordcount") {
      std::int64_t count = 0;
      bool in_word = false;
      for (const std::string_view c : characters(text)) {
        const bool word = is_word(utf8_at(c, 0).code);
        count += word && !in_word ? 1 : 0;
        in_word = word;
      }
      out = value::integer(count);
    }
    if (name == "e" || name == "escape" || name == "forceescape") {
      std::string all;
      for (const char c : text) {
        constexpr std::string_view special = "&<>\"'";
        constexpr std::array<std::string_view, 5> written{"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
        const auto at = special.find(c);
        if (at == std::string_view::npos)
          all += c;
        else
          all += written[at];
      }
      cx_.make(all.size());
      out = value(std::move(all));
    }
  }
  return true;
}

inline bool evaluator::number_filter(const std::string& name, const value& of, call_arguments& given, value& out) {
  if (!is_one_of(name, {"int", "float", "round", "abs"})) return false;
  argument_reader in(cx_, given, join("filter ", name));
  if (name == "int" || name == "float") {
    const value* const given_default = in.next("default");
    const std::int64_t base = name == "int" ? in.integer("base", 10) : 10;
    in.done();
    if (base < 2 || base > 36) cx_.fail("filter int: base must be 2 to 36");
    const bool whole = name == "int";
    out = given_default != nullptr ? *given_default : whole ? value::integer(std::int64_t{0}) : value::number(0.0);
    double d = 0;
    if (const auto* const s = of.text()) {
      std::string digits;
      for (const char c : strip(*s, nullptr, true, true))
        if (c != '_') digits += c;
      const bool plus = digits.starts_with('+') && !digits.starts_with("+-");
      const char* const first = digits.data() + (plus ? 1 : 0);
      const char* const last = digits.data() + digits.size();
      std::int64_t i = 0;
      if (whole) {
        const auto r = std::from_chars(first, last, i, static_cast<int>(base));
        if (r.ec == std::errc{} && r.ptr == last) return out = value::integer(i), true;
        if (base != 10) return true;
      }
      const auto r = std::from_chars(first, last, d);
      if (r.ec != std::errc{} || r.ptr != last) return true;
    } else if (of.integer() != nullptr && whole) {
      return out = value::integer(*of.integer()), true;
    } else if (of.is_number()) {
      d = of.to_double();
    } else {
      return true;
    }
    if (!whole) return out = value::number(d), true;
    if (std::isfinite(d) && std::abs(d) < 9e18) out = value::integer(static_cast<std::int64_t>(d));
    return true;
  }
  if (!of.is_number()) cx_.fail(join("filter ", name, " needs a number, found a ", of.type_name()));
  if (name == "abs") {
    in.done();
    const auto* const i = of.integer();
    if (i != nullptr && *i == INT64_MIN) cx_.fail("an integer does not fit 64 bits");
    out = i != nullptr ? value::integer(*i < 0 ? -*i : *i) : value::number(std::abs(of.to_double()));
    return true;
  }
  const std::int64_t precision = in.integer("precision", 0);
  const std::string* const how = in.text_or_none("method");
  in.done();
  if (precision < 0 || precision > 15) cx_.fail("filter round: precision must be 0 to 15");
  const double d = of.to_double();
  if (how != nullptr && (*how == "ceil" || *how == "floor")) {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    out = value::number((*how == "ceil" ? std::ceil(d * scale) : std::floor(d * scale)) / scale);
  } else if (how != nullptr && *how != "common") {
    cx_.fail(join("filter round: method must be common, ceil or floor, found \"", *how, "\""));
  } else if (of.integer() != nullptr) {
    out = value::integer(*of.integer());
  } else {
    char digits[400];  // to_chars rounds the exact binary value, half to even, as Python's round
    const auto r =
        std::to_chars(digits, digits + sizeof digits, d, std::chars_format::fixed, static_cast<int>(precision));
    double rounded = d;
    std::from_chars(digits, r.ptr, rounded);
    out = value::number(rounded);
  }
  return true;
}

}  // namespace plumb::inline v0::detail::jinja
