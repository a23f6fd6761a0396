// SPDX-License-Identifier: BSL-1.0
// The parts of a run that `fit` is made of: its plan, the order of its data, its windows, metrics and resumption.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/objective/evaluate.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/objective/needs.hpp>
#include <plumb/objective/parameters.hpp>
#include <plumb/rollout/scorer.hpp>
#include <plumb/rollout/split.hpp>
#include <plumb/train/baseline.hpp>
#include <plumb/train/checkpoint.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/options.hpp>
#include <plumb/train/references.hpp>
#include <plumb/train/step.hpp>

namespace plumb::inline v0 {

/// A random order of [0, count), a function of the key alone (Fisher and Yates).
std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t key);
void shuffled(std::size_t count, std::uint64_t key, std::vector<std::size_t>& order);

/// The examples of an epoch in their order, kept from step to step.
struct epoch_order {
  static constexpr auto none = static_cast<std::size_t>(-1);
  std::size_t epoch = none;  ///< which one this is
  std::vector<const example*> examples;
  micro_batches parts;               ///< with a budget of tokens
  std::vector<std::size_t> numbers;  ///< of the examples in the data
};

/// How many steps a run has, and which examples each of them takes. With a budget of tokens (`batch_tokens`), the examples
/// of an epoch fill micro-batches in their random order, and a step takes `accumulate` of them; the epochs of such a run
/// may differ in length.
struct run_plan {
  index_t steps = 0;
  index_t per_step = 1;         ///< examples an optimiser step
  index_t steps_per_epoch = 1;  ///< the last step of an epoch may be smaller
  std::uint64_t key = 0;
  plumb::schedule schedule;
  index_t batch_tokens = 0, accumulate = 1;
  std::vector<index_t> epoch_ends;  ///< with a budget of tokens: steps done at the end of each epoch

  [[nodiscard]] double epoch_of(index_t done) const noexcept;
  /// The examples of a step. `kept` is of this plan and these data: it is made once an epoch, and the result points into it.
  [[nodiscard]] std::span<const example* const> examples_of(index_t step, std::span<const example> data,
                                                            epoch_order& kept) const;
  [[nodiscard]] std::vector<const example*> examples_of(index_t step, std::span<const example> data) const;
  /// The micro-batches of a step's examples.
  void parts_of(std::span<const example* const> chosen, index_t batch, micro_batches& out) const {
    batch_tokens > 0 ? split_by_tokens(chosen, batch_tokens, out) : split_by_count(chosen, batch, out);
  }
  [[nodiscard]] micro_batches parts_of(std::span<const example* const> chosen, index_t batch) const {
    micro_batches out;
    parts_of(chosen, batch, out);
    return out;
  }
  /// Makes `out` the order of an epoch.
  void make_order(std::size_t epoch, std::span<const example> data, epoch_order& out) const;

 private:
  /// The epoch of a step, and the epoch's first step.
  [[nodiscard]] std::pair<std::size_t, index_t> epoch_at(index_t step) const;
};

void set_schedule(run_plan& plan, const fit_options& o);

/// Throws errc::bad_data when there is nothing to train on.
run_plan plan_run(std::size_t examples, const fit_options& o);

/// The same for these examples, whose tokens count where batches have a budget of them.
run_plan plan_run(std::span<const example> data, const fit_options& o);

/// Cuts replies so that prompt + reply have at most `most` tokens. Throws errc::bad_data, with the row's place, when the
/// prompt leaves no room for a reply.
void shorten(std::span<example> data, index_t most);

