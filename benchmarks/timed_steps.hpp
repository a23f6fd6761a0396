// SPDX-License-Identifier: BSL-1.0
// The time of an optimiser step: a short run of `fit` on random tokens, with a stopwatch.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <plumb/plumb.hpp>

#include "measure.hpp"
#include "workload.hpp"

namespace bench {

/// Times of a run: what comes before its first step, and each step.
struct stopwatch {
  clock::time_point last = clock::now();
  double last_processor = processor_seconds();
  double before = 0, before_processor = 0;
  std::vector<double> steps{}, steps_processor{};

  void on_sample(index_t step) {  // fit says so just before the first step
    if (step != 0) return;
    before = lap();
    before_processor = lap_processor();
  }
  void on_step(const plumb::step_info&) {
    steps.push_back(lap());
    steps_processor.push_back(lap_processor());
  }

 private:
  double lap_processor() {
    const double now = processor_seconds();
    return now - std::exchange(last_processor, now);
  }
  double lap() {
    const double seconds = seconds_since(last);
    last = clock::now();
    return seconds;
  }
};

/// The most operations a second of such products, in GFLOP/s: where the processor has none in bfloat16, of those in float.
inline double peak_gflops(cpu::device& d, plumb::product_precision products) {
  const double in_bfloat16 = products == plumb::product_precision::bfloat16 ? peak_bf16_gflops(d) : 0;
  return in_bfloat16 > 0 ? in_bfloat16 : peak_gflops(d);
}

inline plumb::fit_options options_of(const step_shape& s, index_t steps) {
  return {.rate = 1e-4,
          .steps = steps,
          .batch = s.rows,
          .schedule = plumb::schedule::kind::constant,
          .max_tokens = std::max<index_t>(1024, s.prompt + s.reply),
          .log_every = 1};
}

/// Seconds of the steps that count, and a step's share of the references' scoring before the run.
struct timed_steps {
  std::vector<double> steps, steps_processor;
  double reference = 0, reference_processor = 0;
  plumb::fit_result result;

  [[nodiscard]] double seconds() const { return median(steps) + reference; }
  [[nodiscard]] double processor_seconds() const { return median(steps_processor) + reference_processor; }
};

/// Trains for `count` steps, after one that warms up.
inline timed_steps time_steps(plumb::policy<cpu>& policy, const step_shape& s, index_t count, index_t vocabulary,
                              bool recompute_blocks = false) {
  stopwatch watch;
  timed_steps out;
  with_objective(s.method, [&](const auto& objective) {
    const auto data = random_examples(s, count + 1, vocabulary);
    watch = {};
    auto options = options_of(s, count + 1);
    options.recompute_blocks = recompute_blocks;
    out.result = plumb::fit(policy, objective, data, options, watch);
  });
  if (s.reference) {
    out.reference = watch.before / static_cast<double>(count + 1);
    out.reference_processor = watch.before_processor / static_cast<double>(count + 1);
  }
  out.steps.assign(watch.steps.begin() + 1, watch.steps.end());
  out.steps_processor.assign(watch.steps_processor.begin() + 1, watch.steps_processor.end());
  return out;
}

}  // namespace bench
