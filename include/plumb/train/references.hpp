// SPDX-License-Identifier: BSL-1.0
// Reference log-probabilities of the rows of a run: scored once, kept in a cache file and in checkpoints.
#pragma once

#include <utility>
#include <vector>

#include <plumb/rollout/scorer.hpp>
#include <plumb/train/checkpoint.hpp>
#include <plumb/train/options.hpp>
#include <plumb/train/reference_cache.hpp>
#include <plumb/train/rows.hpp>

namespace plumb::inline v0 {

/// Do objectives of this level with these needs ask for the reference log-probability of each token, not of replies alone?
constexpr bool refers_by_token(level own, need needs) { return has(needs, need::tail) || own == level::token; }

/// Reference log-probabilities of all replies: given, from the cache file, or scored now. `by_token`: of each token, too.
template <class B, class T>
void provide_references(scorer<B, T>& engine, run_rows& rows, const head_options& head, const fit_options& o,
                        bool by_token = false) {
  const auto score = [&] {
    if (!by_token) {
      score_mismatched_references(engine, std::span(rows.data), rows.mismatched, head);
      score_mismatched_references(engine, std::span(rows.held_out), rows.held_out_mismatched, head);
    }
    rows.for_each_list([&](std::vector<example>& list) {
      const bool own = &list == &rows.data || &list == &rows.held_out;
      score_references(engine, std::span(list), head, 2048, by_token && own);
    });
  };
  if (o.reference_cache.empty()) return score();
  reference_cache cache(o.reference_cache);
  const std::uint64_t model = weights_fingerprint(engine.model());
  rows.for_each_list([&](std::vector<example>& list) { cache.fill(model, list); });
  score();
  rows.for_each_list([&](std::vector<example>& list) { cache.keep(model, list); });
  cache.save();
}

/// A checkpoint keeps the references of all rows: when the model's own weights are trained, they cannot be scored again.
void keep_references(run_rows& rows, run_state& state);

/// The way back: into the same rows.
void restore_references(const run_state& state, run_rows& rows);

}  // namespace plumb::inline v0
