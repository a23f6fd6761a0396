// SPDX-License-Identifier: BSL-1.0
// Evaluates an objective on a batch of records on the host: losses, the batch's loss, and its slopes.
#pragma once

#include <cmath>
#include <plumb/core/error.hpp>
#include <plumb/objective/evaluate_kernel.hpp>
#include <plumb/objective/evaluate_span.hpp>
#include <plumb/objective/paths.hpp>
#include <plumb/objective/prepare.hpp>
#include <plumb/objective/weights.hpp>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// What an objective says about a batch.
struct evaluation {
  std::vector<double> losses;  ///< [records], of each record alone, not weighted; 0 for skipped ones
  std::vector<double> slopes;  ///< [rows, slots], ∂total/∂slot: of the batch's loss, weights included
  double total = 0;            ///< the batch's loss, Σ w_i L_i
  int slots = 0;
  std::vector<index_t> first;  ///< [records + 1] of groups: its row of slopes for each reply begin here; else empty

  /// A record is a row; a group's slots are those of its replies, one after another (`slot_paths`).
  [[nodiscard]] double slope(index_t record, int slot) const {
    const index_t row = first.empty() ? record : first[static_cast<std::size_t>(record)];
    return slopes[static_cast<std::size_t>(row * slots + slot)];
  }
};

/// What evaluations at level L work in; given to one after another, they ask for memory once.
template <level L>
struct evaluation_memory {
  evaluation found;                ///< what the last one said
  evaluation other;                ///< where an objective has several terms: their sum so far
  std::vector<double> windows;     ///< [terms] what their losses are divided by
  std::vector<double> weights;     ///< [records]
  std::vector<index_t> sequences;  ///< [tokens]
  detail::span_runner<unit_level<L>> runner;
};

/// Throws errc::not_finite, naming the first record whose loss or slope is NaN or infinite and a needed field that is.
template <level L>
void check_finite(std::string_view name, need needs, std::span<const record<L>> records, const evaluation& result) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    bool finite = std::isfinite(result.losses[i]);
    int count = result.slots;
    if constexpr (L == level::group) count *= static_cast<int>(records[i].replies.size());
    for (int s = 0; s < count; ++s) finite = finite && std::isfinite(result.slope(static_cast<index_t>(i), s));
    if (finite) continue;
    std::string cause;
    visit_fields(records[i], [&](const field& f, const std::string& where, const auto& member) {
      if (cause.empty() && f.asks != need::none && has(needs, f.asks) && !std::isfinite(static_cast<double>(member)))
        cause =
            join("field '", where, std::isnan(static_cast<double>(member)) ? "' is missing (NaN)" : "' is infinite");
    });
    if (cause.empty())
      cause = "every field that it declares in `needs` is finite: does it read another one, or overflow?";
    throw error(errc::not_finite, std::string(name),
                join("the loss or a slope of record ", i, " is not finite; ", cause));
  }
}

/// Evaluates with a given weight per record, [records]. Throws errc::bad_argument when the sizes differ,
/// errc::not_finite for a loss or slope that is NaN or infinite. The sum runs in the order of the records. The result is
/// `memory.found`.
template <class O>
const evaluation& evaluate_weighted(const O& objective, std::span<const record<O::level>> records,
                                    std::span<const double> weights, evaluation_memory<O::level>& memory) {
  if (records.size() != weights.size())
    throw error(errc::bad_argument, O::name, join("expected ", records.size(), " weights, found ", weights.size()));
  evaluation& result = memory.found;
  result.slots = slot_count<O::level>();
  result.total = 0;
  if constexpr (O::level == level::group) {
    detail::evaluate_groups(objective, records, weights, memory.runner, result.losses, result.slopes, result.first);
  } else if constexpr (batch_objective<O>) {
    detail::evaluate_batch(objective, records, weights, memory.runner, result.losses, result.slopes);
  } else {
    result.losses.resize(records.size());
    result.slopes.resize(records.size() * static_cast<std::size_t>(result.slots));
    const auto constants = prepare_in_place(objective, records);
    const evaluate_kernel<O> run{objective,      constants.data(),     records.data(),
                                 weights.data(), result.losses.data(), result.slopes.data()};
    for (std::size_t i = 0; i < records.size(); ++i) run(static_cast<index_t>(i));
  }
  for (std::size_t i = 0; i < records.size(); ++i) result.total += weights[i] * result.losses[i];
  check_finite<O::level>(O::name, objective_needs(objective), records, result);
  return result;
}
template <class O>
evaluation evaluate_weighted(const O& objective, std::span<const record<O::level>> records,
                             std::span<const double> weights) {
  evaluation_memory<O::level> memory;
  evaluate_weighted(objective, records, weights, memory);
  return std::move(memory.found);
}

/// Evaluates under a reduction; without one, the objective's own (the mean unless it says otherwise).
/// `records` is any contiguous range of record<O::level>; the result is `memory.found` where a memory is given.
template <class O, class Records>
const evaluation& evaluate(const O& objective, const Records& records, const reduction& how,
                           evaluation_memory<O::level>& memory) {
  const std::span<const record<O::level>> view(records);
  weights<O::level>(how, view, memory.weights, memory.sequences);
  return evaluate_weighted(objective, view, memory.weights, memory);
}
template <class O, class Records>
evaluation evaluate(const O& objective, const Records& records, const reduction& how) {
  if constexpr (check_objective<O>()) {
    evaluation_memory<O::level> memory;
    plumb::evaluate(objective, records, how, memory);
    return std::move(memory.found);
  }
}
template <class O, class Records>
evaluation evaluate(const O& objective, const Records& records) {
  return plumb::evaluate(objective, records, default_reduction(objective));
}

}  // namespace plumb::inline v0
