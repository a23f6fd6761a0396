// SPDX-License-Identifier: BSL-1.0
// An objective's parameters by name: list them, set them from text, check their ranges.
#pragma once

#include <charconv>
#include <plumb/core/error.hpp>
#include <plumb/core/nearest.hpp>
#include <plumb/objective/range.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

// An objective describes its parameters once, in
//
//   static constexpr void describe(auto& self, auto& about) {
//     about("beta", self.beta, "what it means", plumb::above(0));
//   }
//
// and everything here is a visitor of that function. Members may be double, float, bool or int.

namespace plumb::inline v0 {

/// One parameter for people: what `plumb objectives` prints.
struct parameter {
  std::string name;
  std::string value;  ///< as text that reads back exactly
  std::string meaning;
  plumb::range range;
};

/// "a finite number above 0 and below 0.5", for messages.
inline std::string describe_range(const range& r) {
  std::string text = "a finite number";
  const bool bounded_below = r.lower > -__builtin_inf();
  if (bounded_below) text += join(r.with_lower ? " of at least " : " above ", r.lower);
  if (r.upper < __builtin_inf())
    text += join(bounded_below ? " and" : "", r.with_upper ? " at most " : " below ", r.upper);
  return text;
}

namespace detail {

/// Calls about(name, member, meaning, range) for each parameter; nothing for an objective without `describe`.
template <class O, class About>
void visit_parameters(O& objective, About&& about) {
  using Plain = std::remove_const_t<O>;
  if constexpr (requires { Plain::describe(objective, about); }) Plain::describe(objective, about);
}

template <class T>
bool parse(std::string_view text, T& out) {
  if constexpr (std::is_same_v<T, bool>) {
    if (text != "true" && text != "false") return false;
    out = text == "true";
    return true;
  } else {
    T value{};
    const auto end = text.data() + text.size();
    const auto [stop, failed] = std::from_chars(text.data(), end, value);
    if (failed != std::errc{} || stop != end) return false;
    out = value;
    return true;
  }
}

inline void check_range(std::string_view objective, std::string_view name, double value, const range& allowed) {
  if (!allowed.contains(value))
    throw error(errc::bad_argument, join(objective, ".", name),
                join("expected ", describe_range(allowed), ", found ", value));
}

}  // namespace detail

/// The parameters of an objective with their present values; of a default one, the defaults.
template <class O>
std::vector<parameter> parameters(const O& objective) {
  std::vector<parameter> list;
  detail::visit_parameters(objective,
                           [&list](std::string_view name, const auto& member, std::string_view meaning, range r) {
                             list.push_back({std::string(name), join(member), std::string(meaning), r});
                           });
  return list;
}

/// Throws errc::bad_argument for the first parameter outside its range.
template <class O>
void check_parameters(const O& objective) {
  detail::visit_parameters(objective, [](std::string_view name, const auto& member, std::string_view, range r) {
    detail::check_range(O::name, name, static_cast<double>(member), r);
  });
}

/// Sets a parameter from text, as in `--set beta=0.05`. Throws errc::bad_argument and leaves the objective as it was
/// for an unknown key (naming the nearest), text that is no number, and a value outside the range. An
/// objective accepts what it describes and nothing else: no option is ever ignored.
template <class O>
void set_parameter(O& objective, std::string_view key, std::string_view text) {
  bool found = false;
  std::vector<std::string_view> known;
  detail::visit_parameters(objective, [&](std::string_view name, auto& member, std::string_view, range r) {
    known.push_back(name);
    if (found || name != key) return;
    found = true;
    std::remove_cvref_t<decltype(member)> value{};
    if (!detail::parse(text, value))
      throw error(errc::bad_argument, join(std::string_view(O::name), ".", key),
                  join("expected ", std::is_same_v<decltype(value), bool> ? "true or false" : describe_range(r),
                       ", found '", text, "'"));
    detail::check_range(O::name, name, static_cast<double>(value), r);
    member = value;
  });
  if (!found) throw error(errc::bad_argument, O::name, unknown_name("parameter", key, known));
}

}  // namespace plumb::inline v0
