// SPDX-License-Identifier: BSL-1.0
// Python's operators on template values: truth, equality, order, arithmetic, membership, indexing. Compiled once per
// program.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_text_impl.hpp>

namespace plumb::inline v0::detail::jinja {

inline bool truth(const value& v) noexcept {
  if (v.is_undefined() || v.is_none()) return false;
  if (const auto* const i = v.integer()) return *i != 0;
  if (const auto* const d = v.as<double>()) return *d != 0;
  if (const auto* const s = v.text()) return !s->empty();
  if (const auto* const l = v.list()) return !l->items.empty();
  if (const auto* const m = v.dict()) return !m->items.empty();
  return true;
}

/// Python's ==.
inline bool equal(context& cx, const value& a, const value& b) {
  cx.step();
  if (a.is_number() && b.is_number()) {
    if (a.integer() != nullptr && b.integer() != nullptr) return *a.integer() == *b.integer();
    return a.to_double() == b.to_double();
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    if (a.text()->size() == b.text()->size()) cx.step(a.text()->size() / 64);
    return *a.text() == *b.text();
  }
  if (const auto *const l = a.list(), *const r = b.list(); l != nullptr && r != nullptr) {
    if (l == r) return true;
    if (l->tuple != r->tuple || l->items.size() != r->items.size()) return false;
    for (std::size_t i = 0; i < l->items.size(); ++i)
      if (!equal(cx, l->items[i], r->items[i])) return false;
    return true;
  }
  if (const auto *const l = a.dict(), *const r = b.dict(); l != nullptr && r != nullptr) {
    if (l == r) return true;
    if (l->items.size() != r->items.size()) return false;
    for (const auto& [key, mine] : l->items) {
      const auto found = std::find_if(r->items.begin(), r->items.end(),
                                      [&](const pair_of_values& m) { return equal(cx, key, m.first); });
      if (found == r->items.end() || !equal(cx, mine, found->second)) return false;
    }
    return true;
  }
  if (const auto *const l = a.as<name_space>(), *const r = b.as<name_space>(); l != nullptr && r != nullptr)
    return l->number == r->number;
  return (a.is_undefined() && b.is_undefined()) || (a.is_none() && b.is_none());
}

/// Python's < on numbers, texts, and lists of these.
inline bool less(context& cx, const value& a, const value& b) {
  cx.step();
  if (a.is_number() && b.is_number()) {
    if (a.integer() != nullptr && b.integer() != nullptr) return *a.integer() < *b.integer();
    return a.to_double() < b.to_double();
  }
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() < *b.text();
  if (const auto *const l = a.list(), *const r = b.list(); l != nullptr && r != nullptr && l->tuple == r->tuple) {
    for (std::size_t i = 0; i < l->items.size() && i < r->items.size(); ++i)
      if (!equal(cx, l->items[i], r->items[i])) return less(cx, l->items[i], r->items[i]);
    return l->items.size() < r->items.size();
  }
  cx.fail(join("values of the types ", a.type_name(), " and ", b.type_name(), " have no order"));
}

/// The value of a key, or null.
inline const value* find(context& cx, const mapping& in, const value& key) {
  for (const auto& [name, found] : in.items)
    if (equal(cx, name, key)) return &found;
  return nullptr;
}

/// What a for loop goes over: items, keys of a dict, characters of a text, nothing for an undefined name.
/// `hold` keeps what had to be made.
inline const std::vector<value>& items_of(context& cx, const value& v, std::vector<value>& hold) {
  if (const auto* const l = v.list()) return l->items;
  if (const auto* const m = v.dict()) {
    for (const auto& member : m->items) hold.push_back(member.first);
  } else if (const auto* const s = v.text()) {
    cx.make(s->size() * 128);  // what a value for every character takes
    for (const std::string_view c : characters(*s)) hold.emplace_back(c);
  } else if (!v.is_undefined()) {
    cx.fail(join("a value of the type ", v.type_name(), " has no items to go over"));
  }
  cx.step(hold.size());
  return hold;
}

[[noreturn]] inline void fail_undefined(const context& cx, const value& v) {
  cx.fail(join(*v.as<undefined>()->hint, " is undefined"));
}
inline void check_defined(const context& cx, const value& v) {
  if (v.is_undefined()) fail_undefined(cx, v);
}

/// Python's `item in container`.
inline bool contains(context& cx, const value& container, const value& item) {
  if (const auto* const s = container.text()) {
    if (item.text() == nullptr)
      cx.fail(join("\"in\" a text needs a text, found a value of the type ", item.type_name()));
    cx.step(s->size() / 64);
    return s->find(*item.text()) != std::string::npos;
  }
  if (const auto* const m = container.dict()) return find(cx, *m, item) != nullptr;
  std::vector<value> hold;
  for (const value& each : items_of(cx, container, hold))
    if (equal(cx, each, item)) return true;
  return false;
}

inline value concatenated(context& cx, const std::string& a, const std::string& b) {
  cx.make(a.size() + b.size());
  return value(a + b);
}

inline value repeated(context& cx, const value& what, std::int64_t times) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const std::size_t size = what.text() != nullptr ? what.text()->size() : what.list()->items.size() * sizeof(value);
  if (size > 0 && n > context::most_text / size) cx.fail("the template makes too much text");
  cx.make(size * n);
  if (const auto* const s = what.text()) {
    std::string out;
    out.reserve(size * n);
    for (std::size_t i = 0; i < n && size > 0; ++i) out += *s;
    return value(std::move(out));
  }
  std::vector<value> out;
  for (std::size_t i = 0; i < n && size > 0; ++i)
    out.insert(out.end(), what.list()->items.begin(), what.list()->items.end());
  return value::list(std::move(out), what.list()->tuple);
}

