// SPDX-License-Identifier: BSL-1.0
// What a chat template computes with: Python's values, as far as templates use them. Used by the *_impl headers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/io/json.hpp>

namespace plumb::inline v0::detail::jinja {

class value;
struct node;

using text_ptr = std::shared_ptr<const std::string>;
using pair_of_values = std::pair<value, value>;

/// A list or a tuple; never changed once it is made, so no value can hold itself.
struct sequence {
  std::vector<value> items;
  bool tuple = false;
  int depth = 1;  ///< values inside one another
};

/// A dict in the order of insertion.
struct mapping {
  std::vector<pair_of_values> items;
  int depth = 1;
};

/// A name that nothing is known by: prints as nothing, is false, has no items; anything else is an error.
struct undefined {
  text_ptr hint;  ///< what was looked for
};

/// namespace(): attributes that a template may set; the evaluator owns them, by number.
struct name_space {
  std::size_t number = 0;
};

/// The variable `loop` of a for statement, by the number of the loop that is running.
struct loop_state {
  std::size_t number = 0;
};

/// A macro, or the body of a call block as `caller`, and the scope it was defined in.
struct macro {
  const node* definition = nullptr;
  std::size_t scope = 0;         ///< position in the stack of scopes
  std::uint64_t scope_mark = 0;  ///< and its mark, to notice that it is gone
};

/// A function of the environment (range, raise_exception …) or a method bound to a value ("abc".upper).
struct function {
  text_ptr name;
  std::shared_ptr<const value> self;  ///< null for a global function
};

/// A value of the template language.
class value {
 public:
  using data =
      std::variant<undefined, std::nullptr_t, bool, std::int64_t, double, text_ptr, std::shared_ptr<const sequence>,
                   std::shared_ptr<const mapping>, name_space, loop_state, macro, function>;

  value() = default;
  explicit value(data d) : data_(std::move(d)) {}
  value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  value(std::string_view text) : value(std::string(text)) {}
  value(const char* text) : value(std::string(text)) {}
  static value none() { return value(data(nullptr)); }
  static value boolean(bool b) { return value(data(b)); }
  static value integer(std::int64_t i) { return value(data(i)); }
  static value integer(std::size_t i) { return integer(static_cast<std::int64_t>(i)); }
  static value number(double d) { return value(data(d)); }
  static value missing(std::string_view hint) {
    return value(data(undefined{std::make_shared<const std::string>(hint)}));
  }
  /// Nesting beyond `most_depth` throws, so that no walk over a value is deep.
  static value list(std::vector<value> items, bool tuple = false);
  static value dict(std::vector<pair_of_values> items);
  static value call_of(std::string_view name, const value* self = nullptr) {
    return value(data(function{std::make_shared<const std::string>(name),
                               self != nullptr ? std::make_shared<const value>(*self) : nullptr}));
  }

  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return std::get_if<T>(&data_);
  }
  [[nodiscard]] bool is_undefined() const noexcept { return as<undefined>() != nullptr; }
  [[nodiscard]] bool is_none() const noexcept { return as<std::nullptr_t>() != nullptr; }
  [[nodiscard]] const std::string* text() const noexcept {
    const auto* const t = as<text_ptr>();
    return t != nullptr ? t->get() : nullptr;
  }
  [[nodiscard]] const sequence* list() const noexcept {
    const auto* const l = as<std::shared_ptr<const sequence>>();
    return l != nullptr ? l->get() : nullptr;
  }
  [[nodiscard]] const mapping* dict() const noexcept {
    const auto* const d = as<std::shared_ptr<const mapping>>();
    return d != nullptr ? d->get() : nullptr;
  }
  /// An integer, or a bool as 0 or 1, as in Python.
  [[nodiscard]] const std::int64_t* integer() const noexcept {
    static constexpr std::int64_t bits[] = {0, 1};
    if (const bool* const b = as<bool>()) return &bits[*b ? 1 : 0];
    return as<std::int64_t>();
  }
  [[nodiscard]] bool is_number() const noexcept { return integer() != nullptr || as<double>() != nullptr; }
  [[nodiscard]] double to_double() const noexcept {
    if (const auto* const i = integer()) return static_cast<double>(*i);
    const auto* const d = as<double>();
    return d != nullptr ? *d : 0.0;
  }
  [[nodiscard]] int depth() const noexcept {
    if (const auto* const l = list()) return l->depth;
    if (const auto* const d = dict()) return d->depth;
    return 0;
  }
  /// What Python calls the type, for messages and tests.
  [[nodiscard]] std::string_view type_name() const noexcept {
    constexpr std::string_view names[] = {"Undefined", "None", "bool",      "int",         "float", "str",
                                          "list",      "dict", "namespace", "LoopContext", "macro", "function"};
    if (list() != nullptr && list()->tuple) return "tuple";
    return names[data_.index()];
  }

 private:
  data data_;
};

inline constexpr int most_depth = 200;

inline value value::list(std::vector<value> items, bool tuple) {
  int depth = 0;
  for (const value& v : items) depth = v.depth() > depth ? v.depth() : depth;
  if (depth >= most_depth)
    throw error(errc::bad_data, "template", join("values are nested more than ", most_depth, " deep"));
  return value(data(std::make_shared<const sequence>(sequence{std::move(items), tuple, depth + 1})));
}

inline value value::dict(std::vector<pair_of_values> items) {
  int depth = 0;
  for (const auto& [key, v] : items) {
    depth = v.depth() > depth ? v.depth() : depth;
    depth = key.depth() > depth ? key.depth() : depth;
  }
  if (depth >= most_depth)
    throw error(errc::bad_data, "template", join("values are nested more than ", most_depth, " deep"));
  return value(data(std::make_shared<const mapping>(mapping{std::move(items), depth + 1})));
}

/// A JSON value as the template sees it; integers beyond 64 bits with a sign become floating numbers.
inline value from_json(const json::value& v) {
  if (const auto* const s = v.if_string()) return value(std::string(s->data(), s->size()));
  if (const auto* const b = v.if_bool()) return value::boolean(*b);
  if (const auto* const i = v.if_int64()) return value::integer(*i);
  if (const auto* const u = v.if_uint64()) {
    return *u <= static_cast<std::uint64_t>(INT64_MAX) ? value::integer(static_cast<std::int64_t>(*u))
                                                       : value::number(static_cast<double>(*u));
  }
  if (const auto* const d = v.if_double()) return value::number(*d);
  if (const auto* const a = v.if_array()) {
    std::vector<value> items;
    items.reserve(a->size());
    for (const json::value& item : *a) items.push_back(from_json(item));
    return value::list(std::move(items));
  }
  if (const auto* const o = v.if_object()) {
    std::vector<pair_of_values> items;
    items.reserve(o->size());
    for (const auto& member : *o)
      items.emplace_back(value(std::string(member.key().data(), member.key().size())), from_json(member.value()));
    return value::dict(std::move(items));
  }
  return value::none();
}

}  // namespace plumb::inline v0::detail::jinja
