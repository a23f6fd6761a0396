// SPDX-License-Identifier: BSL-1.0
// Objectives over many records at once, a group of replies or a whole batch: evaluated with the tape of scalars.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/core/scalar_tape.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/group.hpp>
#include <plumb/objective/record.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0 {

namespace detail {

/// A span of records of one level and the slopes of a formula over it; used again and again, it asks for memory once.
template <level Unit>
class span_runner {
  using record_of_scalars = record<Unit, scalar>;

 public:
  static constexpr int slots = slot_count<Unit>();

  /// Adds a record to the span.
  void add(const record<Unit>& plain) {
    records_.emplace_back();
    record<Unit>::fields(
        [this](const field&, auto& to, const auto& from) {
          if constexpr (std::is_same_v<decltype(to), scalar&>)
            variables_.push_back(to = tape_.variable(from));
          else
            to = from;
        },
        "", records_.back(), plain);
  }
  /// The loss; `slope` then has the slopes.
  template <class O>
  double run(const O& objective) {
    const scalar loss = objective(std::span<const record_of_scalars>(records_));
    tape_.differentiate(loss);
    return value_of(loss);
  }
  /// [records · slots], in the order of `add` and `for_each_slot`.
  [[nodiscard]] double slope(std::size_t which) const { return tape_.slope(variables_[which]); }
  [[nodiscard]] std::size_t variables() const noexcept { return variables_.size(); }
  void clear() {
    records_.clear();
    variables_.clear();
    tape_.clear();
  }

 private:
  scalar_tape tape_;
  std::vector<record_of_scalars> records_;
  std::vector<scalar> variables_;
};

/// The loss and weighted slopes of each group.
template <class O>
void evaluate_groups(const O& objective, std::span<const group_record<>> groups, std::span<const double> weights,
                     span_runner<level::sequence>& runner, std::vector<double>& losses, std::vector<double>& slopes,
                     std::vector<index_t>& first) {
  losses.clear(), slopes.clear(), first.clear();
  first.push_back(0);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto& replies = groups[i].replies;
    if (const int wanted = wanted_replies(objective); !fits_group_size(wanted, replies.size()))
      check_group_size(O::name, wanted, replies.size(), join(std::string_view(O::name), ", record ", i));
    runner.clear();
    if (weights[i] != 0)
      for (const auto& reply : replies) runner.add(reply);
    losses.push_back(weights[i] != 0 ? runner.run(objective) : 0);
    const std::size_t begin = slopes.size();
    slopes.resize(begin + replies.size() * runner.slots);
    for (std::size_t k = 0; k < runner.variables(); ++k) slopes[begin + k] = weights[i] * runner.slope(k);
    first.push_back(first.back() + static_cast<index_t>(replies.size()));
  }
}

/// The loss of a whole batch as the loss of each of its records, so that Σ w_i L_i is the batch's share. Records of weight
/// 0 are left out. Throws errc::bad_data for weights that differ: nothing says what they would mean.
template <class O>
void evaluate_batch(const O& objective, std::span<const record<O::level>> records, std::span<const double> weights,
                    span_runner<O::level>& runner, std::vector<double>& losses, std::vector<double>& slopes) {
  constexpr std::size_t slots = span_runner<O::level>::slots;
  losses.assign(records.size(), 0.0);
  slopes.assign(records.size() * slots, 0.0);
  runner.clear();
  double weight = 0, share = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (weights[i] == 0) continue;
    if (weight != 0 && weights[i] != weight)
      throw error(errc::bad_data, O::name,
                  join("this loss is one of the whole batch: its records weigh the same, or 0 to be left out; found "
                       "weights ",
                       weight, " and ", weights[i], "; use reduction::mean() and records of weight 1 or 0"));
    weight = weights[i];
    share += weight;
    runner.add(records[i]);
  }
  if (share == 0) return;
  const double loss = runner.run(objective);
  std::size_t next = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (weights[i] == 0) continue;
    losses[i] = loss;
    for (std::size_t s = 0; s < slots; ++s) slopes[i * slots + s] = share * runner.slope(next++);
  }
}

}  // namespace detail

}  // namespace plumb::inline v0