/// printf-style `%` on texts: %s %r %d %i %x %f with flags, width and precision.
inline value formatted(context& cx, const std::string& format, const value& given) {
  std::string out;
  std::size_t used = 0;
  const auto next = [&]() -> value {
    const auto* const many = given.list() != nullptr && given.list()->tuple ? given.list() : nullptr;
    if (used >= (many != nullptr ? many->items.size() : 1)) cx.fail("\"%\" has more places than values");
    return many != nullptr ? many->items[used++] : (++used, given);
  };
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string flags;
    while (++i < format.size() && std::string_view("-+ 0#").find(format[i]) != std::string_view::npos)
      flags += format[i];
    const auto number = [&](std::size_t none) {
      std::size_t n = none;
      for (; i < format.size() && format[i] >= '0' && format[i] <= '9'; ++i) {
        n = (n == none ? 0 : n) * 10 + static_cast<std::size_t>(format[i] - '0');
        if (n > 100'000) cx.fail("a width in \"%\" is too large");
      }
      return n;
    };
    const std::size_t width = number(0);
    std::size_t precision = 1'000'000;
    if (i < format.size() && format[i] == '.') ++i, precision = number(0);
    const char kind = i < format.size() ? format[i] : '\0';
    std::string part, sign;
    if (kind == '%') {
      out += '%';
      continue;
    }
    const value v = next();
    if (kind == 's' || kind == 'r') {
      append_text(cx, part, v, kind == 'r');
      if (precision < 1'000'000) {
        std::string cut;
        for (const std::string_view c : characters(part))
          if (precision-- > 0)
            cut += c;
          else
            break;
        part = std::move(cut);
      }
    } else if (kind == 'd' || kind == 'i' || kind == 'x' || kind == 'f') {
      if (!v.is_number()) cx.fail(join("\"%", kind, "\" needs a number, found a value of the type ", v.type_name()));
      char digits[512];
      const double d = v.to_double();
      if (kind != 'f' && v.integer() == nullptr && !(std::abs(d) < 9e18)) cx.fail("a number is too large for \"%d\"");
      const std::int64_t whole = v.integer() != nullptr ? *v.integer() : static_cast<std::int64_t>(kind != 'f' ? d : 0);
      const auto r = kind == 'f' ? std::to_chars(digits, digits + sizeof digits, d, std::chars_format::fixed,
                                                 static_cast<int>(precision < 100 ? precision : 6))
                                 : std::to_chars(digits, digits + sizeof digits, whole, kind == 'x' ? 16 : 10);
      part.assign(digits, r.ptr);
      if (part[0] == '-') sign = "-", part.erase(0, 1);
      if (sign.empty() && flags.find_first_of("+ ") != std::string::npos)
        sign = flags.find('+') != std::string::npos ? "+" : " ";
    } else {
      cx.fail("\"%\" knows %s, %r, %d, %i, %x and %f");
    }
    const std::size_t have = count_characters(part) + sign.size();
    const std::size_t pad = width > have ? width - have : 0;
    const bool left = flags.find('-') != std::string::npos;
    const bool zeros = !left && kind != 's' && kind != 'r' && flags.find('0') != std::string::npos;
    cx.make(have + pad);
    if (!left && !zeros) out.append(pad, ' ');
    out += sign;
    if (zeros) out.append(pad, '0');
    out += part;
    if (left) out.append(pad, ' ');
  }
  if (given.list() != nullptr && given.list()->tuple && used < given.list()->items.size())
    cx.fail("\"%\" has fewer places than values");
  cx.make(out.size());
  return value(std::move(out));
}

