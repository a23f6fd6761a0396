// SPDX-License-Identifier: BSL-1.0
// The bodies of train/streamed_rows.hpp: the plan of a run on a stream. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include <plumb/core/error.hpp>
#include <plumb/train/streamed_rows.hpp>

namespace plumb::inline v0 {

void check_streamed(const fit_options& o) {
  if (o.batch_tokens > 0 && o.steps == 0)
    throw error(
        errc::bad_argument, "steps",
        "expected a number of steps: how many an epoch has is not known beforehand when rows come from a stream "
        "and batch_tokens fills the steps");
  if (!o.reference_cache.empty())
    throw error(errc::bad_argument, "reference_cache",
                "a run on a stream scores the rows of each step as they come and keeps none; leave it empty");
}

run_plan plan_streamed(index_t rows, const fit_options& o) {
  check_streamed(o);
  run_plan plan = plan_run(static_cast<std::size_t>(rows), o);
  plan.per_step = o.batch * o.accumulate;
  plan.steps_per_epoch = std::max<index_t>(1, rows / plan.per_step);
  if (o.steps == 0)
    plan.steps = static_cast<index_t>(
        std::ceil(o.epochs * static_cast<double>(rows) / static_cast<double>(plan.per_step) - 1e-9));
  plan.steps = std::max<index_t>(1, plan.steps);
  set_schedule(plan, o);
  return plan;
}

bool lack_references(const run_rows& rows, bool by_token) {
  const auto lacks = [](std::span<const example> data, bool tokens) {
    return std::any_of(data.begin(), data.end(), [&](const example& e) {
      return std::any_of(e.replies.begin(), e.replies.end(),
                         [&](const reply& r) { return lacks_reference(r, tokens); });
    });
  };
  return lacks(rows.data, by_token) || lacks(rows.mismatched.rows, false);
}

}  // namespace plumb::inline v0
