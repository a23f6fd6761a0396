// SPDX-License-Identifier: BSL-1.0
// One optimiser step's examples through network and objective, and back: what training, evaluation and `plumb grad` share.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <plumb/objective/evaluate.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/rollout/scorer.hpp>
#include <plumb/rollout/split.hpp>
#include <plumb/train/baseline.hpp>
#include <plumb/train/running_mean.hpp>

namespace plumb::inline v0 {

/// What the records of a step learn from beyond themselves.
struct step_context {
  double baseline = missing;  ///< kto's: mean log-ratio of mismatched replies, in nats
  /// Or what it is measured on: the mismatched rows of `data`, which the step's examples point into.
  const mismatched_rows* mismatched = nullptr;
  std::span<const example> data{};
  running_mean ratios{};       ///< of the log-ratios so far
  bool follow_ratios = false;  ///< take this step's into `ratios` before they are used: training, not evaluation
  std::uint64_t stream = 0;    ///< where the random numbers of the step begin
};

/// What a step came to.
struct step_result {
  double loss = 0;
  double tokens = 0;  ///< of prompts and replies
};

/// What a step works in, of an objective of level L. A step that is no bigger than those before it asks for no memory.
template <level L, class T>
struct step_memory {
  std::vector<record<L>> records;
  evaluation_memory<L> evaluation;
  std::vector<T> slopes;          ///< of what the heads said
  std::vector<std::size_t> ends;  ///< of the micro-batches, in rows of slopes
  metric_list all_terms, term, held_out;
  std::vector<const example*> examples, mismatched;
  micro_batches parts;
};

/// What the loss of an optimiser step is divided by, counted over all its examples before the first of them is run; one
/// number per term of the objective. So the loss does not depend on how a step is split.
template <class Objective, class T>
std::span<const double> count_window(const Objective& method, std::span<const example* const> examples,
                                     training_batch& batch, step_memory<Objective::level, T>& memory) {
  constexpr level own = Objective::level;
  batch.assign(examples);
  memory.records.resize(put_records<own>(batch, {}, memory.records));
  const std::span<const record<own>> records(memory.records);
  if constexpr (requires { method.window_units(records, memory.evaluation); })
    method.window_units(records, memory.evaluation);
  else
    memory.evaluation.windows.assign(
        1, window_units<own>(default_reduction(method), records, memory.evaluation.sequences));
  return memory.evaluation.windows;
}

/// The share of a part of the step in the loss of the whole step.
template <class Objective, class Records>
const evaluation& evaluate_part(const Objective& method, const Records& records, std::span<const double> windows,
                                evaluation_memory<Objective::level>& memory) {
  if constexpr (requires { method.evaluate(records, windows, memory); })
    return method.evaluate(records, windows, memory);
  else
    return evaluate(method, records, default_reduction(method).over(windows.front()), memory);
}

/// Adds the objective's metrics; `all` and `own` are memory for the work.
template <class Objective, class Records>
void collect(const Objective& method, const Records& records, metric_list& out, metric_list& all, metric_list& own) {
  if constexpr (requires { method.collect_metrics(records, out, all, own); })
    method.collect_metrics(records, out, all, own);
  else
    collect_metrics(method, std::span<const record<Objective::level>>(records), out);
}

/// Adds the metrics of the head: entropy, mean_token_accuracy (of the first reply: the chosen one).
void collect_of_head(const batch_scores& scores, const training_batch& batch, metric_list& out);

namespace detail {

template <class Objective>
bool couples(const Objective& method) {
  if constexpr (requires { method.couples(); })
    return method.couples();
  else
    return couples_records<Objective>();
}

/// Puts into the records what `context` knows.
template <level L>
void inform(std::vector<record<L>>& records, need needs, step_context& context) {
  if constexpr (L == level::sequence) {
    if (has(needs, need::divergence) && !std::isnan(context.baseline))
      for (auto& r : records) r.kl = context.baseline;
    if (!has(needs, need::mean_ratio)) return;
    if (context.follow_ratios)
      for (const auto& r : records)
        if (r.weight != 0) context.ratios.add(r.log_ratio());
    for (auto& r : records) r.mean_ratio = context.ratios.value();
  }
}

}  // namespace detail

/// Loss and metrics of all these examples together, however they are split; adds the gradients where `asked.learn`. When
/// a record's loss depends on the others (bco, aot, …), all of them are scored before the first has a loss, and run again
/// to learn, unless they fit into one micro-batch.
///
/// With `asked.router_loss` the load-balancing loss of the micro-batches' routers is added, each by its share of the tokens;
/// the metric `aux_loss` is there whenever the network has routers (nn/router_balance.hpp).
///
/// Every micro-batch has its own random stream (of `asked.key`) by the step's and the place of its first example.
/// `examples` and `parts` may lie in `memory`.
template <class B, class T, class Objective>
step_result run_step(scorer<B, T>& engine, const Objective& method, need needs,
                     std::span<const example* const> examples, const micro_batches& parts,
                     const typename scorer<B, T>::request& asked, step_context& context, metric_list& metrics,
                     step_memory<Objective::level, T>& memory) {
  constexpr level own = Objective::level;
  if (own == level::token && engine.model().config().encodes())
    throw error(errc::unsupported, engine.model().source(),
                "an encoder says one number for a whole text, none for each token; take reward or reward_regression");
  training_batch& batch = engine.scratch();
  const auto windows = count_window(method, examples, batch, memory);
  auto& records = memory.records;
  step_result result;
  // A step in one piece reads the prompts of its mismatched rows with its own; else they are scored before its parts.
  const bool beside = context.mismatched && parts.size() == 1;
  baseline_sum baseline;
  memory.mismatched.clear();
  if (beside)
    baseline.begin(*context.mismatched, context.data, examples, memory.mismatched);
  else if (context.mismatched)
    context.baseline = measure_baseline(engine, *context.mismatched, context.data, examples,
                                        {.memory = asked.head.memory}, 2048, memory.mismatched);
  double all_tokens = 0;  // of the step, where the routers' loss is shared out over its parts
  if (asked.router_loss > 0 && parts.size() > 1)
    for (const auto part : parts) {
      batch.assign(part);
      all_tokens += static_cast<double>(batch.layout.tokens.size());
    }
  const auto router_share = [&] {
    return all_tokens > 0 ? static_cast<double>(batch.layout.tokens.size()) / all_tokens : 1;
  };
  const auto run = [&](std::span<const example* const> part) -> const batch_scores& {
    batch.assign(part);
    auto request = asked;
    request.balance = true;
    request.router_loss *= router_share();
    request.key = derive_key(asked.key, context.stream | static_cast<std::uint64_t>(part.data() - examples.data()));
    if (beside) request.beside = memory.mismatched;
    return engine.run(batch, request);
  };
  const auto count = [&](const batch_scores& scores) {
    const auto tokens = static_cast<double>(batch.layout.tokens.size());
    result.tokens += tokens;
    if (std::isnan(scores.balance)) return;
    metrics.add("aux_loss", scores.balance, tokens);
    result.loss += asked.router_loss * router_share() * scores.balance;
  };
  const auto learn = [&](std::span<const double> of_records, const batch_scores& scores) {
    if (!asked.learn) return;
    spread_slopes<own>(batch, of_records, memory.slopes, scores.rows);
    engine.learn(memory.slopes);
  };
  const auto finish = [&]() -> const evaluation& {
    if (beside) {
      if (!memory.mismatched.empty()) baseline.add(engine.scored_beside().batch, engine.scored_beside().scores);
      context.baseline = baseline.mean();
    }
    detail::inform<own>(records, needs, context);
    const evaluation& found = evaluate_part(method, records, windows, memory.evaluation);
    result.loss += found.total;
    collect(method, records, metrics, memory.all_terms, memory.term);
    return found;
  };

  if (parts.size() == 1 || !detail::couples(method)) {
    for (const auto part : parts) {
      const batch_scores& scores = run(part);
      count(scores);
      records.resize(put_records<own>(batch, scores, records));
      learn(finish().slopes, scores);
      if constexpr (own != level::token) collect_of_head(scores, batch, metrics);
    }
    return result;
  }
  auto& ends = memory.ends;  // of the parts, in rows of slopes: one a record, of groups one a reply
  ends.clear();
  std::size_t used = 0;
  index_t replies = 0;
  for (const auto part : parts) {
    const batch_scores& scores = run(part);
    count(scores);
    used = put_records<own>(batch, scores, records, used, replies);
    replies += static_cast<index_t>(batch.replies.size());
    ends.push_back(own == level::group ? static_cast<std::size_t>(replies) : used);
    if constexpr (own != level::token) collect_of_head(scores, batch, metrics);
  }
  records.resize(used);
  const evaluation& found = finish();
  for (std::size_t i = 0; asked.learn && i < parts.size(); ++i) {
    const batch_scores& scores = run(parts[i]);
    const auto width = static_cast<std::size_t>(found.slots);
    const std::size_t first = (i == 0 ? 0 : ends[i - 1]) * width;
    learn(std::span(found.slopes).subspan(first, ends[i] * width - first), scores);
  }
  return result;
}
/// One step by itself, in memory of its own.
template <class B, class T, class Objective>
step_result run_step(scorer<B, T>& engine, const Objective& method, need needs,
                     std::span<const example* const> examples, const micro_batches& parts,
                     const typename scorer<B, T>::request& asked, step_context& context, metric_list& metrics) {
  step_memory<Objective::level, T> memory;
  return run_step(engine, method, needs, examples, parts, asked, context, metrics, memory);
}

}  // namespace plumb::inline v0
