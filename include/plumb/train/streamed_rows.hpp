// SPDX-License-Identifier: BSL-1.0
// The rows of a run that come from a stream: drawn and prepared step by step.
#pragma once

#include <span>
#include <utility>

#include <plumb/data/example_stream.hpp>
#include <plumb/rollout/split.hpp>
#include <plumb/train/run.hpp>

namespace plumb::inline v0 {

/// Throws errc::bad_argument for options that a run on a stream cannot follow.
void check_streamed(const fit_options& o);

/// The plan of a run on a stream with so many rows a pass. Steps take no notice of where a pass ends.
run_plan plan_streamed(index_t rows, const fit_options& o);

/// Do rows of the step lack a reference log-probability, of replies or (`by_token`) of tokens?
bool lack_references(const run_rows& rows, bool by_token);

/// Puts the rows of the next step in place of those of the last: batch · accumulate of them, or, with a budget of tokens,
/// as many as fill `accumulate` micro-batches; a row that does not fit any more is the first of the next step. Rows with
/// labels are taken apart, and mismatched within the step.
template <class Objective>
void draw_rows(example_stream& from, const Objective& method, run_rows& rows, const fit_options& o, need needs) {
  rows.data.clear();
  const index_t count = o.batch_tokens > 0 ? 0 : o.batch * o.accumulate;
  index_t batches = 0, used = 0;
  while (count == 0 || static_cast<index_t>(rows.data.size()) < count) {
    example e = from.next();
    shorten(std::span(&e, 1), o.max_tokens);
    const index_t size = tokens_of(e);
    if (count == 0 && (batches == 0 || used + size > o.batch_tokens)) {
      if (batches == o.accumulate) {
        from.put_back();
        break;
      }
      ++batches;
      used = 0;
    }
    used += size;
    rows.data.push_back(std::move(e));
  }
  fit_rows(method, rows.data, needs);
  if (!has(needs, need::divergence)) return;
  rows.mismatched = mismatch(rows.data);
  shorten(rows.mismatched.rows, o.max_tokens);
}

}  // namespace plumb::inline v0
