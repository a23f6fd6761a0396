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
// and everything here is a visitor of that function. Members may be double, float, int, bool (`plumb::yes_or_no()`) or
// an enum (`plumb::one_of(words)`). Where a parameter is of use only together with another, the objective may say so in
//
//   constexpr const char* conflict() const {   // what is wrong and how to mend it, or nullptr
//     return squared || power == 2 ? nullptr : "power is used with squared=true only; set that first";
//   }

namespace plumb::inline v0 {

/// One parameter for people: what `plumb objectives` prints.
struct parameter {
  std::string name;
  std::string value;  ///< as text that reads back exactly
  std::string meaning;
  plumb::range range;
};

/// "a finite number above 0 and below 0.5" or "one of reverse_kl, forward_kl, js", for messages.
inline std::string describe_range(const range& r) {
  if (r.words) {
    std::string list = r.upper > 1 ? "one of " : "";
    for (int k = 0; k <= r.upper; ++k)
      list += join(k == 0 ? "" : (r.upper > 1 ? ", " : " or "), std::string_view(r.words[k]));
    return list;
  }
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

/// Reads a number or one of the words of `allowed`; false when it is neither.
template <class T>
bool parse(std::string_view text, T& out, const range& allowed = {}) {
  if constexpr (std::is_same_v<T, bool>) {
    if (text != "true" && text != "false") return false;
    out = text == "true";
    return true;
  } else if constexpr (std::is_enum_v<T>) {
    for (int k = 0; allowed.words && k <= allowed.upper; ++k) {
      if (text != allowed.words[k]) continue;
      out = static_cast<T>(k);
      return true;
    }
    return false;
  } else {
    T value{};
    const auto end = text.data() + text.size();
    const auto [stop, failed] = std::from_chars(text.data(), end, value);
    if (failed != std::errc{} || stop != end) return false;
    out = value;
    return true;
  }
}

/// The other way round.
template <class T>
std::string parameter_text(const T& value, const range& allowed) {
  if constexpr (std::is_enum_v<T>) {
    const double place = static_cast<double>(value);
    return allowed.words && allowed.contains(place) ? std::string(allowed.words[static_cast<int>(value)]) : join(place);
  } else {
    return join(value);
  }
}

inline void check_range(std::string_view objective, std::string_view name, double value, const range& allowed) {
  if (!allowed.contains(value))
    throw error(errc::bad_argument, join(objective, ".", name),
                join("expected ", describe_range(allowed), ", found ", value));
}

/// Throws errc::bad_argument when the objective says that its parameters contradict one another.
template <class O>
void check_conflict(const O& objective) {
  if constexpr (requires { objective.conflict(); }) {
    if (const char* const what = objective.conflict()) throw error(errc::bad_argument, O::name, what);
  }
}

}  // namespace detail

/// The parameters of an objective with their present values; of a default one, the defaults.
template <class O>
std::vector<parameter> parameters(const O& objective) {
  std::vector<parameter> list;
  detail::visit_parameters(
      objective, [&list](std::string_view name, const auto& member, std::string_view meaning, range r) {
        list.push_back({std::string(name), detail::parameter_text(member, r), std::string(meaning), r});
      });
  return list;
}

/// Throws errc::bad_argument for the first parameter outside its range, and for parameters in conflict.
template <class O>
void check_parameters(const O& objective) {
  detail::visit_parameters(objective, [](std::string_view name, const auto& member, std::string_view, range r) {
    detail::check_range(O::name, name, static_cast<double>(member), r);
  });
  detail::check_conflict(objective);
}

/// Sets a parameter from text, as in `--set beta=0.05`. Throws errc::bad_argument and leaves the objective as it was
/// for an unknown key (naming the nearest), text that is no number or none of the words, and a value outside the range.
/// An objective accepts what it describes and nothing else, and a parameter that another one makes useless is refused
/// as well: no option is ever ignored.
template <class O>
void set_parameter(O& objective, std::string_view key, std::string_view text) {
  bool found = false;
  std::vector<std::string_view> known;
  detail::visit_parameters(objective, [&](std::string_view name, auto& member, std::string_view, range r) {
    known.push_back(name);
    if (found || name != key) return;
    found = true;
    std::remove_cvref_t<decltype(member)> value{};
    if (!detail::parse(text, value, r))
      throw error(errc::bad_argument, join(std::string_view(O::name), ".", key),
                  join("expected ", std::is_same_v<decltype(value), bool> ? "true or false" : describe_range(r),
                       ", found '", text, "'"));
    detail::check_range(O::name, name, static_cast<double>(value), r);
    const auto before = member;
    member = value;
    try {
      detail::check_conflict(objective);
    } catch (...) {
      member = before;
      throw;
    }
  });
  if (!found) throw error(errc::bad_argument, O::name, unknown_name("parameter", key, known));
}

}  // namespace plumb::inline v0
