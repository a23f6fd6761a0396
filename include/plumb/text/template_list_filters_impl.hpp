// SPDX-License-Identifier: BSL-1.0
// The filters of chat templates that go over items: sort, join, map, selectattr … Compiled once per program.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_methods_impl.hpp>

namespace plumb::inline v0::detail::jinja {

/// a.b.0 of a value: what `attribute=` of a filter means.
inline value evaluator::path(const value& of, const value& attribute) {
  value at = of;
  if (attribute.integer() != nullptr) return get_item(of, attribute);
  if (attribute.text() == nullptr) cx_.fail("an attribute must be a text or an integer");
  for (const value& part : split_at(*attribute.text(), ".", -1, false)) {
    const std::string& name = *part.text();
    std::int64_t i = 0;
    const auto r = std::from_chars(name.data(), name.data() + name.size(), i);
    const bool digits =
        !name.empty() && name.find_first_not_of("0123456789") == std::string::npos && r.ec == std::errc{};
    at = get_item(at, digits ? value::integer(i) : part);
  }
  return at;
}
inline value evaluator::sort_key(const value& of, const value* attribute, bool case_sensitive) {
  value key = of;
  if (attribute != nullptr && !attribute->is_none()) {
    if (attribute->text() != nullptr && attribute->text()->find(',') != std::string::npos) {
      std::vector<value> keys;
      for (const value& part : split_at(*attribute->text(), ",", -1, false))
        keys.push_back(sort_key(of, &part, case_sensitive));
      return value::list(std::move(keys));
    }
    key = path(of, *attribute);
  }
  if (key.text() == nullptr || case_sensitive) return key;
  cx_.make(key.text()->size());
  return value(lower(*key.text()));
}

inline bool evaluator::list_filter(const std::string& name, const value& of, call_arguments& given, value& out) {
  if (!is_one_of(name, {"length", "count", "first", "last", "list", "reverse", "join", "sort", "unique", "items",
                        "dictsort", "batch", "slice", "sum", "min", "max", "groupby", "attr"}))
    return false;
  argument_reader in(cx_, given, join("filter ", name));
  if (name == "attr") {
    const std::string& what = in.text("name");
    in.done();
    check_defined(cx_, of);
    out = member(of, what, nullptr);
    return true;
  }
  std::vector<value> hold;
  if (name == "items") {
    in.done();
    if (!of.is_undefined() && of.dict() == nullptr)
      cx_.fail(join("filter items needs a dict, found a ", of.type_name()));
    call_arguments none;
    out = of.dict() != nullptr ? method(of, "items", none) : value::list({});
    return true;
  }
  if (name == "dictsort") {
    const bool case_sensitive = in.flag("case_sensitive", false);
    const std::string* const by = in.text_or_none("by");
    const bool reverse = in.flag("reverse", false);
    in.done();
    if (of.dict() == nullptr) cx_.fail(join("filter dictsort needs a dict, found a ", of.type_name()));
    if (by != nullptr && *by != "key" && *by != "value") cx_.fail("filter dictsort: by must be key or value");
    std::vector<std::pair<value, value>> keyed;
    for (const auto& [key, v] : of.dict()->items)
      keyed.emplace_back(sort_key(by != nullptr && *by == "value" ? v : key, nullptr, case_sensitive),
                         value::list({key, v}, true));
    std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
      return reverse ? less(cx_, b.first, a.first) : less(cx_, a.first, b.first);
    });
    std::vector<value> sorted;
    for (auto& [key, item] : keyed) sorted.push_back(std::move(item));
    out = value::list(std::move(sorted));
    return true;
  }
  if (name == "reverse" && of.text() != nullptr) {
    in.done();
    auto all = characters(*of.text());
    std::string text;
    cx_.make(of.text()->size() * sizeof(std::string_view));
    for (auto c = all.rbegin(); c != all.rend(); ++c) text += *c;
    out = value(std::move(text));
    return true;
  }
  const std::vector<value>& items = items_of(cx_, of, hold);
  cx_.step(items.size());
  if (name == "length" || name == "count") {
    in.done();
    out = value::integer(items.size());
  } else if (name == "first" || name == "last") {
    in.done();
    out = items.empty()     ? value::missing(join("the ", name, " of nothing"))
          : name == "first" ? items.front()
                            : items.back();
  } else if (name == "list") {
    in.done();
    out = value::list(items);
  } else if (name == "reverse") {
    in.done();
    out = value::list({items.rbegin(), items.rend()});
  } else if (name == "join") {
    const value* const between = in.next("d");
    const value* const attribute = in.next("attribute");
    in.done();
    const std::string mark = between != nullptr ? text_of(*between) : "";
    std::string text;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text += mark;
      append_text(cx_, text, attribute != nullptr && !attribute->is_none() ? path(items[i], *attribute) : items[i]);
      cx_.make(mark.size());
    }
    out = value(std::move(text));
  } else if (name == "sort" || name == "unique" || name == "min" || name == "max") {
    const bool reverse = name == "sort" ? in.flag("reverse", false) : false;
    const bool case_sensitive = in.flag("case_sensitive", false);
    const value* const attribute = in.next("attribute");
    in.done();
    std::vector<std::pair<value, const value*>> keyed;
    for (const value& item : items) keyed.emplace_back(sort_key(item, attribute, case_sensitive), &item);
    std::vector<value> kept;
    if (name == "unique") {
      for (std::size_t i = 0; i < keyed.size(); ++i) {
        std::size_t k = 0;
        while (k < i && !equal(cx_, keyed[k].first, keyed[i].first)) ++k;
        if (k == i) kept.push_back(*keyed[i].second);
      }
      out = value::list(std::move(kept));
      return true;
    }
    if (name == "sort") {
      std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
        return reverse ? less(cx_, b.first, a.first) : less(cx_, a.first, b.first);
      });
      for (const auto& [key, item] : keyed) kept.push_back(*item);
      out = value::list(std::move(kept));
      return true;
    }
    if (keyed.empty()) return out = value::missing(join("the ", name, " of nothing")), true;
    std::size_t best = 0;
    for (std::size_t i = 1; i < keyed.size(); ++i)
      if (name == "min" ? less(cx_, keyed[i].first, keyed[best].first) : less(cx_, keyed[best].first, keyed[i].first))
        best = i;
    out = *keyed[best].second;
  } else if (name == "sum") {
    const value* const attribute = in.next("attribute");
    const value* const start = in.next("start");
    in.done();
    out = start != nullptr ? *start : value::integer(std::int64_t{0});
    for (const value& item : items)
      out = arithmetic(cx_, "+", out, attribute != nullptr && !attribute->is_none() ? path(item, *attribute) : item);
  } else if (name == "groupby") {
    const value& attribute = in.needed("attribute");
    in.done();
    std::vector<std::pair<value, const value*>> keyed;
    for (const value& item : items) keyed.emplace_back(path(item, attribute), &item);
    const auto key_of = [&](const value& v) { return sort_key(v, nullptr, false); };
    std::stable_sort(keyed.begin(), keyed.end(),
                     [&](const auto& a, const auto& b) { return less(cx_, key_of(a.first), key_of(b.first)); });
    std::vector<value> groups;
    for (std::size_t i = 0; i < keyed.size();) {
      std::vector<value> group;
      const std::size_t first = i;
      for (; i < keyed.size() && equal(cx_, key_of(keyed[first].first), key_of(keyed[i].first)); ++i)
        group.push_back(*keyed[i].second);
      groups.push_back(value::list({keyed[first].first, value::list(std::move(group))}, true));
    }
    out = value::list(std::move(groups));
  } else {  // batch, slice
    const std::int64_t n = in.integer(name == "batch" ? "linecount" : "slices", 0);
    const value* const fill = in.next("fill_with");
    in.done();
    if (n < 1 || n > 100'000) cx_.fail(join("filter ", name, " needs a number from 1 to 100000"));
    const auto count = static_cast<std::size_t>(n);
    const bool filled = fill != nullptr && !fill->is_none();
    std::vector<value> groups;
    std::size_t at = 0;
    const std::size_t each = items.size() / count, more = items.size() % count;
    for (std::size_t g = 0; name == "batch" ? at < items.size() : g < count; ++g) {
      const std::size_t size = name == "batch" ? std::min(count, items.size() - at) : each + (g < more ? 1 : 0);
      cx_.make((size + 1) * sizeof(value));
      std::vector<value> group(items.begin() + static_cast<std::ptrdiff_t>(at),
                               items.begin() + static_cast<std::ptrdiff_t>(at + size));
      at += size;
      if (filled && name == "batch") {
        cx_.make((count - size) * sizeof(value));
        group.resize(count, *fill);
      }
      if (filled && name == "slice" && more > 0 && g >= more) group.push_back(*fill);
      groups.push_back(value::list(std::move(group)));
    }
    out = value::list(std::move(groups));
  }
  return true;
}

