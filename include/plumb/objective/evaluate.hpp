// SPDX-License-Identifier: BSL-1.0
// Evaluates an objective on a batch of records on the host: losses, the batch's loss, and its slopes.
#pragma once

#include <cmath>
#include <plumb/core/error.hpp>
#include <plumb/objective/evaluate_kernel.hpp>
#include <plumb/objective/paths.hpp>
#include <plumb/objective/weights.hpp>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace plumb::inline v0 {

/// What an objective says about a batch.
struct evaluation {
  std::vector<double> losses;  ///< [records], of each record alone, not weighted; 0 for skipped ones
  std::vector<double> slopes;  ///< [records, slots], ∂total/∂slot: of the batch's loss, weights included
  double total = 0;            ///< the batch's loss, Σ w_i L_i
  int slots = 0;

  [[nodiscard]] double slope(index_t record, int slot) const {
    return slopes[static_cast<std::size_t>(record * slots + slot)];
  }
};

/// Throws errc::not_finite, naming the first record whose loss or slope is NaN or infinite and a needed field that is.
template <level L>
void check_finite(std::string_view name, need needs, std::span<const record<L>> records, const evaluation& result) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    bool finite = std::isfinite(result.losses[i]);
    for (int s = 0; s < result.slots; ++s) finite = finite && std::isfinite(result.slope(static_cast<index_t>(i), s));
    if (finite) continue;
    std::string cause;
    const auto look = [&](const field& f, const auto& member) {
      if (cause.empty() && f.asks != need::none && has(needs, f.asks) && !std::isfinite(static_cast<double>(member)))
        cause =
            join("field '", path(f), std::isnan(static_cast<double>(member)) ? "' is missing (NaN)" : "' is infinite");
    };
    record<L>::fields(look, "", records[i]);
    if (cause.empty())
      cause = "every field that it declares in `needs` is finite: does it read another one, or overflow?";
    throw error(errc::not_finite, std::string(name),
                join("the loss or a slope of record ", i, " is not finite; ", cause));
  }
}

/// Evaluates with a given weight per record, [records]. Throws errc::bad_argument when the sizes differ,
/// errc::not_finite for a loss or slope that is NaN or infinite. The sum runs in the order of the records.
template <class O>
evaluation evaluate_weighted(const O& objective, std::span<const record<O::level>> records,
                             std::span<const double> weights) {
  if (records.size() != weights.size())
    throw error(errc::bad_argument, O::name, join("expected ", records.size(), " weights, found ", weights.size()));
  using kernel = evaluate_kernel<O>;
  evaluation result;
  result.slots = kernel::slots;
  result.losses.resize(records.size());
  result.slopes.resize(records.size() * static_cast<std::size_t>(kernel::slots));
  prepared<O> constant{};
  if constexpr (detail::with_prepare<O>) constant = objective.prepare(records);
  const kernel run{objective, constant, records.data(), weights.data(), result.losses.data(), result.slopes.data()};
  for (std::size_t i = 0; i < records.size(); ++i) {
    run(static_cast<index_t>(i));
    result.total += weights[i] * result.losses[i];
  }
  check_finite<O::level>(O::name, O::needs, records, result);
  return result;
}

/// Evaluates under a reduction; without one, the objective's own (the mean unless it says otherwise).
/// `records` is any contiguous range of record<O::level>.
template <class O, class Records>
evaluation evaluate(const O& objective, const Records& records, const reduction& how) {
  if constexpr (check_objective<O>()) {
    const std::span<const record<O::level>> view(records);
    return evaluate_weighted(objective, view, weights<O::level>(how, view));
  }
}
template <class O, class Records>
evaluation evaluate(const O& objective, const Records& records) {
  return plumb::evaluate(objective, records, default_reduction<O>());
}

}  // namespace plumb::inline v0
