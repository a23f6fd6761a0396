// SPDX-License-Identifier: BSL-1.0
// What an objective is, as a readable concept, and a ladder of checks that says in words what a struct still lacks.
#pragma once

#include <concepts>
#include <plumb/core/dual.hpp>
#include <plumb/core/math.hpp>
#include <plumb/core/scalar.hpp>
#include <plumb/objective/record.hpp>
#include <span>
#include <type_traits>
#include <utility>

// An objective is a small aggregate at namespace scope:
//
//   struct likelihood_gap {
//     static constexpr const char* name = "likelihood_gap";
//     static constexpr auto level = plumb::level::pair;       // what one record is
//     static constexpr auto needs = plumb::need::logp;        // which fields it reads; a | b for several
//     double beta = 0.1;                                      // parameters, any number of them
//
//     template <class Real>
//     constexpr Real operator()(const plumb::pair_record<Real>& r) const {
//       return -plumb::log_sigmoid(beta * (r.chosen.logp - r.rejected.logp));
//     }
//   };
//
// An objective of level group gets the ranked replies of one prompt, best first, any number of them; an objective of
// another level whose records cannot be judged one by one gets the whole batch. Both as a span, over any number type:
//
//     template <class Real>
//     Real operator()(std::span<const plumb::sequence_record<Real>> ranked) const;     // level group
//     template <class Real>
//     Real operator()(std::span<const plumb::pair_record<Real>> batch) const;          // level pair: the batch's loss
//
// They run on the host, with plumb::scalar (core/scalar.hpp) as Real.
//
// It may also have (each detected by name):
//   paper                     const char*, where the formula was published
//   reduction                 how records become a batch's loss (objective/reduction.hpp); the mean when absent
//   own_reduction() const     the same where a parameter decides, such as dr_grpo's length
//   describe(self, about)     names, meanings and ranges of its parameters (objective/parameters.hpp)
//   reward(sequence_record<double>)   double; the implicit reward behind the metrics rewards/…
//   prepare(std::span<const record> records) const
//                             a constant of the whole batch, detached, passed as second argument to operator(); or a
//                             std::vector with one constant per record, of which operator() gets the record's own
//   active_needs() const      the part of `needs` that this value, with its parameters, really reads
//   conflict() const          what is wrong with the parameters taken together, or nullptr (objective/parameters.hpp)
//   replies                   how many replies a group must have, where not any number from 2 will do
//   metrics(record, add)      further metrics per record, add(name, value); or metrics(record, add, constant)

