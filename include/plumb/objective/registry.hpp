// SPDX-License-Identifier: BSL-1.0
// Objectives by name: find one in a list of types, list them, read "0.2*sft_chosen".
#pragma once

#include <array>
#include <plumb/core/error.hpp>
#include <plumb/core/nearest.hpp>
#include <plumb/objective/any_objective.hpp>
#include <plumb/objective/parameters.hpp>
#include <string>
#include <string_view>

namespace plumb::inline v0 {

/// A list of objective types. `objective_list<plumb::dpo, mine>` works wherever a list is asked for.
template <class... O>
struct objective_list {
  static constexpr std::array<std::string_view, sizeof...(O)> names{std::string_view(O::name)...};

  /// Calls f(O{}) for each, in order.
  template <class F>
  static constexpr void for_each(F&& f) {
    (f(O{}), ...);
  }
};

/// "pair", for messages and `plumb objectives`.
constexpr std::string_view name(level l) {
  switch (l) {
    case level::row: return "row";
    case level::token: return "token";
    case level::sequence: return "sequence";
    case level::pair: return "pair";
    case level::group: return "group";
  }
  return "unknown";
}

namespace detail {

template <class F, class First, class... Rest>
decltype(auto) visit_named(std::string_view name, F& f, objective_list<First, Rest...>) {
  if constexpr (sizeof...(Rest) == 0)
    return f(First{});  // the caller made sure that the name is in the list
  else {
    if (name == First::name) return f(First{});
    return visit_named(name, f, objective_list<Rest...>{});
  }
}

}  // namespace detail

/// Calls f with a default-made objective of that name and returns what f returns (one type for all).
/// Throws errc::not_found for an unknown name, naming the nearest.
template <class List, class F>
decltype(auto) visit_objective_in(std::string_view name, F&& f) {
  bool known = false;
  for (const std::string_view each : List::names) known = known || each == name;
  if (!known) throw error(errc::not_found, "", unknown_name("objective", name, List::names));
  return detail::visit_named(name, f, List{});
}

/// The objective of that name for records of level L. Throws errc::not_found for an unknown name,
/// errc::bad_argument for one of another level.
template <class List, level L>
any_objective<L> make_objective_in(std::string_view objective) {
  return visit_objective_in<List>(objective, [&](const auto& o) -> any_objective<L> {
    using O = std::remove_cvref_t<decltype(o)>;
    if constexpr (O::level == L)
      return o;
    else
      throw error(errc::bad_argument, std::string(objective),
                  join("expected an objective on ", name(L), " records, found one on ", name(O::level), " records"));
  });
}

/// Reads a weighted sum, "dpo + 0.2*sft_chosen" or "0.2*sft_chosen"; blanks do not matter, a missing weight is 1.
/// Throws errc::bad_argument for what it cannot read, and as make_objective_in.
template <class List, level L>
any_objective<L> parse_objective_in(std::string_view text) {
  const auto trim = [](std::string_view t) {
    while (!t.empty() && (t.front() == ' ' || t.front() == '\t')) t.remove_prefix(1);
    while (!t.empty() && (t.back() == ' ' || t.back() == '\t')) t.remove_suffix(1);
    return t;
  };
  const auto read_term = [&](std::string_view term) {
    const std::size_t star = term.find('*');
    if (star == std::string_view::npos) return make_objective_in<List, L>(trim(term));
    double weight = 0;
    if (!detail::parse(trim(term.substr(0, star)), weight))
      throw error(errc::bad_argument, "objective",
                  join("expected weight*name, such as 0.2*sft_chosen, found '", trim(term), "'"));
    return weight * make_objective_in<List, L>(trim(term.substr(star + 1)));
  };
  // A plus sign separates terms unless it belongs to an exponent, as in 1e+2.
  const auto next_plus = [&](std::size_t from) {
    for (std::size_t i = from; i < text.size(); ++i) {
      const bool exponent = i >= 2 && (text[i - 1] == 'e' || text[i - 1] == 'E') &&
                            ((text[i - 2] >= '0' && text[i - 2] <= '9') || text[i - 2] == '.');
      if (text[i] == '+' && !exponent) return i;
    }
    return text.size();
  };
  std::size_t end = next_plus(0);
  any_objective<L> sum = read_term(text.substr(0, end));
  while (end < text.size()) {
    const std::size_t start = end + 1;
    end = next_plus(start);
    sum += read_term(text.substr(start, end - start));
  }
  return sum;
}

/// Applies one `--set key=value`: "also=0.2*sft_chosen" adds terms, every other key sets a parameter.
template <class List, level L>
void set_option_in(any_objective<L>& objective, std::string_view key, std::string_view text) {
  if (key == "also")
    objective += parse_objective_in<List, L>(text);
  else
    objective.set_parameter(key, text);
}

}  // namespace plumb::inline v0
