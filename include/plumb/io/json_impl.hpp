// SPDX-License-Identifier: BSL-1.0
// The bodies of io/json.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <string>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0::json {

std::string describe(const value& v) {
  if (const auto* const text = v.if_string()) {
    const std::string_view all(text->data(), text->size());
    return join("the string ", dump(value(boost::json::string_view(all.data(), all.size() > 40 ? 40 : all.size()))));
  }
  if (v.is_number()) return join("the number ", dump(v));
  if (v.is_bool()) return v.get_bool() ? "true" : "false";
  if (const auto* const items = v.if_array()) return join("a list of ", items->size(), " items");
  if (const auto* const members = v.if_object()) return join("an object with ", members->size(), " keys");
  return "null";
}

const value* find(const object& from, std::string_view key) {
  return from.if_contains(boost::json::string_view(key.data(), key.size()));
}

const object& as_object(const value& v, std::string_view what, const std::string& place) {
  if (const auto* const o = v.if_object()) return *o;
  throw error(errc::bad_file, place, join(what, ": expected an object, found ", describe(v)));
}

}  // namespace plumb::inline v0::json