namespace plumb::inline v0 {

/// What `operator()` is asked to work on: the record of the objective's level, over duals with one slope per slot.
template <level L>
using dual_of = dual<slot_count<L>(), double>;

namespace detail {

template <class>
inline constexpr bool never = false;

template <class O>
concept with_name = requires {
  { O::name } -> std::convertible_to<const char*>;
};
template <class O>
concept with_level = requires {
  { O::level } -> std::convertible_to<level>;
} && requires { typename std::integral_constant<level, O::level>; };
template <class O>
concept with_needs = requires {
  { O::needs } -> std::convertible_to<need>;
} && requires { typename std::integral_constant<need, O::needs>; };

template <class O>
concept with_reward = requires(const O& o, const sequence_record<double>& s) {
  { o.reward(s) } -> std::convertible_to<double>;
};

/// The stand-in for "no constant" of objectives without `prepare`.
struct nothing {};

template <class O>
concept with_prepare =
    requires(const O& objective, std::span<const record<O::level>> records) { objective.prepare(records); };

template <class O>
concept names_prepare = requires { &O::prepare; };

template <class O>
struct prepared_by {
  using type = nothing;
};
template <with_prepare O>
struct prepared_by<O> {
  using type = std::remove_cvref_t<decltype(std::declval<const O&>().prepare(std::span<const record<O::level>>()))>;
};

template <class Returned>
struct one_constant {
  static constexpr bool per_record = false;
  using type = Returned;
};
/// A std::vector, told by its looks: its header would take longer to compile than a whole objective.
template <class Returned>
  requires(!std::is_trivially_copyable_v<Returned>) && requires(const Returned& all) {
    typename Returned::value_type;
    all.data();
    all.size();
  }
struct one_constant<Returned> {
  static constexpr bool per_record = true;
  using type = typename Returned::value_type;
};

}  // namespace detail

/// The constant that operator() of O gets beside a record: what O::prepare returns, or an element of it when that is a
/// std::vector; an empty struct when O has no `prepare`.
template <class O>
using prepared = typename detail::one_constant<typename detail::prepared_by<O>::type>::type;

/// Whether O::prepare makes one constant per record, rather than one for the whole batch.
template <class O>
inline constexpr bool prepares_each = detail::one_constant<typename detail::prepared_by<O>::type>::per_record;

/// What this objective, with its parameters as they are, reads of a record: `active_needs()`, or all of `needs`.
template <class O>
constexpr need objective_needs(const O& objective) {
  if constexpr (requires {
                  { objective.needs() } -> std::same_as<need>;
                })
    return objective.needs();  // one chosen at run time
  else if constexpr (requires {
                       { objective.active_needs() } -> std::same_as<need>;
                     })
    return objective.active_needs();
  else
    return O::needs;
}

/// How many replies objectives of this type want in a group: O::replies, or 0 for any number from 2.
template <class O>
consteval int replies_of() {
  if constexpr (requires { std::integral_constant<int, O::replies>{}; })
    return O::replies;
  else
    return 0;
}
/// The same of this objective, which may have been chosen at run time.
template <class O>
constexpr int wanted_replies([[maybe_unused]] const O& objective) {
  if constexpr (requires {
                  { objective.replies() } -> std::same_as<int>;
                })
    return objective.replies();
  else
    return replies_of<O>();
}

namespace detail {
/// What a formula over many records is handed.
template <class O, class Real>
using record_span = std::span<const record<unit_level<O::level>, Real>>;
template <class O>
concept on_span = requires(const O& o, record_span<O, scalar> all) { o(all); };
template <class O>
concept on_plain_span = requires(const O& o, record_span<O, double> all) { o(all); };
template <class O>
concept on_span_if_not_const = requires(O& o, record_span<O, scalar> all) { o(all); };
template <class O>
using span_result =
    std::remove_cvref_t<decltype(std::declval<const O&>()(std::declval<detail::record_span<O, scalar>>()))>;
template <class O>
using dual_record = record<unit_level<O::level>, dual_of<O::level>>;
template <class O>
concept callable =
    (with_prepare<O> && requires(const O& o, const dual_record<O>& r, const prepared<O>& c) { o(r, c); }) ||
    (!with_prepare<O> && requires(const O& o, const dual_record<O>& r) { o(r); });
}  // namespace detail

/// Is the objective's loss that of the whole batch, over records that cannot be judged one by one?
template <class O>
concept batch_objective = has_fixed_slots<O::level> && (!detail::callable<O>) && detail::on_span<O>;

/// Does a record's loss depend on the other records of its step, so that all of them are needed before any has a loss?
/// What kto's baseline says of the batch comes with the rows (`kl`). An objective whose `prepare` looks at the tokens of
/// one reply only says so: `static constexpr bool couples = false;`.
template <class O>
constexpr bool couples_records() {
  if constexpr (requires { bool(O::couples); })
    return O::couples;
  else
    return batch_objective<O> ||
           (detail::with_prepare<O> && (!has(O::needs, need::divergence) || has(O::needs, need::mean_ratio)));
}

/// Applies an objective to one record, passing the prepared constant to those that take it.
template <class O, class Record>
constexpr decltype(auto) apply(const O& objective, const Record& r, [[maybe_unused]] const prepared<O>& constant) {
  if constexpr (detail::with_prepare<O>)
    return objective(r, constant);
  else
    return objective(r);
}

namespace detail {

template <class O>
concept callable_if_not_const = requires(O& o, const dual_record<O>& r) { o(r); };
template <class O>
concept takes_plain = on_plain_span<O> || (has_fixed_slots<O::level> &&
                                           (requires(const O& o, const record<O::level, float>& r) { o(r); } ||
                                            requires(const O& o, const record<O::level, double>& r) { o(r); }));
template <class O>
using result = std::remove_cvref_t<decltype(plumb::apply(
    std::declval<const O&>(), std::declval<const dual_record<O>&>(), std::declval<const prepared<O>&>()))>;

/// The rungs of objectives that are handed a span, once they can be called with one.
template <class O>
consteval bool explain_span() {
  if constexpr (!std::same_as<span_result<O>, scalar>)
    static_assert(never<O>,
                  "plumb: operator() must return Real, the number type of its records, not float, double or auto of "
                  "something else: a plain number has no slopes and would train with zero gradient");
  else if constexpr (with_prepare<O>)
    static_assert(
        never<O>,
        "plumb: an objective whose operator() is handed a span sees all records at once and has no prepare(); "
        "compute the constant in operator() with plumb::value_of");
  else
    return true;
  return false;
}

/// Climbs the ladder; the first missing rung stops the compiler with what to do about it.
template <class O>
consteval bool explain() {
  if constexpr (!std::is_class_v<O>)
    static_assert(never<O>, "plumb: an objective is a struct with a name, a level, needs and a call operator");
  else if constexpr (!with_name<O>)
    static_assert(never<O>,
                  "plumb: this objective has no name; add `static constexpr const char* name = \"my_objective\";`");
  else if constexpr (!with_level<O>)
    static_assert(never<O>,
                  "plumb: this objective does not say what one record is; add `static constexpr auto level = "
                  "plumb::level::pair;` (or token, sequence, group)");
  else if constexpr (!has_record<O::level>)
    static_assert(never<O>,
                  "plumb: objectives on records have level token, sequence, pair or group; a function of a row of the "
                  "vocabulary becomes one as plumb::row_loss<mine> (objective/row.hpp)");
  else if constexpr (!with_needs<O>)
    static_assert(never<O>,
                  "plumb: this objective does not say which fields it reads; add `static constexpr auto needs = "
                  "plumb::need::logp | plumb::need::reference;`");
  else if constexpr (!std::is_trivially_copyable_v<O>)
    static_assert(
        never<O>,
        "plumb: an objective is copied to the device byte by byte, so its members must be plain numbers, bools "
        "or enums; move std::string, std::vector and std::function out of it");
  else if constexpr (names_prepare<O> && !with_prepare<O>)
    static_assert(never<O>,
                  "plumb: prepare() must be const and take the records of the batch, std::span<const plumb::"
                  "pair_record<>> (or of another level, as the objective's own)");
  else if constexpr (has_fixed_slots<O::level> && callable<O>) {
    using Real = dual_of<O::level>;
    if constexpr (!std::same_as<result<O>, Real>)
      static_assert(never<O>,
                    "plumb: operator() must return Real, the number type of its record, not float, double or auto of "
                    "something else: a plain number has no slopes and would train with zero gradient");
    else if constexpr (!std::is_trivially_copyable_v<prepared<O>>)
      static_assert(never<O>,
                    "plumb: prepare() must return plain numbers, or a std::vector of them with one element per record: "
                    "they are copied to the device byte by byte");
    else
      return true;
  } else if constexpr (on_span<O>)
    return explain_span<O>();
  else if constexpr (with_prepare<O>)
    static_assert(never<O>,
                  "plumb: this objective has prepare(), so its operator() takes two arguments: the record and what "
                  "prepare() returned (the record's own element, where that is a std::vector)");
  else if constexpr (callable_if_not_const<O> || on_span_if_not_const<O>)
    static_assert(never<O>,
                  "plumb: operator() must be const: an objective is a value that does not change while it works");
  else if constexpr (takes_plain<O>)
    static_assert(
        never<O>,
        "plumb: operator() takes records of plain numbers only, so it cannot be differentiated; write `template "
        "<class Real> constexpr Real operator()(const plumb::pair_record<Real>& r) const`");
  else if constexpr (O::level == level::group)
    static_assert(
        never<O>,
        "plumb: an objective of level group is handed the ranked replies of one prompt, best first; add `template "
        "<class Real> Real operator()(std::span<const plumb::sequence_record<Real>> ranked) const`");
  else
    static_assert(
        never<O>,
        "plumb: this objective cannot be called with a record of its level; add `template <class Real> constexpr "
        "Real operator()(const plumb::pair_record<Real>& r) const` (pair_, sequence_ or token_record as its level), or "
        "for the loss of a whole batch `Real operator()(std::span<const plumb::pair_record<Real>> batch) const`");
  return false;
}

}  // namespace detail

/// Stops the compiler with a plain sentence when O is not an objective; true otherwise. Put
/// `static_assert(plumb::check_objective<my_objective>());` below a struct of your own to hear it early.
template <class O>
consteval bool check_objective() {
  return detail::explain<O>();
}

/// A small trivially copyable value with a name, a level and needs, which maps one record to its loss,
/// in the record's own number type.
template <class O>
concept objective =
    std::is_class_v<O> && detail::with_name<O> && detail::with_level<O> && has_record<O::level> &&
    detail::with_needs<O> && std::is_trivially_copyable_v<O> &&
    ((has_fixed_slots<O::level> && detail::callable<O> && std::same_as<detail::result<O>, dual_of<O::level>>) ||
     (detail::on_span<O> && std::same_as<detail::span_result<O>, scalar>));

}  // namespace plumb::inline v0
