// SPDX-License-Identifier: BSL-1.0
// The training loop: read it, copy it, change it. Everything it calls is public.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
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
#include <plumb/train/health.hpp>
#include <plumb/train/moving_reference.hpp>
#include <plumb/train/options.hpp>
#include <plumb/train/run.hpp>
#include <plumb/train/streamed_rows.hpp>

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

namespace detail {

/// The loop of both `fit`s below: on `data`, or on rows of `stream` where it is not null.
template <class B, class T, class Objective, class... Callbacks>
fit_result fit_rows_of(example_stream* stream, policy<B, T>& policy, const Objective& method, std::vector<example> data,
                       fit_options options, Callbacks&&... callbacks) {
  options.check();
  check_router_loss(options, policy.model().config());
  run_rows rows{.data = std::move(data), .held_out = std::move(options.eval_data)};
  const need needs = objective_needs(method);
  const need own_needs = policy.score_head() ? scored_needs : need::none;
  check_method(method, own_needs | needs_filled(rows.data));
  for (std::vector<example>* list : {&rows.data, &rows.held_out}) {
    fit_rows(method, *list, needs);
    shorten(*list, options.max_tokens);
  }
  const run_plan plan =
      stream ? plan_streamed(stream->rows(), options) : plan_run(std::span<const example>(rows.data), options);
  if (has(needs, need::divergence)) rows.mismatch(plan.per_step);
  shorten(rows.mismatched.rows, options.max_tokens);
  shorten(rows.held_out_mismatched.rows, options.max_tokens);

  scorer<B, T> engine(policy.model());
  adamw<B, T> optimiser(decaying(policy, options.lora_plus_ratio),
                        {options.beta1, options.beta2, options.epsilon, options.weight_decay});
  const objective_sums<B, T, Objective> extra(method, needs, policy.network().vocabulary());
  const head_options head = extra.options({.memory = options.head_memory, .entropy = true});
  typename scorer<B, T>::request asked{.head = head, .sums = extra.sums()};
  asked.router_loss = options.router_loss;
  asked.other = detail::find_teacher<B, T>(callbacks...);
  ask_score_head(asked, policy, needs);
  check_comparison(objective_name(method), asked.sums, asked.other, policy.has_adapter());
  const auto find_teacher_words = [&] {
    if (takes_teacher(asked.sums))
      asked.teacher_words = settle_teacher(objective_name(method), asked.sums.statistic->top_words(),
                                           asked.other != nullptr, rows, policy.network().vocabulary());
  };
  if (!stream) find_teacher_words();
  run_state state;
  state.objective = objective_name(method);
  state.fingerprint = fingerprint(rows.data, plan, options);
  if (stream) state.fingerprint = derive_key(state.fingerprint ^ stream->fingerprint(), 0);
  const bool by_token = refers_by_token(Objective::level, needs);
  if (options.reference_sync > 0) check_moving(objective_name(method), needs);
  moving_reference<B, T> moving(policy, options.reference_sync, options.reference_share);
  moving.begin();
  // Weights that are trained cannot score later rows as they were at first, so a copy of them does.
  const bool keeps_start = stream && has(needs, need::reference) && !policy.has_adapter();
  if (keeps_start) moving.keep();
  if (options.resume) resume(state, rows, policy, optimiser, options, moving.weights());
  if (stream && !state.position.empty()) stream->restore(state.position);
  if (has(needs, need::reference)) provide_references(engine, rows, {options.head_memory}, options, by_token);
  keep_references(rows, state);

  fit_result result;
  result.log.reserve(static_cast<std::size_t>(std::min<index_t>(plan.steps / options.log_every + 2, 1024)));
  const auto began = std::chrono::steady_clock::now();
  health_monitor health;
  const auto report = [&](log_entry entry) {
    entry.warnings = health.look(entry);
    (detail::tell_log(callbacks, entry), ...);
    for ([[maybe_unused]] const std::string& text : entry.warnings) (detail::tell_warning(callbacks, text), ...);
    result.log.push_back(std::move(entry));
  };
  const auto score_moved = [&](const run_rows::lists& lists) {
    moving.score(engine, lists.own, {options.head_memory}, by_token);
    moving.score(engine, lists.mismatched, {options.head_memory}, false);
  };
  step_memory<Objective::level, T> memory;
  epoch_order order;
  auto learning = asked;
  learning.learn = true;
  learning.noise = options.neftune;
  learning.recompute_blocks = options.recompute_blocks;
  if (state.step == 0) (detail::tell_sample(callbacks, index_t{0}), ...);

  for (; state.step < plan.steps && !result.cancelled; ++state.step) {
    if (stream) {
      draw_rows(*stream, method, rows, options, needs);
      check_method(method, own_needs | needs_filled(rows.data));
      find_teacher_words();
      learning.teacher_words = asked.teacher_words;
      if (has(needs, need::reference) && !moving.moved())
        provide_references(engine, rows, {options.head_memory}, options, by_token);
    }
    const auto data_rows = std::span<const example>(rows.data);
    if (stream) pointers_to(data_rows, memory.examples);
    const auto chosen =
        stream ? std::span<const example* const>(memory.examples) : plan.examples_of(state.step, data_rows, order);
    learning.key = derive_key(options.seed, 1);
    step_context context{
        .ratios = state.ratios, .follow_ratios = true, .stream = static_cast<std::uint64_t>(state.step) << 20};
    if (moving.moved() && (options.reference_sync > 0 || lack_references(rows, by_token)))
      score_moved(rows.of_step(chosen));
    if (has(needs, need::divergence)) context.mismatched = &rows.mismatched, context.data = data_rows;
    plan.parts_of(chosen, options.batch, memory.parts);
    const auto [loss, tokens] =
        run_step(engine, method, needs, chosen, memory.parts, learning, context, state.pending, memory);
    state.ratios = context.ratios;
    state.tokens += tokens;
    result.tokens += tokens;
    const double norm = optimiser.gradient_norm();
    if (!std::isfinite(norm) || !std::isfinite(loss))
      throw error(errc::not_finite, join("step ", state.step + 1),
                  "the loss or its gradient is not a number any more; lower the rate or raise warmup");
    const double rate = options.rate * plan.schedule.factor(state.step);
    optimiser.step(rate, clip_factor(norm, options.clip_norm));
    moving.follow(state.step + 1);

    const index_t done = state.step + 1;
    result.loss = loss;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    state.pending.add("loss", loss);
    state.pending.add("grad_norm", norm);
    const double epoch =
        stream ? static_cast<double>(stream->drawn()) / static_cast<double>(stream->rows()) : plan.epoch_of(done);
    if (done % options.log_every == 0 || done == plan.steps) report(entry_of(state, done, epoch, rate));
    if (!rows.held_out.empty() && (done == plan.steps || (options.eval_every > 0 && done % options.eval_every == 0))) {
      if (moving.moved() && options.reference_sync > 0) score_moved(rows.of_evaluation());
      report(evaluate_data(engine, method, std::span<const example>(rows.held_out), asked, done, epoch,
                           {.ratios = state.ratios}, rows.held_out_mismatched, memory));
      (detail::tell_sample(callbacks, done), ...);
    } else if (done == plan.steps) {
      (detail::tell_sample(callbacks, done), ...);
    }
    bool go_on = true;
    [[maybe_unused]] const step_info info{done, plan.steps, epoch, loss, rate, result.seconds, result.tokens};
    ((go_on = detail::tell_step(callbacks, info) && go_on), ...);
    result.cancelled = !go_on && done < plan.steps;
    if (!options.folder.empty() && (result.cancelled || (options.save_every > 0 && done % options.save_every == 0))) {
      if (stream) state.position = stream->position();
      state.step = done;  // what is on disk counts the step that is done
      const auto saved = save_checkpoint(options.folder, policy, optimiser, state, moving.weights());
      state.step = done - 1;
      (detail::tell_save(callbacks, saved), ...);
    }
  }
  result.steps = state.step;
  return result;
}

}  // namespace detail

