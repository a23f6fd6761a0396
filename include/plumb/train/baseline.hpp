// SPDX-License-Identifier: BSL-1.0
// kto's baseline: how far the policy has moved on replies that do not belong to their prompts.
#pragma once

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include <plumb/rollout/scorer.hpp>
#include <plumb/rollout/split.hpp>

namespace plumb::inline v0 {

/// Prompts with another row's reply. Over many of them the mean of log π − log π_ref estimates KL(π ‖ π_ref), because the
/// reply is no answer to the prompt. The partner of a row is the one before it in the data (of the first, the last), or
/// the nearest before that whose reply differs. It is fixed for the run, so that its reference is scored once.
struct mismatched_rows {
  std::vector<example> rows;        ///< one per row of the data that brings no `kl` of its own
  std::vector<std::size_t> row_of;  ///< [data] which of `rows`; none when there is no such row
  static constexpr auto none = static_cast<std::size_t>(-1);
};

/// Throws errc::bad_data, with the row's place, when no other row has another reply.
mismatched_rows mismatch(std::span<const example> data);

/// References of rows that have none, and of their mismatched ones: both have the same prompt, which is read once. What
/// they are is what each gets alone.
template <class B, class T>
void score_mismatched_references(scorer<B, T>& engine, std::span<example> data, mismatched_rows& mismatched,
                                 const head_options& head = {}, index_t tokens = 2048) {
  constexpr std::size_t at_once = 256;  // rows that are copied
  std::vector<example> both;
  std::vector<std::pair<reply*, reply*>> whose;
  const auto score = [&] {
    score_references(engine, std::span(both), head, tokens);
    for (std::size_t k = 0; k < both.size(); ++k) {
      whose[k].first->reference = both[k].replies[0].reference;
      whose[k].second->reference = both[k].replies[1].reference;
    }
    both.clear(), whose.clear();
  };
  for (std::size_t i = 0; i < mismatched.row_of.size(); ++i) {
    if (mismatched.row_of[i] == mismatched_rows::none) continue;
    reply& own = data[i].replies[0];
    reply& other = mismatched.rows[mismatched.row_of[i]].replies[0];
    if (!std::isnan(own.reference) || !std::isnan(other.reference)) continue;
    both.push_back({.prompt = data[i].prompt, .replies = {own, other}, .place = data[i].place});
    whose.emplace_back(&own, &other);
    if (both.size() == at_once) score();
  }
  score();
}

/// The mean over the rows of a step of their log-ratios, in nats; not yet held at 0. A row counts or does not (weight 0):
/// where the policy stands is no matter of how much is learnt from a row.
struct baseline_sum {
  double sum = 0;
  double count = 0;

  /// Takes the rows that bring their own `kl`, and puts the mismatched ones of the others into `asked`, in their order.
  /// `examples` point into `data`.
  void begin(const mismatched_rows& mismatched, std::span<const example> data, std::span<const example* const> examples,
             std::vector<const example*>& asked);
  /// Takes mismatched rows that were scored.
  void add(const training_batch& batch, const batch_scores& scores);
  [[nodiscard]] double mean() const noexcept { return count > 0 ? sum / count : 0; }
};

/// That mean, with the mismatched rows scored under the policy as it is now (dropout off, nothing learnt), by themselves:
/// `run_step` scores them beside the rows where it can. `asked` is memory for the work, as is the engine's scratch.
template <class B, class T>
double measure_baseline(scorer<B, T>& engine, const mismatched_rows& mismatched, std::span<const example> data,
                        std::span<const example* const> examples, const head_options& head, index_t tokens,
                        std::vector<const example*>& asked) {
  baseline_sum out;
  out.begin(mismatched, data, examples, asked);
  training_batch& batch = engine.scratch();
  const std::span<const example* const> all(asked);
  for_each_run(all, tokens, [&](std::size_t first, std::size_t run) {
    batch.assign(all.subspan(first, run));
    out.add(batch, engine.run(batch, {.head = head}));
  });
  return out.mean();
}
template <class B, class T>
double measure_baseline(scorer<B, T>& engine, const mismatched_rows& mismatched, std::span<const example> data,
                        std::span<const example* const> examples, const head_options& head = {},
                        index_t tokens = 2048) {
  std::vector<const example*> asked;
  return measure_baseline(engine, mismatched, data, examples, head, tokens, asked);
}

}  // namespace plumb::inline v0
