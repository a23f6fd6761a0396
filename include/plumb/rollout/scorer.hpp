// SPDX-License-Identifier: BSL-1.0
// Runs batches through a network: log-probabilities with or without a tape. Training, scoring and references share it.
#pragma once

#include <utility>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/nn/head.hpp>
#include <plumb/rollout/batch.hpp>

namespace plumb::inline v0 {

/// A tape for a network and the one pass that everything is made of. The buffers of training are those of scoring.
template <class B, class T>
class scorer {
 public:
  explicit scorer(const language_model<B, T>& model) : model_(model), tape_(model.device()) {}

  /// What a pass is asked for.
  struct request {
    bool adapters = true;
    bool learn = false;     ///< keep what the way back needs
    std::uint64_t key = 0;  ///< random stream of dropout; used when learning
    head_options head;
  };

  /// Scores every prediction of the batch. Forgets the previous batch.
  /// Throws errc::bad_argument when a path is longer than the model's positions or a token lies outside its vocabulary.
  batch_scores run(const training_batch& batch, const request& what) {
    check(batch);
    tape_.reset();
    tape_.set_recording(what.learn);
    pass_.emplace(pass<B, T>{tape_, upload(tape_, batch.layout), nullptr, what.adapters, what.learn, what.key});
    const auto count = batch.prediction_count();
    const auto* rows = upload(tape_, std::span<const std::int32_t>(batch.rows));
    const auto* targets = upload(tape_, std::span<const std::int32_t>(batch.targets));
    const auto hidden = model_.network().hidden(*pass_);  // [tokens, width]
    result_ = score_rows(*pass_, model_.network(), hidden, rows, targets, count, what.head);

    batch_scores out;
    std::vector<T> host(static_cast<std::size_t>(result_.statistics.value.size()));
    B::download(tape_.device(), result_.statistics.value.data, host.data(), result_.statistics.value.size());
    out.logp.assign(host.begin(), host.begin() + count);
    out.entropy.assign(host.begin() + count, host.end());
    std::vector<std::int32_t> best(static_cast<std::size_t>(count));
    B::download(tape_.device(), result_.best, best.data(), count);
    out.correct.resize(best.size());
    for (std::size_t i = 0; i < best.size(); ++i) out.correct[i] = best[i] == batch.targets[i];
    return out;
  }

  /// Adds the gradients of the batch just run, given ∂loss/∂log p of every prediction.
  void learn(std::span<const T> slopes) {
    const auto extent = result_.statistics.value.extent();  // [1 or 2, predictions]
    auto seed = tape_.memory().template make<T>(extent);
    B::fill(tape_.device(), seed, T(0));
    B::upload(tape_.device(), slopes.data(), seed.data, static_cast<index_t>(slopes.size()));
    tape_.backward(result_.statistics, view<const T>(seed));
  }

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  /// Bytes that steps have needed so far, at most.
  [[nodiscard]] std::size_t memory() noexcept { return tape_.memory().capacity(); }

 private:
  void check(const training_batch& batch) const {
    const auto& sizes = model_.network().sizes();
    if (const index_t longest = batch.segments.longest_path(); longest > sizes.positions)
      throw error(errc::bad_argument, "",
                  join("a sequence of ", longest, " tokens is longer than the ", sizes.positions,
                       " positions of the model; shorten it (max_tokens)"));
    for (const token_id id : batch.segments.tokens())
      if (id < 0 || id >= sizes.vocabulary)
        throw error(errc::bad_data, "",
                    join("token id ", id, " lies outside the model's vocabulary of ", sizes.vocabulary,
                         "; were the ids made by another tokenizer?"));
  }

  language_model<B, T> model_;
  tape<B, T> tape_;
  std::optional<pass<B, T>> pass_;
  head_result<B, T> result_;
};

/// Splits examples, in their order, into runs of at most `tokens` tokens (a longer example stands alone); calls
/// f(first, count) for each run.
template <class F>
void for_each_run(std::span<const example> data, index_t tokens, F&& f) {
  std::size_t first = 0;
  while (first < data.size()) {
    std::size_t end = first;
    for (index_t used = 0; end < data.size(); ++end) {
      index_t size = static_cast<index_t>(data[end].prompt.size());
      for (const reply& r : data[end].replies) size += static_cast<index_t>(r.tokens.size());
      if (end > first && used + size > tokens) break;
      used += size;
    }
    f(first, end - first);
    first = end;
  }
}

/// Fills in the reference log-probability of every reply that lacks one: the network with its adapter off.
template <class B, class T>
void score_references(scorer<B, T>& engine, std::span<example> data, const head_options& head = {},
                      index_t tokens = 2048) {
  training_batch batch;
  for_each_run(data, tokens, [&](std::size_t first, std::size_t count) {
    const auto run = data.subspan(first, count);
    if (std::none_of(run.begin(), run.end(), [](const example& e) {
          return std::any_of(e.replies.begin(), e.replies.end(),
                             [](const reply& r) { return std::isnan(r.reference); });
        }))
      return;
    batch.assign(run);
    const auto scores = engine.run(batch, {.adapters = false, .head = head});
    index_t which = 0;
    for (example& e : run)
      for (reply& r : e.replies) {
        const double logp = detail::sequence_of(batch, scores, which++, r).logp;
        if (std::isnan(r.reference)) r.reference = logp;
      }
  });
}

}  // namespace plumb::inline v0
