// SPDX-License-Identifier: BSL-1.0
// What templates call: functions, and the members of dicts, lists, loops and texts. Compiled once per program.
#pragma once

#include <array>
#include <chrono>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_evaluator_impl.hpp>

namespace plumb::inline v0::detail::jinja {

/// Reads arguments by position or name, in the order of the parameters; `done` refuses what is left over.
class argument_reader {
 public:
  argument_reader(const context& cx, const call_arguments& given, std::string what)
      : cx_(cx), given_(given), what_(std::move(what)) {}

  /// The next parameter, or null when it is not given.
  const value* next(std::string_view name) {
    const std::size_t i = at_++;
    const value* found = i < given_.list.size() ? &given_.list[i] : nullptr;
    for (const auto& [key, v] : given_.named) {
      if (key != name) continue;
      if (found != nullptr) cx_.fail(join(what_, ": ", name, " is given twice"));
      found = &v;
      ++used_;
    }
    return found;
  }
  const value& needed(std::string_view name) {
    const value* const v = next(name);
    if (v == nullptr) cx_.fail(join(what_, ": ", name, " is missing"));
    return *v;
  }
  const std::string& text(std::string_view name) {
    const value& v = needed(name);
    if (v.text() == nullptr) cx_.fail(join(what_, ": ", name, " must be a text, found a ", v.type_name()));
    return *v.text();
  }
  /// A text, or null when it is not given or none.
  const std::string* text_or_none(std::string_view name) {
    const value* const v = next(name);
    if (v == nullptr || v->is_none()) return nullptr;
    if (v->text() == nullptr) cx_.fail(join(what_, ": ", name, " must be a text, found a ", v->type_name()));
    return v->text();
  }
  std::int64_t integer(std::string_view name, std::int64_t otherwise) {
    const value* const v = next(name);
    if (v == nullptr || v->is_none()) return otherwise;
    if (v->integer() == nullptr) cx_.fail(join(what_, ": ", name, " must be an integer, found a ", v->type_name()));
    return *v->integer();
  }
  bool flag(std::string_view name, bool otherwise) {
    const value* const v = next(name);
    return v == nullptr ? otherwise : truth(*v);
  }
  void done() const {
    if (given_.list.size() > at_)
      cx_.fail(join(what_, " takes at most ", at_, " arguments, found ", given_.list.size()));
    if (used_ < given_.named.size()) {
      std::string names;
      for (const auto& [key, v] : given_.named) names += join(names.empty() ? "" : ", ", key);
      cx_.fail(join(what_, " does not know all of the arguments named ", names));
    }
  }

 private:
  const context& cx_;
  const call_arguments& given_;
  std::string what_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
};

/// strftime in the C locale.
inline std::string write_time(const std::tm& t, const std::string& format) {
  constexpr std::array<std::string_view, 12> months{"January",   "February", "March",    "April",
                                                    "May",       "June",     "July",     "August",
                                                    "September", "October",  "November", "December"};
  constexpr std::array<std::string_view, 7> days{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                 "Thursday", "Friday", "Saturday"};
  std::string out;
  const auto number = [&](int n, std::size_t width, char fill) {
    const std::string digits = std::to_string(n);
    if (fill != '\0' && digits.size() < width) out.append(width - digits.size(), fill);
    out += digits;
  };
  const std::string_view month = months[static_cast<std::size_t>(t.tm_mon)];
  const std::string_view day = days[static_cast<std::size_t>(t.tm_wday)];
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    const bool bare = format[i + 1] == '-' && i + 2 < format.size();
    i += bare ? 2 : 1;
    const char zero = bare ? '\0' : '0';
    const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
    switch (format[i]) {
      case 'Y': number(t.tm_year + 1900, 4, zero); break;
      case 'y': number(t.tm_year % 100, 2, zero); break;
      case 'm': number(t.tm_mon + 1, 2, zero); break;
      case 'd': number(t.tm_mday, 2, zero); break;
      case 'e': number(t.tm_mday, 2, bare ? '\0' : ' '); break;
      case 'j': number(t.tm_yday + 1, 3, zero); break;
      case 'H': number(t.tm_hour, 2, zero); break;
      case 'I': number(hour12, 2, zero); break;
      case 'M': number(t.tm_min, 2, zero); break;
      case 'S': number(t.tm_sec, 2, zero); break;
      case 'f': out += "000000"; break;
      case 'p': out += t.tm_hour < 12 ? "AM" : "PM"; break;
      case 'B': out += month; break;
      case 'b':
      case 'h': out += month.substr(0, 3); break;
      case 'A': out += day; break;
      case 'a': out += day.substr(0, 3); break;
      case 'w': number(t.tm_wday, 1, zero); break;
      case 'u': number(t.tm_wday == 0 ? 7 : t.tm_wday, 1, zero); break;
      case 'F': out += write_time(t, "%Y-%m-%d"); break;
      case 'D':
      case 'x': out += write_time(t, "%m/%d/%y"); break;
      case 'T':
      case 'X': out += write_time(t, "%H:%M:%S"); break;
      case 'R': out += write_time(t, "%H:%M"); break;
      case 'c': out += write_time(t, "%a %b %e %H:%M:%S %Y"); break;
      case '%': out += '%'; break;
      default: out += '%', out += format[i];
    }
  }
  return out;
}