/// Trains `policy` on `data` to make `method` small.
///
/// Per optimiser step: batch · accumulate examples in a random order that is a function of (seed, epoch), or as many as
/// fill `accumulate` batches of `batch_tokens` tokens; the loss is the objective's reduction over all of them together,
/// however they are split; AdamW with the scheduled rate.
/// References that the objective needs and the data lacks are scored once, before the first step.
/// Throws errc::bad_argument for options out of range, errc::bad_data for rows that do not fit the objective,
/// errc::not_finite when loss or gradient stop being numbers, and what callbacks throw.
template <class B, class T, class Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, std::vector<example> data, fit_options options = {},
               Callbacks&&... callbacks) {
  return detail::fit_rows_of(nullptr, policy, method, std::move(data), std::move(options),
                             std::forward<Callbacks>(callbacks)...);
}

/// Trains on rows of a stream (data/mixture_stream.hpp), in its order. Checkpoints keep its position, so a resumed run goes
/// on with the row after the last. Only the rows of one step are in memory: their references are scored when they are
/// drawn, by the network with its adapter off, or, when all weights are trained, by a copy of them as they were at first.
/// A row that cannot be used is an error when it is reached.
template <class B, class T, class Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, example_stream& stream, fit_options options = {},
               Callbacks&&... callbacks) {
  return detail::fit_rows_of(&stream, policy, method, {}, std::move(options), std::forward<Callbacks>(callbacks)...);
}

/// An objective on rows of the vocabulary, such as distill, trains as an objective on tokens.
template <class B, class T, row_objective Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, std::vector<example> data, fit_options options = {},
               Callbacks&&... callbacks) {
  return fit(policy, row_loss<Objective>{method}, std::move(data), std::move(options),
             std::forward<Callbacks>(callbacks)...);
}
template <class B, class T, row_objective Objective, class... Callbacks>
fit_result fit(policy<B, T>& policy, const Objective& method, example_stream& stream, fit_options options = {},
               Callbacks&&... callbacks) {
  return fit(policy, row_loss<Objective>{method}, stream, std::move(options), std::forward<Callbacks>(callbacks)...);
}

}  // namespace plumb::inline v0
