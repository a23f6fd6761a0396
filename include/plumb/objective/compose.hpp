// SPDX-License-Identifier: BSL-1.0
// Objectives add up: `dpo{} + 0.2f * sft_chosen{}` is an objective again.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/objective/reduction.hpp>
#include <span>
#include <vector>

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
constexpr void pass_metrics(const O& objective, const auto& r, auto& add, const prepared<O>& constant) {
  if constexpr (requires { objective.metrics(r, add, constant); })
    objective.metrics(r, add, constant);
  else if constexpr (requires { objective.metrics(r, add); })
    objective.metrics(r, add);
}
/// The reduction depends on a parameter.
template <class O>
concept with_own_reduction = requires(const O& o) { o.own_reduction(); };

template <class O>
constexpr const char* pass_conflict(const O& objective) {
  if constexpr (requires { objective.conflict(); })
    return objective.conflict();
  else
    return nullptr;
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
  static constexpr bool couples = couples_records<O>();
  static constexpr auto reduction = default_reduction<O>();
  static constexpr int replies = replies_of<O>();

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
  template <class Record>
  constexpr typename Record::real operator()(std::span<const Record> all) const
    requires(detail::on_span<O>)
  {
    return weight * objective(all);
  }
  constexpr double reward(const sequence_record<double>& reply) const
    requires detail::with_reward<O>
  {
    return objective.reward(reply);
  }
  constexpr need active_needs() const { return objective_needs(objective); }
  constexpr plumb::reduction own_reduction() const
    requires detail::with_own_reduction<O>
  {
    return objective.own_reduction();
  }
  constexpr const char* conflict() const { return detail::pass_conflict(objective); }
  constexpr void metrics(const auto& r, auto& add, const prepared<O>& constant = {}) const {
    detail::pass_metrics(objective, r, add, constant);
  }
};

/// L_1 + L_2, of one level. It needs what either needs; rewards are those of the first part that has some.
template <class A, class B>
struct sum_objective {
  static constexpr const char* name = detail::sum_name<A, B>.letters;
  static constexpr auto level = A::level;
  static constexpr auto needs = A::needs | B::needs;
  static constexpr bool couples = couples_records<A>() || couples_records<B>();
  static constexpr auto reduction = default_reduction<A>();
  static constexpr int replies = replies_of<A>() != 0 ? replies_of<A>() : replies_of<B>();

  /// The constants of both parts, of the batch or of one record.
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

  constexpr auto prepare(std::span<const record<A::level>> records) const
    requires(detail::with_prepare<A> || detail::with_prepare<B>)
  {
    if constexpr (prepares_each<A> || prepares_each<B>) {
      std::vector<constants> each(records.size());
      put<&constants::first>(each, first, records);
      put<&constants::second>(each, second, records);
      return each;
    } else {
      constants both{};
      if constexpr (detail::with_prepare<A>) both.first = first.prepare(records);
      if constexpr (detail::with_prepare<B>) both.second = second.prepare(records);
      return both;
    }
  }
  template <class Record>
  constexpr typename Record::real operator()(const Record& r, const constants& both = {}) const {
    return apply(first, r, both.first) + apply(second, r, both.second);
  }
  template <class Record>
  constexpr typename Record::real operator()(std::span<const Record> all) const
    requires(detail::on_span<A> && detail::on_span<B>)
  {
    return first(all) + second(all);
  }
  constexpr double reward(const sequence_record<double>& reply) const
    requires(detail::with_reward<A> || detail::with_reward<B>)
  {
    if constexpr (detail::with_reward<A>)
      return first.reward(reply);
    else
      return second.reward(reply);
  }
  constexpr need active_needs() const { return objective_needs(first) | objective_needs(second); }
  constexpr const char* conflict() const {
    const char* const found = detail::pass_conflict(first);
    return found ? found : detail::pass_conflict(second);
  }
  constexpr void metrics(const auto& r, auto& add, const constants& both = {}) const {
    detail::pass_metrics(first, r, add, both.first);
    detail::pass_metrics(second, r, add, both.second);
  }

 private:
  /// One part's constants into every record's, the batch's own repeated.
  template <auto Member, class O>
  static constexpr void put(std::vector<constants>& each, const O& part, std::span<const record<A::level>> records) {
    if constexpr (prepares_each<O>) {
      const auto own = part.prepare(records);
      for (std::size_t i = 0; i < each.size() && i < own.size(); ++i) each[i].*Member = own[i];
      if (own.size() != records.size()) each.resize(own.size());  // the wrong number is reported by the evaluation
    } else if constexpr (detail::with_prepare<O>) {
      const auto own = part.prepare(records);
      for (constants& c : each) c.*Member = own;
    }
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
  else if constexpr (batch_objective<A> != batch_objective<B>)
    static_assert(
        detail::never<A>,
        "plumb: one of these objectives is about single records, the other about the whole batch; add them as "
        "any_objective, which evaluates each in its own way");
  else if constexpr (replies_of<A>() != replies_of<B>() && replies_of<A>() != 0 && replies_of<B>() != 0)
    static_assert(detail::never<A>, "plumb: these objectives want groups of different sizes");
  else if constexpr (detail::with_own_reduction<A> || detail::with_own_reduction<B> ||
                     !(default_reduction<A>() == default_reduction<B>()))
    static_assert(detail::never<A>,
                  "plumb: these objectives reduce a batch differently (see reduction.hpp); add them as any_objective, "
                  "which reduces each in its own way");
  else if constexpr (check_objective<A>() && check_objective<B>())
    return sum_objective<A, B>{first, second};
}

}  // namespace plumb::inline v0