/// The policy's parameters with AdamW's rule for decay: matrices do, norms and biases do not.
///
/// LoRA+ (Hayou et al. 2024, arXiv:2402.12354): B learns at `b_ratio` times the rate of A, and so do vectors, as in PEFT
/// (magnitudes, biases, norms). Copies of matrices and rows of tokens learn at the rate itself.
template <class B, class T>
std::vector<adamw_parameter<B, T>> decaying(const policy<B, T>& p, double b_ratio = 1) {
  if (b_ratio != 1 && !p.lora())
    throw error(errc::bad_argument, "lora_plus_ratio",
                join("expected 1 without an adapter, found ", b_ratio, "; attach one, or leave it"));
  std::vector<adamw_parameter<B, T>> out;
  for (const auto& each : p.trainable()) {
    const bool vector = detail::is_vector(each.name);
    const bool fast = p.lora() && (vector || each.name.ends_with(".lora_B.weight"));
    out.push_back({each.parameter, !vector, fast ? b_ratio : 1});
  }
  return out;
}

template <class Objective>
std::string objective_name(const Objective& o) {
  if constexpr (requires {
                  { o.name() } -> std::convertible_to<std::string>;
                })
    return o.name();
  else
    return Objective::name;
}

/// Throws errc::bad_argument when training cannot provide what the objective needs, saying how to provide it, and for
/// parameters out of their range. `more`: what rows (needs_filled) and a score head (reward, value) provide beyond what
/// every policy does.
template <class Objective>
void check_method(const Objective& o, need more = need::none) {
  require_needs(objective_name(o), objective_needs(o),
                need::logp | need::reference | need::tokens | need::desirable | need::margin | need::entropy |
                    need::log_partition | need::mean_logp | need::statistic | need::tail | need::sequential_kl |
                    need::confidence | need::target | more);
  if constexpr (objective<Objective>) check_parameters(o);
}

/// The log entry of the steps since the last one; empties the metrics.
log_entry entry_of(run_state& state, index_t step, double epoch, double rate);

/// The log entry of an evaluation: its loss and its metrics under names with "eval_".
log_entry entry_of_evaluation(const metric_list& metrics, index_t step, double epoch, double loss);

/// Loss and metrics on data that is not trained on, as one batch. What training keeps (bco's running mean) is used and not
/// changed; with `mismatched`, kto's baseline is measured.
template <class B, class T, class Objective>
log_entry evaluate_data(scorer<B, T>& engine, const Objective& method, std::span<const example> data,
                        const typename scorer<B, T>::request& asked, index_t step, double epoch, step_context context,
                        const mismatched_rows& mismatched, step_memory<Objective::level, T>& memory,
                        index_t tokens = 2048) {
  const need needs = objective_needs(method);
  pointers_to(data, memory.examples);
  split_by_tokens(memory.examples, tokens, memory.parts);
  context.follow_ratios = false;
  if (has(needs, need::divergence) && !mismatched.row_of.empty()) context.mismatched = &mismatched, context.data = data;
  memory.held_out.clear();
  const auto result =
      run_step(engine, method, needs, memory.examples, memory.parts, asked, context, memory.held_out, memory);
  return entry_of_evaluation(memory.held_out, step, epoch, result.loss);
}

/// Throws errc::bad_argument for the loss of routers that the model does not have.
void check_router_loss(const fit_options& options, const model_config& model);

/// A number that differs when the data or an option that fixes the course of the run differs.
std::uint64_t fingerprint(std::span<const example> data, const run_plan& plan, const fit_options& o);

/// Goes on from the newest checkpoint, if there is one. Throws errc::bad_argument when it is of another run.
template <class B, class T>
void resume(run_state& state, run_rows& rows, const policy<B, T>& policy, adamw<B, T>& optimiser, const fit_options& o,
            std::vector<tensor<B, T>>& reference) {
  const auto checkpoint = newest_checkpoint(o.folder);
  if (checkpoint.empty()) return;
  run_state stored = load_checkpoint(checkpoint, policy, optimiser, &reference);
  if (stored.objective != state.objective || stored.fingerprint != state.fingerprint)
    throw error(errc::bad_argument, checkpoint.string(),
                join("this checkpoint belongs to another run (objective ", stored.objective,
                     "): data, objective, seed, rate, schedule and batch must be the same to resume; start in another "
                     "folder otherwise"));
  restore_references(stored, rows);
  state = std::move(stored);
}

}  // namespace plumb::inline v0
