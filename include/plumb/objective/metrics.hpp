// SPDX-License-Identifier: BSL-1.0
// What a run logs about an objective, under TRL's names, in a form that micro-batches, threads and machines can add up.
#pragma once

#include <cmath>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// A mean that is not finished: sum and weight. Two of them add up to the metric of both batches.
struct metric {
  std::string name;
  double sum = 0;
  double weight = 0;

  /// The mean; NaN when nothing was counted.
  [[nodiscard]] double value() const { return sum / weight; }
};

/// Metrics in the order in which they first came.
class metric_list {
 public:
  /// Counts one observation, or the mean of `weight` observations.
  void add(std::string_view name, double value, double weight = 1) { add_sum(name, weight * value, weight); }
  /// Adds an unfinished mean as it is: a checkpoint gives back the same bits.
  void add_sum(std::string_view name, double sum, double weight) {
    metric& m = entry(name);
    m.sum += sum;
    m.weight += weight;
  }
  /// Adds another batch's metrics.
  void merge(const metric_list& other) {
    for (const metric& m : other.entries_) {
      metric& mine = entry(m.name);
      mine.sum += m.sum;
      mine.weight += m.weight;
    }
  }
  /// The metric of that name; null when there is none.
  [[nodiscard]] const metric* find(std::string_view name) const {
    for (const metric& m : entries_) {
      if (m.name == name) return &m;
    }
    return nullptr;
  }
  /// Its mean; NaN when there is none.
  [[nodiscard]] double value(std::string_view name) const {
    const metric* m = find(name);
    return m ? m->value() : missing;
  }
  [[nodiscard]] auto begin() const { return entries_.begin(); }
  [[nodiscard]] auto end() const { return entries_.end(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  void clear() { entries_.clear(); }

 private:
  metric& entry(std::string_view name) {
    for (metric& m : entries_) {
      if (m.name == name) return m;
    }
    entries_.push_back({std::string(name), 0, 0});
    return entries_.back();
  }

  std::vector<metric> entries_;
};

namespace detail {

struct ignore_metric {
  constexpr void operator()(const char*, double) const {}
};
template <class O>
concept with_metrics = requires(const O& o, const record<O::level>& r, ignore_metric& add) { o.metrics(r, add); };

template <class O>
void reply_metrics(const O& objective, const sequence_record<double>& reply, const char* side, metric_list& out) {
  const std::string end(side);
  if constexpr (with_reward<O>) out.add("rewards/" + end, objective.reward(reply));
  if constexpr (has(O::needs, need::logp)) out.add("logps/" + end, reply.logp);
}

}  // namespace detail

/// Adds the metrics of these records to `out`; masked tokens are skipped.
///
/// pair      rewards/chosen, rewards/rejected, rewards/accuracies (chosen strictly above rejected, so 0 at policy =
///           reference), rewards/margins: with reward(); logps/chosen, logps/rejected [nats, sums over tokens]
/// sequence  rewards/… and logps/… of desirable rows as chosen, of undesirable ones as rejected
/// token     logps/mean, entropy [nats per token]; kl, the mean of log π − log π_ref; mean_token_accuracy
/// and whatever the objective's own metrics(record, add) adds.
template <class O>
void collect_metrics(const O& objective, std::span<const record<O::level>> records, metric_list& out) {
  for (const auto& r : records) {
    if constexpr (O::level == level::pair) {
      if constexpr (detail::with_reward<O>) {
        const double chosen = objective.reward(r.chosen);
        const double rejected = objective.reward(r.rejected);
        out.add("rewards/chosen", chosen);
        out.add("rewards/rejected", rejected);
        out.add("rewards/accuracies", chosen > rejected ? 1 : 0);
        out.add("rewards/margins", chosen - rejected);
      }
      if constexpr (has(O::needs, need::logp)) {
        out.add("logps/chosen", r.chosen.logp);
        out.add("logps/rejected", r.rejected.logp);
      }
    } else if constexpr (O::level == level::sequence) {
      detail::reply_metrics(objective, r, r.desirable ? "chosen" : "rejected", out);
    } else {
      if (!r.mask) continue;
      if constexpr (has(O::needs, need::logp)) out.add("logps/mean", r.logp);
      if (!std::isnan(r.entropy)) out.add("entropy", r.entropy);
      if constexpr (has(O::needs, need::logp | need::reference)) out.add("kl", r.log_ratio());
      if (!std::isnan(r.correct)) out.add("mean_token_accuracy", r.correct);
    }
    if constexpr (detail::with_metrics<O>) {
      const auto add = [&out](const char* name, double value) { out.add(name, value); };
      objective.metrics(r, add);
    }
  }
}

}  // namespace plumb::inline v0