/// a ** b of integers.
inline value integer_power(context& cx, std::int64_t base, std::int64_t power) {
  if (power < 0) return value::number(std::pow(static_cast<double>(base), static_cast<double>(power)));
  std::int64_t out = 1;
  if (base == 0 || base == 1 || base == -1)
    return value::integer(power == 0 ? std::int64_t{1} : base == -1 && power % 2 == 0 ? std::int64_t{1} : base);
  for (; power > 0; --power)
    if (__builtin_mul_overflow(out, base, &out)) cx.fail("an integer does not fit 64 bits");
  return value::integer(out);
}

/// Python's arithmetic operators.
inline value arithmetic(context& cx, const std::string& op, const value& a, const value& b) {
  check_defined(cx, a);
  check_defined(cx, b);
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) return concatenated(cx, *a.text(), *b.text());
  if (op == "%" && a.text() != nullptr) return formatted(cx, *a.text(), b);
  if (op == "+" && a.list() != nullptr && b.list() != nullptr && a.list()->tuple == b.list()->tuple) {
    cx.make((a.list()->items.size() + b.list()->items.size()) * sizeof(value));
    std::vector<value> all = a.list()->items;
    all.insert(all.end(), b.list()->items.begin(), b.list()->items.end());
    return value::list(std::move(all), a.list()->tuple);
  }
  if (op == "*" && (a.text() != nullptr || a.list() != nullptr) && b.integer() != nullptr)
    return repeated(cx, a, *b.integer());
  if (op == "*" && (b.text() != nullptr || b.list() != nullptr) && a.integer() != nullptr)
    return repeated(cx, b, *a.integer());
  if (!a.is_number() || !b.is_number()) {
    const bool texts = op == "+" && (a.text() != nullptr || b.text() != nullptr);
    cx.fail(join("\"", op, "\" does not take values of the types ", a.type_name(), " and ", b.type_name(),
                 texts ? "; \"~\" joins anything as text" : ""));
  }
  if (a.integer() != nullptr && b.integer() != nullptr && op != "/") {
    const std::int64_t x = *a.integer(), y = *b.integer();
    std::int64_t out = 0;
    bool beyond = false;
    if (op == "+") {
      beyond = __builtin_add_overflow(x, y, &out);
    } else if (op == "-") {
      beyond = __builtin_sub_overflow(x, y, &out);
    } else if (op == "*") {
      beyond = __builtin_mul_overflow(x, y, &out);
    } else if (op == "**") {
      return integer_power(cx, x, y);
    } else {
      if (y == 0) cx.fail("division by zero");
      if (y == -1) {  // the one quotient that may not fit
        beyond = op == "//" && __builtin_sub_overflow(std::int64_t{0}, x, &out);
        if (op == "%") out = 0;
      } else {
        const std::int64_t rest = x % y;
        const bool down = rest != 0 && (rest < 0) != (y < 0);
        out = op == "//" ? x / y - (down ? 1 : 0) : rest + (down ? y : 0);
      }
    }
    if (beyond) cx.fail("an integer does not fit 64 bits");
    return value::integer(out);
  }
  const double x = a.to_double(), y = b.to_double();
  if (op == "+") return value::number(x + y);
  if (op == "-") return value::number(x - y);
  if (op == "*") return value::number(x * y);
  if (op == "**") return value::number(std::pow(x, y));
  if (y == 0) cx.fail("division by zero");
  if (op == "/") return value::number(x / y);
  if (op == "//") return value::number(std::floor(x / y));
  double rest = std::fmod(x, y);
  if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
  return value::number(rest);
}

