// SPDX-License-Identifier: BSL-1.0
// The methods of texts, as Python has them, and Jinja's tests. Compiled once per program.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_functions_impl.hpp>

namespace plumb::inline v0::detail::jinja {

/// The parts of a text between white space; at most `most` cuts, from the left or the right.
inline std::vector<value> split_blanks(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<value> out;
  text = strip(text, nullptr, true, true);
  while (!text.empty()) {
    if (most == 0) {
      out.emplace_back(text);
      break;
    }
    --most;
    std::size_t cut = 0, found = text.size();
    if (!from_right) {
      while (cut < text.size() && !is_blank(utf8_at(text, cut).code)) cut += utf8_at(text, cut).size;
      out.emplace_back(text.substr(0, cut));
      text = strip(text.substr(cut), nullptr, true, false);
    } else {
      while (found > 0 && !is_blank(utf8_at(text, before(text, found)).code)) found = before(text, found);
      out.emplace_back(text.substr(found));
      text = strip(text.substr(0, found), nullptr, false, true);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

inline std::vector<value> split_at(std::string_view text, std::string_view mark, std::int64_t most, bool from_right) {
  std::vector<value> out;
  for (; most != 0; --most) {
    const std::size_t at = from_right ? text.rfind(mark) : text.find(mark);
    if (at == std::string_view::npos) break;
    if (from_right) {
      out.emplace_back(text.substr(at + mark.size()));
      text = text.substr(0, at);
    } else {
      out.emplace_back(text.substr(0, at));
      text = text.substr(at + mark.size());
    }
  }
  out.emplace_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

/// Are all characters (at least one) of the kind that `name` asks for? isupper and islower ask only those with a case.
inline bool all_are(std::string_view text, std::string_view name) {
  bool any = false;
  for (const std::string_view c : characters(text)) {
    const char32_t code = utf8_at(c, 0).code;
    const char_class kind = class_of(code);
    const bool is_upper = kind == char_class::upper_letter, is_lower = kind == char_class::lower_letter;
    bool good = true;
    if (name == "isupper" || name == "islower") {
      if ((name == "isupper" ? is_lower : is_upper) || kind == char_class::title_letter) return false;
      any = any || is_upper || is_lower;
      continue;
    }
    if (name == "isspace") good = is_blank(code);
    if (name == "isalpha") good = is_letter(kind);
    if (name == "isdigit" || name == "isdecimal") good = kind == char_class::decimal;
    if (name == "isnumeric") good = is_number(kind);
    if (name == "isalnum") good = is_letter(kind) || is_number(kind);
    if (!good) return false;
    any = true;
  }
  return any;
}

inline value evaluator::text_method(const std::string& self, const std::string& name, call_arguments& given) {
  argument_reader in(cx_, given, name);
  cx_.make(self.size());
  if (is_one_of(name, {"upper", "lower", "title", "capitalize", "swapcase", "casefold"})) {
    in.done();
    if (name == "upper") return value(upper(self));
    if (name == "title") return value(python_title(self));
    if (name == "capitalize") return value(capital(self));
    if (name != "swapcase") return value(lower(self));
    std::string out;
    for (const std::string_view c : characters(self))
      out += class_of(utf8_at(c, 0).code) == char_class::upper_letter ? lower(c) : upper(c);
    return value(std::move(out));
  }
  if (name.starts_with("is")) {
    in.done();
    return value::boolean(all_are(self, name));
  }
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const std::string* const which = in.text_or_none("chars");
    in.done();
    cx_.step(which != nullptr ? (self.size() / 64 + 1) * (which->size() / 64 + 1) : 0);
    return value(strip(self, which, name != "rstrip", name != "lstrip"));
  }
  if (name == "split" || name == "rsplit") {
    const std::string* const mark = in.text_or_none("sep");
    const std::int64_t most = in.integer("maxsplit", -1);
    in.done();
    if (mark != nullptr && mark->empty()) cx_.fail("split: the separator is empty");
    auto parts =
        mark != nullptr ? split_at(self, *mark, most, name == "rsplit") : split_blanks(self, most, name == "rsplit");
    cx_.make(parts.size() * sizeof(value));
    return value::list(std::move(parts));
  }
  if (name == "splitlines") {
    const bool keep = in.flag("keepends", false);
    in.done();
    auto parts = split_lines(self, keep);
    cx_.make(parts.size() * sizeof(value));
    return value::list(std::move(parts));
  }
  if (name == "startswith" || name == "endswith") {
    const value& wanted = in.needed("prefix");
    in.done();
    std::vector<value> options{wanted};
    if (wanted.list() != nullptr && wanted.list()->tuple) options = wanted.list()->items;
    for (const value& each : options) {
      if (each.text() == nullptr) cx_.fail(join(name, " needs a text or a tuple of texts, found a ", each.type_name()));
      if (name == "startswith" ? self.starts_with(*each.text()) : self.ends_with(*each.text()))
        return value::boolean(true);
    }
    return value::boolean(false);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& part = in.text("prefix");
    in.done();
    const std::string_view all = self;
    if (name == "removeprefix") return value(all.starts_with(part) ? all.substr(part.size()) : all);
    return value(all.ends_with(part) ? all.substr(0, all.size() - part.size()) : all);
  }
  if (name == "replace") {
    const std::string& from = in.text("old");
    const std::string& to = in.text("new");
    const std::int64_t most = in.integer("count", -1);
    in.done();
    return value(replace_all(cx_, self, from, to, most));
  }
  if (name == "join") {
    const value& items = in.needed("iterable");
    in.done();
    std::string out;
    std::vector<value> hold;
    bool first = true;
    for (const value& each : items_of(cx_, items, hold)) {
      if (each.text() == nullptr) cx_.fail(join("join needs texts, found a ", each.type_name()));
      cx_.make(self.size() + each.text()->size());
      if (!first) out += self;
      first = false;
      out += *each.text();
      if (out.size() > context::most_text) cx_.fail("the template makes too much text");
    }
    return value(std::move(out));
  }
  if (is_one_of(name, {"find", "rfind", "index", "rindex", "count"})) {
    const std::string& wanted = in.text("sub");
    in.done();
    if (name == "count") {
      if (wanted.empty()) return value::integer(count_characters(self) + 1);
      std::int64_t n = 0;
      for (std::size_t at = self.find(wanted); at != std::string::npos; at = self.find(wanted, at + wanted.size())) ++n;
      return value::integer(n);
    }
    const std::size_t at = name[0] == 'r' ? self.rfind(wanted) : self.find(wanted);
    if (at == std::string::npos && name.ends_with("index")) cx_.fail(join(name, ": the text does not have the part"));
    return at == std::string::npos ? value::integer(std::int64_t{-1})
                                   : value::integer(count_characters(std::string_view(self).substr(0, at)));
  }
  if (name == "partition" || name == "rpartition") {
    const std::string& mark = in.text("sep");
    in.done();
    if (mark.empty()) cx_.fail(join(name, ": the separator is empty"));
    const std::size_t at = name == "partition" ? self.find(mark) : self.rfind(mark);
    if (at == std::string::npos)
      return name == "partition" ? value::list({value(self), value(""), value("")}, true)
                                 : value::list({value(""), value(""), value(self)}, true);
    return value::list({value(self.substr(0, at)), value(mark), value(self.substr(at + mark.size()))}, true);
  }
  if (name == "format") {
    std::string out;
    std::size_t used = 0;
    for (std::size_t i = 0; i < self.size(); ++i) {
      if ((self[i] == '{' || self[i] == '}') && i + 1 < self.size() && self[i + 1] == self[i]) {
        out += self[i++];
      } else if (self[i] == '{') {
        const std::size_t end = self.find('}', i);
        if (end == std::string::npos) cx_.fail("format: a { is never closed");
        const std::string field = self.substr(i + 1, end - i - 1);
        i = end;
        if (field.find_first_of("!:.[") != std::string::npos)
          cx_.fail("format knows {}, {0} and {name} without a format; use the filter format or \"%\"");
        const bool digits =
            !field.empty() && field.size() < 6 && field.find_first_not_of("0123456789") == std::string::npos;
        const value* found = nullptr;
        if (field.empty() || digits) {
          const std::size_t at = field.empty() ? used++ : static_cast<std::size_t>(std::stoi(field));
          if (at < given.list.size()) found = &given.list[at];
        } else {
          for (const auto& [key, v] : given.named)
            if (key == field) found = &v;
        }
        if (found == nullptr) cx_.fail(join("format: nothing is given for {", field, "}"));
        append_text(cx_, out, *found);
      } else if (self[i] == '}') {
        cx_.fail("format: a } closes nothing");
      } else {
        out += self[i];
      }
    }
    cx_.make(out.size());
    return value(std::move(out));
  }
  // zfill, center, ljust, rjust
  const std::int64_t width = in.integer("width", 0);
  const std::string* const given_fill = name == "zfill" ? nullptr : in.text_or_none("fillchar");
  in.done();
  const std::string fill = name == "zfill" ? "0" : given_fill != nullptr ? *given_fill : " ";
  if (count_characters(fill) != 1) cx_.fail(join(name, ": fillchar must be one character"));
  const auto have = static_cast<std::int64_t>(count_characters(self));
  if (width <= have) return value(self);
  const std::int64_t pad = width - have;
  const std::int64_t left = name == "ljust" ? 0 : name == "center" ? pad / 2 + (pad & width & 1) : pad;
  const std::string before_it = *repeated(cx_, value(fill), left).text();
  const std::string after_it = *repeated(cx_, value(fill), pad - left).text();
  if (name == "zfill" && !self.empty() && (self[0] == '-' || self[0] == '+'))
    return value(self.substr(0, 1) + before_it + self.substr(1));
  return value(before_it + self + after_it);
}

inline bool evaluator::test(const std::string& name, const value& of, call_arguments& given) {
  argument_reader in(cx_, given, join("test ", name));
  const auto plain = [&](bool result) { return in.done(), result; };
  if (name == "defined") return plain(!of.is_undefined());
  if (name == "undefined") return plain(of.is_undefined());
  if (name == "none") return plain(of.is_none());
  if (name == "string") return plain(of.text() != nullptr);
  if (name == "boolean") return plain(of.as<bool>() != nullptr);
  if (name == "true") return plain(of.as<bool>() != nullptr && *of.as<bool>());
  if (name == "false") return plain(of.as<bool>() != nullptr && !*of.as<bool>());
  if (name == "integer") return plain(of.as<std::int64_t>() != nullptr);
  if (name == "float") return plain(of.as<double>() != nullptr);
  if (name == "number") return plain(of.is_number());
  if (name == "mapping") return plain(of.dict() != nullptr);
  if (name == "iterable")
    return plain(of.text() != nullptr || of.list() != nullptr || of.dict() != nullptr || of.is_undefined());
  if (name == "sequence")
    return plain(of.text() != nullptr || of.list() != nullptr || of.dict() != nullptr || of.is_undefined());
  if (name == "callable") return plain(of.as<macro>() != nullptr || of.as<function>() != nullptr);
  if (name == "escaped") return plain(false);
  if (name == "upper") return plain(all_are(text_of(of), "isupper"));
  if (name == "lower") return plain(all_are(text_of(of), "islower"));
  if (name == "odd" || name == "even" || name == "divisibleby") {
    const value by = name == "divisibleby" ? in.needed("num") : value::integer(std::int64_t{2});
    in.done();
    const value rest = arithmetic(cx_, "%", of, by);
    return (rest.to_double() == 0) == (name != "odd");
  }
  if (name == "filter" || name == "test")
    cx_.fail(join("the test \"", name, "\" is not supported; plumb's templates have a fixed set of both"));
  const bool known =
      is_one_of(name, {"eq", "equalto", "ne", "lt", "lessthan", "le", "gt", "greaterthan", "ge", "in", "sameas"});
  if (!known) cx_.fail(join("there is no test \"", name, "\""));
  const value& other = in.needed("other");
  in.done();
  if (name == "eq" || name == "equalto") return equal(cx_, of, other);
  if (name == "ne") return !equal(cx_, of, other);
  if (name == "in") return contains(cx_, other, of);
  if (name == "sameas") return of.type_name() == other.type_name() && equal(cx_, of, other);
  if (name == "lt" || name == "lessthan") return less(cx_, of, other);
  if (name == "ge") return !less(cx_, of, other);
  if (name == "gt" || name == "greaterthan") return less(cx_, other, of);
  return !less(cx_, other, of);
}

}  // namespace plumb::inline v0::detail::jinja