/// map, select, reject, selectattr, rejectattr.
inline bool evaluator::choosing_filter(const std::string& name, const value& of, call_arguments& given, value& out) {
  if (!is_one_of(name, {"map", "select", "reject", "selectattr", "rejectattr"})) return false;
  std::vector<value> hold, kept;
  const std::vector<value>& items = items_of(cx_, of, hold);
  call_arguments rest;
  const auto word = [&](std::size_t i) -> const std::string& {
    if (given.list[i].text() == nullptr) cx_.fail(join("filter ", name, ": expected a name as a text"));
    return *given.list[i].text();
  };
  if (name == "map") {
    if (given.list.empty()) {
      argument_reader in(cx_, given, "filter map");
      const value& attribute = in.needed("attribute");
      const value* const otherwise = in.next("default");
      in.done();
      for (const value& item : items) {
        cx_.step();
        value v = path(item, attribute);
        kept.push_back(v.is_undefined() && otherwise != nullptr ? *otherwise : std::move(v));
      }
    } else {
      rest.list.assign(given.list.begin() + 1, given.list.end());
      rest.named = given.named;
      for (const value& item : items) kept.push_back(filter(word(0), item, rest));
    }
    out = value::list(std::move(kept));
    return true;
  }
  const bool by_attribute = name.ends_with("attr");
  const std::size_t test_at = by_attribute ? 1 : 0;
  if (given.list.size() < test_at) cx_.fail(join("filter ", name, " needs the name of an attribute"));
  const bool tested = given.list.size() > test_at;
  if (tested) {
    rest.list.assign(given.list.begin() + static_cast<std::ptrdiff_t>(test_at) + 1, given.list.end());
    rest.named = given.named;
  }
  const bool wanted = name.starts_with("select");
  for (const value& item : items) {
    cx_.step();
    const value v = by_attribute ? path(item, given.list[0]) : item;
    const std::string alias = !tested ? "" : word(test_at);
    const std::string what = alias == "=="   ? "eq"
                             : alias == "!=" ? "ne"
                             : alias == ">"  ? "gt"
                             : alias == "<"  ? "lt"
                             : alias == ">=" ? "ge"
                             : alias == "<=" ? "le"
                                             : alias;
    if ((tested ? test(what, v, rest) : truth(v)) == wanted) kept.push_back(item);
  }
  out = value::list(std::move(kept));
  return true;
}

}  // namespace plumb::inline v0::detail::jinja
