// SPDX-License-Identifier: BSL-1.0
// What a run logs about an objective, under TRL's names, in a form that micro-batches, threads and machines can add up.
#pragma once

#include <cmath>
#include <cstddef>
#include <plumb/objective/prepare.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/objective/weights.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// A mean that is not finished: sum and weight. Two of them add up to the metric of both batches. A name that begins
/// with "min_" or "max_" is an extreme instead: its sum is the least or the largest value so far, its weight 1.
struct metric {
  std::string name;
  double sum = 0;
  double weight = 0;

  /// The mean; NaN when nothing was counted.
  [[nodiscard]] double value() const { return sum / weight; }
};

/// Metrics in the order in which they first came. Cleared, it keeps its memory and that of the names.
class metric_list {
 public:
  /// Counts one observation, or the mean of `weight` observations.
  void add(std::string_view name, double value, double weight = 1) { add_sum(name, weight * value, weight); }
  /// Adds an unfinished mean as it is: a checkpoint gives back the same bits.
  void add_sum(std::string_view name, double sum, double weight) {
    metric& m = entry(name);
    const bool least = name.starts_with("min_"), extreme = least || name.starts_with("max_");
    if (extreme && weight > 0) {
      const double value = sum / weight;
      m.sum = m.weight > 0 && (least ? m.sum < value : m.sum > value) ? m.sum : value;
      m.weight = 1;
    } else if (!extreme) {
      m.sum += sum;
      m.weight += weight;
    }
  }
  /// Adds another batch's metrics.
  void merge(const metric_list& other) {
    for (const metric& m : other) add_sum(m.name, m.sum, m.weight);
  }
  /// The metric of that name; null when there is none.
  [[nodiscard]] const metric* find(std::string_view name) const {
    for (const metric& m : *this) {
      if (m.name == name) return &m;
    }
    return nullptr;
  }
  /// Its mean; NaN when there is none.
  [[nodiscard]] double value(std::string_view name) const {
    const metric* m = find(name);
    return m ? m->value() : missing;
  }
  [[nodiscard]] const metric* begin() const { return entries_.data(); }
  [[nodiscard]] const metric* end() const { return begin() + size_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  void clear() { size_ = 0; }

 private:
  metric& entry(std::string_view name) {
    for (std::size_t i = 0; i < size_; ++i) {
      if (entries_[i].name == name) return entries_[i];
    }
    if (size_ == entries_.size()) entries_.emplace_back();
    metric& m = entries_[size_++];
    m.name = name;
    m.sum = m.weight = 0;
    return m;
  }

  std::vector<metric> entries_;  ///< the first `size_` of them; the others are memory for names to come
  std::size_t size_ = 0;
};

namespace detail {

struct ignore_metric {
  constexpr void operator()(const char*, double) const {}
};
template <class O>
concept with_metrics = requires(const O& o, const record<O::level>& r, ignore_metric& add) { o.metrics(r, add); };
template <class O>
concept with_constant_metrics =
    requires(const O& o, const record<O::level>& r, ignore_metric& add, const prepared<O>& c) { o.metrics(r, add, c); };

template <class O>
void reply_metrics(const O& objective, const sequence_record<double>& reply, bool chosen, metric_list& out) {
  if constexpr (with_reward<O>) out.add(chosen ? "rewards/chosen" : "rewards/rejected", objective.reward(reply));
  if (has(objective_needs(objective), need::logp)) out.add(chosen ? "logps/chosen" : "logps/rejected", reply.logp);
}

}  // namespace detail

/// Adds the metrics of these records to `out`; masked tokens and records of weight 0 are skipped, other weights do not
/// count.
///
/// pair      rewards/chosen, rewards/rejected, rewards/accuracies (chosen strictly above rejected, so 0 at policy =
///           reference), rewards/margins: with reward(); logps/chosen, logps/rejected [nats, sums over tokens]
/// sequence  rewards/… and logps/… of desirable rows as chosen, of undesirable ones as rejected
/// token     logps/mean, entropy [nats per token]; kl, the mean of log π − log π_ref; mean_token_accuracy
/// group     rewards/chosen of the best reply, rewards/rejected the mean of the others, rewards/margins their difference,
///           rewards/accuracies the share of all pairs of replies that the rewards rank right; logps/… in the same way
/// and whatever the objective's own metrics(record, add[, constant]) adds.
template <class O>
  requires has_fixed_slots<O::level>
void collect_metrics(const O& objective, std::span<const record<O::level>> records, metric_list& out) {
  [[maybe_unused]] const need read = objective_needs(objective);
  [[maybe_unused]] prepared_constants<O> constants;
  if constexpr (detail::with_constant_metrics<O>) constants = prepare_in_place(objective, records);
  std::size_t next = 0;
  for (const auto& r : records) {
    [[maybe_unused]] const std::size_t at = next++;
    if (!detail::counts(r) || r.weight == 0) continue;
    if constexpr (O::level == level::pair) {
      if constexpr (detail::with_reward<O>) {
        const double chosen = objective.reward(r.chosen);
        const double rejected = objective.reward(r.rejected);
        out.add("rewards/chosen", chosen);
        out.add("rewards/rejected", rejected);
        out.add("rewards/accuracies", chosen > rejected ? 1 : 0);
        out.add("rewards/margins", chosen - rejected);
      }
      if (has(read, need::logp)) {
        out.add("logps/chosen", r.chosen.logp);
        out.add("logps/rejected", r.rejected.logp);
      }
    } else if constexpr (O::level == level::sequence) {
      detail::reply_metrics(objective, r, r.desirable, out);
    } else {
      if (has(read, need::logp)) out.add("logps/mean", r.logp);
      if (!std::isnan(r.entropy)) out.add("entropy", r.entropy);
      if (has(read, need::logp | need::reference)) out.add("kl", r.log_ratio());
      if (!std::isnan(r.correct)) out.add("mean_token_accuracy", r.correct);
    }
    const auto add = [&out](const char* name, double value) { out.add(name, value); };
    if constexpr (detail::with_constant_metrics<O>)
      objective.metrics(r, add, constants[prepares_each<O> ? at : 0]);
    else if constexpr (detail::with_metrics<O>)
      objective.metrics(r, add);
  }
}

template <class O>
  requires(O::level == level::group)
void collect_metrics(const O& objective, std::span<const record<O::level>> groups, metric_list& out) {
  for (const auto& group : groups) {
    const std::span<const sequence_record<>> ranked(group.replies);
    if (group.weight == 0 || ranked.size() < 2) continue;
    const auto add_sides = [&](const char* best, const char* rest, const auto& of) {
      double others = 0;
      for (const auto& reply : ranked.subspan(1)) others += of(reply) / static_cast<double>(ranked.size() - 1);
      out.add(best, of(ranked[0]));
      out.add(rest, others);
      return of(ranked[0]) - others;
    };
    if constexpr (detail::with_reward<O>) {
      const auto reward = [&](const auto& reply) { return objective.reward(reply); };
      const double margin = add_sides("rewards/chosen", "rewards/rejected", reward);
      double right = 0, pairs = 0;
      for (std::size_t i = 0; i < ranked.size(); ++i)
        for (std::size_t j = i + 1; j < ranked.size(); ++j, ++pairs) right += reward(ranked[i]) > reward(ranked[j]);
      out.add("rewards/accuracies", right / pairs);
      out.add("rewards/margins", margin);
    }
    if (has(objective_needs(objective), need::logp))
      add_sides("logps/chosen", "logps/rejected", [](const auto& reply) { return reply.logp; });
    const auto add = [&out](const char* name, double value) { out.add(name, value); };
    if constexpr (requires { objective.metrics(ranked, add); }) objective.metrics(ranked, add);
  }
}

}  // namespace plumb::inline v0