inline std::string evaluator::clock(const std::string& format) const {
  if (options_.today) return *options_.today;
  std::tm parts{};
  if (options_.seconds) {
    const auto when = static_cast<std::time_t>(*options_.seconds);
    gmtime_r(&when, &parts);
  } else {
    const std::time_t when = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    localtime_r(&when, &parts);
  }
  return write_time(parts, format);
}

inline value evaluator::global(const std::string& name, call_arguments& given) {
  argument_reader in(cx_, given, name);
  if (name == "raise_exception") {
    const std::string message = text_of(in.needed("message"));
    in.done();
    cx_.fail(message);
  }
  if (name == "strftime_now") {
    const std::string format = in.text("format");
    in.done();
    return value(clock(format));
  }
  if (name == "range") {
    if (given.list.empty() || !given.named.empty()) cx_.fail("range takes one to three numbers");
    const std::int64_t first = in.integer("start", 0);
    const bool one = given.list.size() == 1;
    const std::int64_t second = in.integer("stop", 0), by = in.integer("step", 1);
    in.done();
    const std::int64_t from = one ? 0 : first, to = one ? first : second;
    if (by == 0) cx_.fail("the step of range cannot be 0");
    std::vector<value> out;
    for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
      if (out.size() >= 100'000) cx_.fail("range has more than 100000 numbers");
      cx_.make(sizeof(value));
      out.push_back(value::integer(i));
      if (__builtin_add_overflow(i, by, &i)) break;
    }
    return value::list(std::move(out));
  }
  // namespace and dict: a dict or pairs, then names.
  std::vector<pair_of_values> items;
  if (given.list.size() > 1) cx_.fail(join(name, " takes one dict and names"));
  if (!given.list.empty()) {
    const value& from = given.list[0];
    if (const auto* const m = from.dict()) {
      items = m->items;
    } else {
      std::vector<value> hold;
      for (const value& each : items_of(cx_, from, hold)) {
        if (each.list() == nullptr || each.list()->items.size() != 2) cx_.fail(join(name, " takes a dict or pairs"));
        put(items, each.list()->items[0], each.list()->items[1]);
      }
    }
  }
  for (const auto& [key, v] : given.named) put(items, value(key), v);
  cx_.make(items.size() * sizeof(pair_of_values));
  if (name == "dict") return value::dict(std::move(items));
  std::vector<std::pair<std::string, value>> names;
  for (auto& [key, v] : items) names.emplace_back(text_of(key), std::move(v));
  spaces_.push_back(std::move(names));
  return value(value::data(name_space{spaces_.size() - 1}));
}

// --- members

inline bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) noexcept {
  for (const std::string_view n : names)
    if (n == name) return true;
  return false;
}

