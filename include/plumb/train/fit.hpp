// SPDX-License-Identifier: BSL-1.0
// The training loop: read it, copy it, change it. Everything it calls is public.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/objective/evaluate.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/objective/needs.hpp>
#include <plumb/objective/row.hpp>
#include <plumb/rollout/objective_sums.hpp>
#include <plumb/rollout/scorer.hpp>
#include <plumb/train/callbacks.hpp>
#include <plumb/train/checkpoint.hpp>
#include <plumb/train/options.hpp>
#include <plumb/train/run.hpp>

namespace plumb::inline v0 {

/// What `fit` leaves behind beside the trained policy.
struct fit_result {
  index_t steps = 0;       ///< optimiser steps done, those before a resume included
  bool cancelled = false;  ///< a callback asked to stop
  double loss = 0;         ///< of the last step
  double seconds = 0;      ///< of this call
  double tokens = 0;       ///< that went through the network, forward and back, in this call
  std::vector<log_entry> log;
};

/// Trains `policy` on `data` to make `method` small.
///
/// Per optimiser step: batch · accumulate examples in a random order that is a function of (seed, epoch); the loss is
/// the objective's reduction over all of them together, however they are split; AdamW with the scheduled rate.
/// References that the objective needs and the data lacks are scored once, before the first step.
/// Throws errc::bad_argument for options out of range, errc::bad_data for rows that do not fit the objective,
/// errc::not_finite when loss or gradient stop being numbers, and what callbacks throw.
template <class B, class T, class Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, std::vector<example> data, fit_options options = {},
               Callbacks&&... callbacks) {
  options.check();
  check_method(method);
  const run_plan plan = plan_run(data.size(), options);
  std::vector<example> eval_data = std::move(options.eval_data);
  shorten(data, options.max_tokens);
  shorten(eval_data, options.max_tokens);

  scorer<B, T> engine(policy.model());
  adamw<B, T> optimiser(decaying(policy), {options.beta1, options.beta2, options.epsilon, options.weight_decay});
  const need needs = objective_needs(method);
  const objective_sums<B, T, Objective> extra(method, needs, policy.network().vocabulary());
  const head_options head = extra.options({.memory = options.head_memory, .entropy = true});
  typename scorer<B, T>::request asked{.head = head, .sums = extra.sums()};
  asked.other = detail::find_teacher<B, T>(callbacks...);
  check_comparison(objective_name(method), asked.sums, asked.other, policy.lora().has_value());
  run_state state;
  state.objective = objective_name(method);
  state.fingerprint = fingerprint(data, plan, options);
  if (options.resume) resume(state, data, eval_data, policy, optimiser, options);
  if (has(needs, need::reference))
    provide_references(engine, data, eval_data, {options.head_memory}, options, has(needs, need::tail));
  keep_references(data, eval_data, state);

  fit_result result;
  const auto began = std::chrono::steady_clock::now();
  const auto report = [&](log_entry entry) {
    (detail::tell_log(callbacks, entry), ...);
    result.log.push_back(std::move(entry));
  };
  training_batch batch;
  std::vector<T> slopes;
  if (state.step == 0) (detail::tell_sample(callbacks, index_t{0}), ...);

  for (; state.step < plan.steps && !result.cancelled; ++state.step) {
    const std::vector<const example*> chosen = plan.examples_of(state.step, data);
    const auto windows = count_window(method, std::span<const example* const>(chosen), batch);
    double loss = 0;
    for (std::size_t first = 0; first < chosen.size(); first += static_cast<std::size_t>(options.batch)) {
      const auto micro = std::span<const example* const>(chosen).subspan(
          first, std::min(static_cast<std::size_t>(options.batch), chosen.size() - first));
      batch.assign(micro);
      auto learning = asked;
      learning.learn = true;
      learning.key = derive_key(derive_key(options.seed, 1), static_cast<std::uint64_t>(state.step) << 20 | first);
      const batch_scores scores = engine.run(batch, learning);
      const auto records = make_records<Objective::level>(batch, scores);
      const evaluation part = evaluate_part(method, records, windows);
      spread_slopes<Objective::level>(batch, part.slopes, slopes, scores.rows);
      engine.learn(slopes);
      loss += part.total;
      collect(method, records, scores, batch, state.pending);
      state.tokens += static_cast<double>(batch.layout.tokens.size());
      result.tokens += static_cast<double>(batch.layout.tokens.size());
    }
    const double norm = optimiser.gradient_norm();
    if (!std::isfinite(norm) || !std::isfinite(loss))
      throw error(errc::not_finite, join("step ", state.step + 1),
                  "the loss or its gradient is not a number any more; lower the rate or raise warmup");
    const double rate = options.rate * plan.schedule.factor(state.step);
    optimiser.step(rate, clip_factor(norm, options.clip_norm));

    const index_t done = state.step + 1;
    result.loss = loss;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    state.pending.add("loss", loss);
    state.pending.add("grad_norm", norm);
    const double epoch = plan.epoch_of(done);
    if (done % options.log_every == 0 || done == plan.steps) report(entry_of(state, done, epoch, rate));
    if (!eval_data.empty() && (done == plan.steps || (options.eval_every > 0 && done % options.eval_every == 0))) {
      report(evaluate_data(engine, method, std::span<const example>(eval_data), asked, done, epoch));
      (detail::tell_sample(callbacks, done), ...);
    } else if (done == plan.steps) {
      (detail::tell_sample(callbacks, done), ...);
    }
    bool go_on = true;
    [[maybe_unused]] const step_info info{done, plan.steps, epoch, loss, rate, result.seconds, result.tokens};
    ((go_on = detail::tell_step(callbacks, info) && go_on), ...);
    result.cancelled = !go_on && done < plan.steps;
    if (!options.folder.empty() && (result.cancelled || (options.save_every > 0 && done % options.save_every == 0))) {
      state.step = done;  // what is on disk counts the step that is done
      const auto saved = save_checkpoint(options.folder, policy, optimiser, state);
      state.step = done - 1;
      (detail::tell_save(callbacks, saved), ...);
    }
  }
  result.steps = state.step;
  return result;
}

/// An objective on rows of the vocabulary, such as distill, trains as an objective on tokens.
template <class B, class T, row_objective Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, std::vector<example> data, fit_options options = {},
               Callbacks&&... callbacks) {
  return fit(policy, row_loss<Objective>{method}, std::move(data), std::move(options),
             std::forward<Callbacks>(callbacks)...);
}

}  // namespace plumb::inline v0
