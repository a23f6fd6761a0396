// SPDX-License-Identifier: BSL-1.0
// JSON for the whole library: parse, dump, rows of files, and typed look-ups whose errors say what was expected.
// Bodies: json_impl.hpp.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include <plumb/core/error.hpp>
#include <plumb/io/json_lines.hpp>
#include <plumb/io/json_parse.hpp>
#include <plumb/io/json_write.hpp>

namespace plumb::inline v0::json {

/// A value in a few words, for messages: `the string "adam"`, `the number 3`, `an object with 2 keys`.
std::string describe(const value& v);

namespace detail {

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};

template <class T>
constexpr std::string_view wanted() {
  if constexpr (std::same_as<T, bool>)
    return "true or false";
  else if constexpr (std::integral<T>)
    return "an integer";
  else if constexpr (std::floating_point<T>)
    return "a number";
  else if constexpr (std::same_as<T, std::string>)
    return "a string";
  else if constexpr (is_vector<T>::value || std::same_as<T, array>)
    return "a list";
  else
    return "an object";
}

/// An integer from any JSON number that is one, also when written as 2.0 or 1e3.
template <std::integral T>
std::optional<T> to_integer(const value& v) {
  if (const auto* const i = v.if_int64())
    return std::in_range<T>(*i) ? std::optional(static_cast<T>(*i)) : std::nullopt;
  if (const auto* const u = v.if_uint64())
    return std::in_range<T>(*u) ? std::optional(static_cast<T>(*u)) : std::nullopt;
  if (const auto* const d = v.if_double(); d != nullptr && *d == std::trunc(*d) && std::abs(*d) < 0x1p53) {
    const auto whole = static_cast<std::int64_t>(*d);
    if (std::in_range<T>(whole)) return static_cast<T>(whole);
  }
  return std::nullopt;
}

template <class T>
std::optional<T> convert(const value& v) {
  if constexpr (std::same_as<T, value>) {
    return v;
  } else if constexpr (std::same_as<T, bool>) {
    if (const auto* const b = v.if_bool()) return *b;
  } else if constexpr (std::integral<T>) {
    return to_integer<T>(v);
  } else if constexpr (std::floating_point<T>) {
    if (const auto* const d = v.if_double()) return static_cast<T>(*d);
    if (const auto* const i = v.if_int64()) return static_cast<T>(*i);
    if (const auto* const u = v.if_uint64()) return static_cast<T>(*u);
  } else if constexpr (std::same_as<T, std::string>) {
    if (const auto* const s = v.if_string()) return std::string(s->data(), s->size());
  } else if constexpr (std::same_as<T, array>) {
    if (const auto* const a = v.if_array()) return *a;
  } else {
    static_assert(std::same_as<T, object>,
                  "plumb::json::get reads bool, integers, floats, std::string, std::vector, array, object and value");
    if (const auto* const o = v.if_object()) return *o;
  }
  return std::nullopt;
}

}  // namespace detail

/// A value as a `T`: bool, any integer or floating type, `std::string`, `array`, `object`, `value` or a vector of these.
///
/// `what` names the value in the error, which is `bad_file` at `place`. Integers must fit; 3.0 is an integer, 3.5 is not.
template <class T>
T as(const value& v, std::string_view what, const std::string& place) {
  if constexpr (detail::is_vector<T>::value) {
    const auto* const items = v.if_array();
    if (items == nullptr) throw error(errc::bad_file, place, join(what, ": expected a list, found ", describe(v)));
    T out;
    out.reserve(items->size());
    for (const value& item : *items) {
      out.push_back(as<typename T::value_type>(item, join(what, "[", out.size(), "]"), place));
    }
    return out;
  } else {
    auto converted = detail::convert<T>(v);
    if (!converted) {
      throw error(errc::bad_file, place, join(what, ": expected ", detail::wanted<T>(), ", found ", describe(v)));
    }
    return *std::move(converted);
  }
}

/// The member `key`, or null when the object lacks it.
const value* find(const object& from, std::string_view key);

/// The object that a value must be; `place` and `what` as in `as`. No copy is made.
const object& as_object(const value& v, std::string_view what, const std::string& place);

/// The member `key` as a `T`; missing or of another type throws `bad_file` at `place`.
template <class T>
T get(const object& from, std::string_view key, const std::string& place) {
  const value* const v = find(from, key);
  if (v == nullptr) {
    throw error(errc::bad_file, place, join("expected the key \"", key, "\" (", detail::wanted<T>(), "), found none"));
  }
  return as<T>(*v, join("\"", key, "\""), place);
}

/// The member `key` as a `T`, or `otherwise` when it is missing or null; of another type throws `bad_file` at `place`.
template <class T>
T get_or(const object& from, std::string_view key, T otherwise, const std::string& place) {
  const value* const v = find(from, key);
  if (v == nullptr || v->is_null()) return otherwise;
  return as<T>(*v, join("\"", key, "\""), place);
}

}  // namespace plumb::inline v0::json