/// [start:stop:step] of `size` items as Python reads it: from `first` while before (after, for a negative step) `end`.
struct slice_range {
  std::int64_t first = 0, end = 0, by = 1;

  /// Calls f(position) for each.
  template <class F>
  void each(F&& f) const {
    for (std::int64_t i = first; by > 0 ? i < end : i > end;) {
      f(static_cast<std::size_t>(i));
      if (__builtin_add_overflow(i, by, &i)) break;
    }
  }
};

inline slice_range slice_of(context& cx, std::size_t size, const value& start, const value& stop, const value& step) {
  const auto number = [&](const value& v, std::int64_t otherwise) {
    if (v.is_none()) return otherwise;
    if (v.integer() == nullptr) cx.fail(join("a slice needs integers, found a value of the type ", v.type_name()));
    return *v.integer();
  };
  const auto n = static_cast<std::int64_t>(size);
  const std::int64_t by = number(step, 1);
  if (by == 0) cx.fail("the step of a slice cannot be 0");
  const std::int64_t least = by < 0 ? -1 : 0, most = by < 0 ? n - 1 : n;
  const auto bound = [&](const value& v, std::int64_t otherwise) {
    if (v.is_none()) return otherwise;
    std::int64_t i = number(v, 0);
    if (i < 0) i = i < -n ? least : i + n;
    return std::clamp(i, least, std::max(least, most));
  };
  return {bound(start, by < 0 ? most : least), bound(stop, by < 0 ? least : most), by};
}

/// The byte at which character `i` of a text begins; its end when there are fewer.
inline std::size_t byte_of(std::string_view text, std::int64_t i) noexcept {
  std::size_t at = 0;
  for (; i > 0 && at < text.size(); --i) at += utf8_at(text, at).size;
  return at;
}

inline value sliced(context& cx, const value& of, const value& start, const value& stop, const value& step) {
  check_defined(cx, of);
  if (const auto* const s = of.text()) {
    cx.make(s->size());
    const slice_range range = slice_of(cx, count_characters(*s), start, stop, step);
    if (range.by == 1) {
      const std::size_t first = byte_of(*s, range.first);
      const std::string_view rest = std::string_view(*s).substr(first);
      return value(rest.substr(0, byte_of(rest, range.end - range.first)));
    }
    cx.make(s->size() * sizeof(std::string_view));
    const auto all = characters(*s);
    std::string out;
    range.each([&](std::size_t i) { out += all[i]; });
    return value(std::move(out));
  }
  if (const auto* const l = of.list()) {
    cx.make(l->items.size() * sizeof(value));
    std::vector<value> out;
    slice_of(cx, l->items.size(), start, stop, step).each([&](std::size_t i) { out.push_back(l->items[i]); });
    return value::list(std::move(out), l->tuple);
  }
  cx.fail(join("a value of the type ", of.type_name(), " cannot be sliced"));
}

}  // namespace plumb::inline v0::detail::jinja