inline value evaluator::member(const value& of, const std::string& name, const node* from) {
  const auto missing = [&] { return value::missing(join(from != nullptr ? describe(*from) : "the value", ".", name)); };
  if (of.text() != nullptr) {
    const bool known = is_one_of(
        name, {"strip",   "lstrip",  "rstrip",  "split",     "rsplit",     "splitlines",   "startswith",   "endswith",
               "replace", "upper",   "lower",   "title",     "capitalize", "swapcase",     "casefold",     "join",
               "find",    "rfind",   "index",   "rindex",    "count",      "isdigit",      "isalpha",      "isalnum",
               "isspace", "isupper", "islower", "isnumeric", "isdecimal",  "removeprefix", "removesuffix", "format",
               "zfill",   "center",  "ljust",   "rjust",     "partition",  "rpartition"});
    return known ? value::call_of(name, &of) : missing();
  }
  if (of.dict() != nullptr) {
    if (is_one_of(name, {"items", "keys", "values", "get", "copy"})) return value::call_of(name, &of);
    if (is_one_of(name, {"pop", "popitem", "update", "clear", "setdefault"}))
      cx_.fail(join("values cannot be changed in a template: .", name, " of a dict is not allowed"));
    return missing();
  }
  if (of.list() != nullptr) {
    if (is_one_of(name, {"index", "count", "copy"})) return value::call_of(name, &of);
    if (is_one_of(name, {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"}))
      cx_.fail(join("values cannot be changed in a template: .", name,
                    " of a list is not allowed; build a new one, as in {% set ns.items = ns.items + [x] %}"));
    return missing();
  }
  if (const auto* const space = of.as<name_space>()) {
    for (const auto& [key, v] : spaces_[space->number])
      if (key == name) return v;
    return missing();
  }
  if (const auto* const state = of.as<loop_state>()) {
    if (state->number >= loops_.size()) cx_.fail("the loop is over");
    const running_loop& running = loops_[state->number];
    const std::size_t i = running.index, n = running.items->size();
    if (name == "index") return value::integer(i + 1);
    if (name == "index0") return value::integer(i);
    if (name == "revindex") return value::integer(n - i);
    if (name == "revindex0") return value::integer(n - i - 1);
    if (name == "first") return value::boolean(i == 0);
    if (name == "last") return value::boolean(i + 1 == n);
    if (name == "length") return value::integer(n);
    if (name == "depth") return value::integer(std::int64_t{1});
    if (name == "depth0") return value::integer(std::int64_t{0});
    if (name == "previtem") return i > 0 ? (*running.items)[i - 1] : value::missing("loop.previtem of the first item");
    if (name == "nextitem")
      return i + 1 < n ? (*running.items)[i + 1] : value::missing("loop.nextitem of the last item");
    if (name == "cycle" || name == "changed") return value::call_of(name, &of);
    return missing();
  }
  return missing();
}

inline value evaluator::method(const value& self, const std::string& name, call_arguments& given) {
  if (self.text() != nullptr) return text_method(*self.text(), name, given);
  argument_reader in(cx_, given, name);
  if (const auto* const m = self.dict()) {
    if (name == "get") {
      const value& key = in.needed("key");
      const value* const otherwise = in.next("default");
      in.done();
      const value* const found = find(cx_, *m, key);
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : value::none();
    }
    in.done();
    if (name == "copy") return self;
    cx_.make(m->items.size() * sizeof(value));
    std::vector<value> out;
    for (const auto& [key, v] : m->items)
      out.push_back(name == "keys" ? key : name == "values" ? v : value::list({key, v}, true));
    return value::list(std::move(out));
  }
  if (const auto* const l = self.list()) {
    if (name == "copy") return in.done(), self;
    const value& wanted = in.needed("value");
    in.done();
    std::int64_t count = 0;
    for (std::size_t i = 0; i < l->items.size(); ++i) {
      if (!equal(cx_, l->items[i], wanted)) continue;
      if (name == "index") return value::integer(i);
      ++count;
    }
    if (name == "index") cx_.fail("index: the list does not have the value");
    return value::integer(count);
  }
  const auto* const state = self.as<loop_state>();
  if (state == nullptr || state->number >= loops_.size()) cx_.fail("the loop is over");
  running_loop& running = loops_[state->number];
  if (given.list.empty()) cx_.fail(join("loop.", name, " needs values"));
  if (name == "cycle") return given.list[running.index % given.list.size()];
  bool changed = !running.has_changed || running.changed.size() != given.list.size();
  for (std::size_t i = 0; !changed && i < given.list.size(); ++i)
    changed = !equal(cx_, running.changed[i], given.list[i]);
  running.changed = given.list;
  running.has_changed = true;
  return value::boolean(changed);
}

}  // namespace plumb::inline v0::detail::jinja
