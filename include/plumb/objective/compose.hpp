// SPDX-License-Identifier: BSL-1.0
// Objectives add up: `dpo{} + 0.2f * sft_chosen{}` is an objective again.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/objective/reduction.hpp>
#include <span>

namespace plumb::inline v0 {

namespace detail {

/// A text of known length, so that names can be joined while compiling.
template <unsigned long Size>
struct fixed_text {
  char letters[Size + 1] = {};
};
constexpr unsigned long length(const char* text) {
  unsigned long n = 0;
  while (text[n] != 0) ++n;
  return n;
}
template <class A, class B>
constexpr auto joined_name() {
  fixed_text<length(A::name) + 3 + length(B::name)> out;
  unsigned long n = 0;
  for (const char* part : {static_cast<const char*>(A::name), " + ", static_cast<const char*>(B::name)}) {
    for (; *part; ++part) out.letters[n++] = *part;
  }
  return out;
}
template <class A, class B>
inline constexpr auto sum_name = joined_name<A, B>();

/// Anything that looks like an objective: enough to claim the operators, so that the ladder can explain the rest.
template <class O>
concept objective_like = with_name<O> && with_level<O> && with_needs<O>;

template <class O>
constexpr void pass_metrics(const O& objective, const auto& r, auto& add) {
  if constexpr (requires { objective.metrics(r, add); }) objective.metrics(r, add);
}
template <class O>
constexpr void pass_describe(auto& self, auto& about) {
  if constexpr (requires { O::describe(self, about); }) O::describe(self, about);
}

}  // namespace detail

/// w · L. Parameters, rewards, metrics and reduction are those of L.
template <class O>
struct scaled_objective {
  static constexpr const char* name = O::name;
  static constexpr auto level = O::level;
  static constexpr auto needs = O::needs;
  static constexpr auto reduction = default_reduction<O>();

  O objective;
  double weight = 1;

  static constexpr void describe(auto& self, auto& about) { detail::pass_describe<O>(self.objective, about); }

  constexpr auto prepare(std::span<const record<O::level>> records) const
    requires detail::with_prepare<O>
  {
    return objective.prepare(records);
  }
  template <class Record, class... Constant>
  constexpr typename Record::real operator()(const Record& r, const Constant&... constant) const {
    return weight * objective(r, constant...);
  }
  constexpr double reward(const sequence_record<double>& reply) const
    requires detail::with_reward<O>
  {
    return objective.reward(reply);
  }
  constexpr void metrics(const record<O::level>& r, auto& add) const { detail::pass_metrics(objective, r, add); }
};

/// L_1 + L_2, of one level. It needs what either needs; rewards are those of the first part that has some.
template <class A, class B>
struct sum_objective {
  static constexpr const char* name = detail::sum_name<A, B>.letters;
  static constexpr auto level = A::level;
  static constexpr auto needs = A::needs | B::needs;
  static constexpr auto reduction = default_reduction<A>();

  /// The batch constants of both parts.
  struct constants {
    prepared<A> first;
    prepared<B> second;
  };

  A first;
  B second;

  /// Both parts' parameters; where both have one of the same name, text settings reach the first.
  static constexpr void describe(auto& self, auto& about) {
    detail::pass_describe<A>(self.first, about);
    detail::pass_describe<B>(self.second, about);
  }

  constexpr constants prepare(std::span<const record<A::level>> records) const
    requires(detail::with_prepare<A> || detail::with_prepare<B>)
  {
    constants both{};
    if constexpr (detail::with_prepare<A>) both.first = first.prepare(records);
    if constexpr (detail::with_prepare<B>) both.second = second.prepare(records);
    return both;
  }
  template <class Record>
  constexpr typename Record::real operator()(const Record& r, const constants& both = {}) const {
    return apply(first, r, both.first) + apply(second, r, both.second);
  }
  constexpr double reward(const sequence_record<double>& reply) const
    requires(detail::with_reward<A> || detail::with_reward<B>)
  {
    if constexpr (detail::with_reward<A>)
      return first.reward(reply);
    else
      return second.reward(reply);
  }
  constexpr void metrics(const record<A::level>& r, auto& add) const {
    detail::pass_metrics(first, r, add);
    detail::pass_metrics(second, r, add);
  }
};

/// w · L. Objectives of a namespace of your own need `using plumb::operator*;` in sight, or `using namespace plumb`.
template <detail::objective_like O>
constexpr auto operator*(double weight, const O& objective) {
  static_assert(check_objective<O>());
  return scaled_objective<O>{objective, weight};
}
template <detail::objective_like O>
constexpr auto operator*(const O& objective, double weight) {
  return weight * objective;
}

/// L_1 + L_2.
template <detail::objective_like A, detail::objective_like B>
constexpr auto operator+(const A& first, const B& second) {
  if constexpr (A::level != B::level)
    static_assert(
        detail::never<A>,
        "plumb: only objectives of one level can be added: a token's loss and a pair's loss are sums over different "
        "things; for a preference objective plus likelihood use sft_chosen, not sft");
  else if constexpr (!(default_reduction<A>() == default_reduction<B>()))
    static_assert(detail::never<A>,
                  "plumb: these objectives reduce a batch differently (see reduction.hpp); add them as any_objective, "
                  "which reduces each in its own way");
  else if constexpr (check_objective<A>() && check_objective<B>())
    return sum_objective<A, B>{first, second};
}

}  // namespace plumb::inline v0
