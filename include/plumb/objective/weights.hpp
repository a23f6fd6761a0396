// SPDX-License-Identifier: BSL-1.0
// The weight of each record under a reduction.
#pragma once

#include <algorithm>
#include <cmath>
#include <plumb/core/error.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/objective/reduction.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0 {

namespace detail {

/// The sequence of every valid token, sorted: equal neighbours are one sequence.
inline void sort_sequences(std::span<const token_record<double>> records, std::vector<index_t>& out) {
  out.clear();
  for (const auto& r : records) {
    if (r.mask) out.push_back(r.sequence);
  }
  std::sort(out.begin(), out.end());
}

template <class Record>
constexpr bool counts(const Record& r) {
  if constexpr (Record::level == level::token)
    return r.mask;
  else
    return true;
}

template <class Record>
double own_weight(const Record& r, std::size_t which) {
  if (!(r.weight >= 0) || std::isinf(r.weight))
    throw error(errc::bad_data, join("record ", which),
                join("\"weight\": expected a finite number, at least 0, found ", r.weight));
  return r.weight;
}

}  // namespace detail

/// How many of the units that `how` divides by are among these records: valid tokens (or records) for the mean,
/// sequences with at least one valid token otherwise; whatever their weight. Sum it over the micro-batches of a step for
/// `reduction::over`. `sequences` is memory for the work.
template <level L>
double window_units(const reduction& how, std::span<const record<L>> records, std::vector<index_t>& sequences) {
  if constexpr (L == level::token) {
    if (how.how != reduction::kind::mean) {
      detail::sort_sequences(records, sequences);
      return static_cast<double>(std::unique(sequences.begin(), sequences.end()) - sequences.begin());
    }
  }
  double count = 0;
  for (const auto& r : records) count += detail::counts(r) ? 1 : 0;
  return count;
}
template <level L>
double window_units(const reduction& how, std::span<const record<L>> records) {
  std::vector<index_t> sequences;
  return window_units<L>(how, records, sequences);
}

/// The weight of each record, [records]: the reduction's share times the record's own `weight`; 0 for masked tokens.
///
///   L = Σ_i w_i L_i / N,   N the number of valid records, not Σ w_i
///
/// so that a weight says how much a record counts beside one of weight 1, whoever else is in the batch, and a loss
/// changes steadily as a weight goes to 0, where the record is skipped (SteerLM's weighted likelihood).
/// Throws errc::bad_argument for a window smaller than the batch, and a constant length that is not positive;
/// errc::bad_data for a record whose weight is negative, infinite or NaN. `sequences` is memory for the work.
template <level L>
void weights(const reduction& how, std::span<const record<L>> records, std::vector<double>& result,
             std::vector<index_t>& sequences) {
  const double here = window_units<L>(how, records, sequences);
  if (!(how.window >= 0) || std::isinf(how.window) || (how.window > 0 && how.window < here))
    throw error(errc::bad_argument, "reduction",
                join("expected a window that holds the whole optimiser step, at least the ", here,
                     " units of this batch, found ", how.window, "; sum window_units over the step's micro-batches"));
  result.assign(records.size(), 0.0);
  if (here == 0) return;
  double share = 1 / (how.window > 0 ? how.window : here);
  if (how.how == reduction::kind::constant_length) {
    if (L != level::token || !(how.length > 0) || std::isinf(how.length))
      throw error(errc::bad_argument, "reduction",
                  join("expected a constant length above 0 for an objective on tokens, found ", how.length,
                       "; use reduction::mean() for objectives on sequences and pairs"));
    share /= how.length;
  }
  if constexpr (L == level::token) {
    if (how.how == reduction::kind::sequence_mean) {
      detail::sort_sequences(records, sequences);
      for (std::size_t i = 0; i < result.size(); ++i) {
        if (!records[i].mask) continue;
        const auto same = std::equal_range(sequences.begin(), sequences.end(), records[i].sequence);
        result[i] = share / static_cast<double>(same.second - same.first) * detail::own_weight(records[i], i);
      }
      return;
    }
  }
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = detail::counts(records[i]) ? share * detail::own_weight(records[i], i) : 0;
}
template <level L>
std::vector<double> weights(const reduction& how, std::span<const record<L>> records) {
  std::vector<double> result;
  std::vector<index_t> sequences;
  weights<L>(how, records, result, sequences);
  return result;
}

}  // namespace plumb::inline v0
