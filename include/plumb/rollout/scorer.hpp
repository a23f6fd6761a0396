// SPDX-License-Identifier: BSL-1.0
// Runs batches through a network: log-probabilities with or without a tape. Training, scoring and references share it.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/nn/embedding_noise.hpp>
#include <plumb/nn/head.hpp>
#include <plumb/nn/router_balance.hpp>
#include <plumb/nn/score_head.hpp>
#include <plumb/nn/whole_texts.hpp>
#include <plumb/rollout/batch.hpp>
#include <plumb/rollout/split.hpp>

namespace plumb::inline v0 {

/// A tape for a network and the one pass that everything is made of. The buffers of training are those of scoring.
template <class B, class T>
class scorer {
 public:
  explicit scorer(const language_model<B, T>& model) : model_(model), tape_(model.device()) {}

  /// What a pass is asked for.
  struct request {
    bool adapters = true;
    const adapter_table<B, T>* named = nullptr;  ///< the adapters that examples name by number; null: they name none
    bool learn = false;                          ///< keep what the way back needs
    std::uint64_t key = 0;                       ///< random stream of dropout and noise; used when learning
    double noise = 0;                            ///< α of NEFTune's noise on the embeddings; used when learning
    head_options head{};
    head_sums<B, T> sums{};                       ///< sums over the vocabulary, beside log p
    const language_model<B, T>* other = nullptr;  ///< whom sums compare with; null: the model itself, adapter off
    bool teacher_words = false;                   ///< they compare with the words that the replies bring
    bool words = true;                            ///< run the language head: log-probabilities and all beside them
    const score_head<B, T>* score = nullptr;      ///< the head that says one number, for `rewards` and `values`
    bool rewards = false;                         ///< its number for every predicted token itself
    bool values = false;                          ///< its number for every row that predicts
    bool balance = false;                         ///< give the load-balancing loss of the routers, where there are any
    double router_loss = 0;                       ///< its factor in what is learnt; used when learning, with `balance`
    bool recompute_blocks = false;                ///< keep blocks' inputs alone; used when learning
    /// Examples with prompts of the batch, in its order, whose log-probabilities are wanted, too (`scored_beside`): under
    /// the same weights, without dropout and noise, and nothing is learnt from them.
    std::span<const example* const> beside{};
  };
  /// The examples beside a batch and their log-probabilities.
  struct batch_beside {
    training_batch batch;
    batch_scores scores;
  };

  /// Scores every prediction of the batch. Forgets the previous batch; what it returns stays until the next one.
  /// Throws errc::bad_argument when a path is longer than the model's positions or a token lies outside its vocabulary.
  const batch_scores& run(const training_batch& batch, const request& what) {
    check(batch);
    tape_.reset();
    tape_.set_recording(what.learn);
    const bool encodes = model_.config().encodes();
    if (encodes && (what.words || what.values)) throw error(errc::unsupported, model_.source(), detail::no_next_token);
    if (encodes && what.learn && what.noise > 0)
      throw error(errc::unsupported, "noise", "NEFTune's noise is not made for encoders; leave it 0");
    texts_ = encodes ? make_whole_texts(batch.layout, batch.own_rows) : whole_texts{};
    const batch_layout& layout = encodes ? texts_.layout : batch.layout;
    pass_.emplace(pass<B, T>{tape_, upload(tape_, layout), nullptr, what.adapters, what.learn, what.key});
    balance_.clear();
    router_loss_ = what.router_loss;
    if (what.balance) pass_->balance = &balance_;
    pass_->recompute_blocks = what.recompute_blocks;
    if (what.adapters && !batch.layout.one_adapter()) {
      if (!what.named)
        throw error(errc::bad_argument, "example::adapter",
                    "examples name adapters, but none were given to the pass; to train one of a set, take its "
                    "adapter_set::policy_of(name) and leave example::adapter as it is");
      if (encodes) throw error(errc::unsupported, model_.source(), "an encoder runs with one adapter at a time");
      mixture_ = {what.named, batch.layout.adapters, ranges_of(batch.layout.adapters, batch.rows)};
      pass_->mixture = &mixture_;
    }
    if (what.learn && what.noise > 0) pass_->noise = upload_noise(batch, what);
    if (!what.beside.empty()) keep_keys(batch, what.beside);
    const auto count = batch.prediction_count();
    const auto* rows = upload(tape_, std::span<const std::int32_t>(batch.rows));
    const auto* targets = upload(tape_, std::span<const std::int32_t>(batch.targets));
    const auto hidden = model_.network().hidden(*pass_);  // [tokens, width]
    other_rows<B, T, network<B, T>> other;
    if (what.sums.compares() && what.teacher_words) {
      const teacher_list words = batch.teacher_words();
      const std::vector<T> logp(words.logp.begin(), words.logp.end());
      auto* const numbers = tape_.memory().template make_array<T>(static_cast<index_t>(logp.size()));
      B::upload(tape_.device(), logp.data(), numbers, static_cast<index_t>(logp.size()));
      other.named = {{}, upload(tape_, std::span<const std::int32_t>(words.ids)), numbers, words.wide};
    } else if (what.sums.compares()) {
      const language_model<B, T>& compared = what.other ? *what.other : model_;
      if (what.other) check_other(batch, compared);
      other_pass_.emplace(pass<B, T>{tape_, pass_->batch, nullptr, what.other != nullptr});
      const auto states = tape_.memory().template make<T>({count, compared.network().sizes().width});
      typename tape<B, T>::scope forgotten(tape_, false);
      const auto all = compared.network().hidden(*other_pass_);  // [tokens, width]
      B::gather_rows(tape_.device(), all.value, rows, states);
      other = {&compared.network(), &*other_pass_, states, {}};
    }
    batch_scores& out = scores_;
    out.clear();
    if (balance_.counted()) out.balance = balance_.loss();
    result_ = {};
    if (what.words)
      result_ = score_rows(*pass_, model_.network(), hidden, rows, targets, count, what.head,
                           static_cast<const T*>(nullptr), what.sums, other);
    rewards_ = values_ = {};
    if (what.rewards || what.values) run_score_head(batch, what, hidden, rows, count);
    if (!what.beside.empty()) run_beside(batch, what);
    host_.clear();
    for (const variable<B, T>& each : outputs()) {
      if (each.value.empty()) continue;
      const auto first = host_.size();
      host_.resize(first + static_cast<std::size_t>(each.value.size()));
      B::download(tape_.device(), each.value.data, host_.data() + first, each.value.size());
    }
    out.rows.count = 0;
    out.rows.logp = -1;
    const auto take = [&](bool asked, std::vector<double>& numbers, index_t* row) {
      if (!asked) return;
      *row = out.rows.count;
      const auto begin = host_.begin() + static_cast<std::ptrdiff_t>(out.rows.count++ * count);
      numbers.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
    };
    const bool words = what.words;
    take(words, out.logp, &out.rows.logp);
    take(words && (what.head.entropy || what.head.entropy_gradient), out.entropy, &out.rows.entropy);
    take(words && what.head.log_partition, out.log_partition, &out.rows.log_partition);
    take(words && what.sums.mean_logp, out.mean_logp, &out.rows.mean_logp);
    take(words && what.sums.sequential_kl, out.sequential_kl, &out.rows.sequential_kl);
    take(words && what.sums.statistic, out.statistic, &out.rows.statistic);
    take(words && what.sums.collision, out.collision, &out.rows.collision);
    take(what.rewards, out.reward, &out.rows.reward);
    take(what.values, out.value, &out.rows.value);
    if (!words) return out;
    best_.resize(static_cast<std::size_t>(count));
    B::download(tape_.device(), result_.best, best_.data(), count);
    out.correct.resize(best_.size());
    for (std::size_t i = 0; i < best_.size(); ++i) out.correct[i] = best_[i] == batch.targets[i];
    return out;
  }

  /// Adds the gradients of the batch just run, given the slopes of `spread_slopes`: [statistics, predictions] and after
  /// them those of the score head, or of the log-probabilities alone, [predictions].
  void learn(std::span<const T> slopes) {
    for (const variable<B, T>& each : outputs()) {
      const auto own = slopes.first(std::min(slopes.size(), static_cast<std::size_t>(each.value.size())));
      slopes = slopes.subspan(own.size());
      if (own.empty() || !each.needs_gradient()) continue;
      auto seed = tape_.memory().template make<T>(each.value.extent());
      B::fill(tape_.device(), seed, T(0));
      B::upload(tape_.device(), own.data(), seed.data, static_cast<index_t>(own.size()));
      B::add_scaled(tape_.device(), T(1), view<const T>(seed), tape_.gradient(each));
    }
    if (router_loss_ > 0) balance_.seed(tape_, router_loss_);
    tape_.run_backward();
  }

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  /// What was asked for by `request::beside` in the last run.
  [[nodiscard]] const batch_beside& scored_beside() const noexcept { return beside_; }
  /// A batch for the caller's use, whose memory stays from step to step.
  [[nodiscard]] training_batch& scratch() noexcept { return scratch_; }
  /// Bytes that steps have needed so far, at most.
  [[nodiscard]] std::size_t memory() noexcept { return tape_.memory().capacity(); }

 private:
  /// Lets the pass keep its keys and values for examples that go on from its prompts, unless those would not be theirs.
  void keep_keys(const training_batch& batch, std::span<const example* const> others) {
    if (model_.network().ahead() || !pass_->noise.empty() || pass_->mixture) return;
    const auto& s = model_.network().sizes();
    auto rows = static_cast<index_t>(batch.layout.tokens.size());
    for (const example* e : others) rows += tokens_of(*e);
    kept_.reset(model_.device(), s.layers, s.kv_width, rows);
    pass_->kept = &kept_;
  }
  /// Scores the examples beside the batch. Where that pass drew random numbers, or not all layers have kept their keys and
  /// values, prompts are read anew.
  void run_beside(const training_batch& batch, const request& what) {
    auto& [others, scores] = beside_;
    const bool goes_on = pass_->kept && pass_->kept_layers == model_.network().sizes().layers && pass_->drawn == 0;
    if (goes_on)
      others.assign_beside(batch, what.beside);
    else
      others.assign(what.beside);
    check(others);
    typename tape<B, T>::scope forgotten(tape_, false);
    kept_.used = static_cast<index_t>(batch.layout.tokens.size());
    pass<B, T> p{tape_, upload(tape_, others.layout), goes_on ? &kept_ : nullptr, what.adapters};
    const index_t count = others.prediction_count();
    const auto result = score_rows(
        p, model_.network(), model_.network().hidden(p), upload(tape_, std::span<const std::int32_t>(others.rows)),
        upload(tape_, std::span<const std::int32_t>(others.targets)), count, {.memory = what.head.memory});
    host_.resize(static_cast<std::size_t>(count));
    B::download(tape_.device(), result.statistics.value.data, host_.data(), count);
    scores.clear();
    scores.logp.assign(host_.begin(), host_.end());
  }
  /// What slopes are given for, in their order.
  [[nodiscard]] std::array<variable<B, T>, 3> outputs() const { return {result_.statistics, rewards_, values_}; }

  view<const T> upload_noise(const training_batch& batch, const request& what) {
    const index_t width = model_.network().sizes().width;
    auto& noise = host_;
    embedding_noise(batch.segments, width, what.noise, derive_key(what.key, 0x4e4546), noise, lengths_);
    const auto out = tape_.memory().template make<T>({static_cast<index_t>(batch.segments.tokens().size()), width});
    B::upload(tape_.device(), noise.data(), out.data, out.size());
    return out;
  }
  void run_score_head(const training_batch& batch, const request& what, const variable<B, T>& hidden,
                      const std::int32_t* rows, index_t count) {
    if (!what.score)
      throw error(errc::bad_argument, "score head",
                  "the model has no head that says one number; attach one (attach_score_head)");
    const auto& own = model_.config().encodes() ? texts_.first_rows : batch.own_rows;
    if (what.rewards)
      rewards_ =
          (*what.score)(*pass_, model_.network(), hidden, upload(tape_, std::span<const std::int32_t>(own)), count);
    if (what.values) values_ = (*what.score)(*pass_, model_.network(), hidden, rows, count);
  }
  static void check_length(const training_batch& batch, index_t positions, const char* place, const char* whose) {
    if (const index_t longest = batch.segments.longest_path(); longest > positions)
      throw error(errc::bad_argument, place,
                  join("a sequence of ", longest, " tokens is longer than the ", positions, " positions of the ", whose,
                       "; shorten it (max_tokens)"));
  }
  void check(const training_batch& batch) const {
    const auto& sizes = model_.network().sizes();
    check_length(batch, sizes.positions, "", "model");
    for (const token_id id : batch.segments.tokens())
      if (id < 0 || id >= sizes.vocabulary)
        throw error(errc::bad_data, "",
                    join("token id ", id, " lies outside the model's vocabulary of ", sizes.vocabulary,
                         "; were the ids made by another tokenizer?"));
  }

  void check_other(const training_batch& batch, const language_model<B, T>& compared) const {
    const auto& sizes = compared.network().sizes();
    if (sizes.vocabulary != model_.network().sizes().vocabulary)
      throw error(errc::bad_argument, "teacher",
                  join("expected a teacher with the model's vocabulary of ", model_.network().sizes().vocabulary,
                       " tokens, found ", sizes.vocabulary, "; take one with the same tokenizer"));
    check_length(batch, sizes.positions, "teacher", "teacher");
  }

  language_model<B, T> model_;
  tape<B, T> tape_;
  whole_texts texts_;  ///< of an encoder: the batch's replies, each behind its prompt
  adapter_mixture<B, T> mixture_;
  std::optional<pass<B, T>> pass_, other_pass_;
  kv_cache<B, T> kept_;  ///< of the batch, for those beside it
  batch_beside beside_;
  head_result<B, T> result_;
  router_balance<B, T> balance_;
  double router_loss_ = 0;
  variable<B, T> rewards_, values_;  ///< [predictions, 1]
  training_batch scratch_;
  batch_scores scores_;           ///< of the batch just run
  std::vector<T> host_;           ///< what the heads said, before it is sorted
  std::vector<index_t> lengths_;  ///< of the segments' longest sequences, for noise
  std::vector<std::int32_t> best_;
};

/// The network that a training run compares with: a distilling policy's teacher. Handed to `fit` beside its callbacks.
///
///     plumb::fit(policy, plumb::distill{}, data, {.steps = 100}, plumb::teacher{large_model});
template <class B, class T>
struct teacher {
  language_model<B, T> model;
};
template <class B, class T>
teacher(language_model<B, T>) -> teacher<B, T>;

namespace detail {
template <class B, class T>
const language_model<B, T>* model_of(const teacher<B, T>& t) {
  return &t.model;
}
template <class B, class T>
const language_model<B, T>* model_of(const std::optional<teacher<B, T>>& t) {
  return t ? &t->model : nullptr;
}
template <class B, class T>
const language_model<B, T>* model_of(const auto&) {
  return nullptr;
}
/// The model of the teacher among these, or null.
template <class B, class T, class... Others>
const language_model<B, T>* find_teacher(const Others&... others) {
  const language_model<B, T>* found = nullptr;
  ((found = model_of<B, T>(others) ? model_of<B, T>(others) : found), ...);
  return found;
}
}  // namespace detail

/// Do these sums compare with a teacher?
template <class B, class T>
bool takes_teacher(const head_sums<B, T>& sums) {
  return sums.statistic && sums.statistic->compares();
}

/// Throws errc::bad_argument for a teacher that the sums do not take, or a reference that they lack.
template <class B, class T>
void check_comparison(std::string_view objective, const head_sums<B, T>& sums, const language_model<B, T>* teacher,
                      bool has_adapter) {
  if (!takes_teacher(sums) && teacher)
    throw error(errc::bad_argument, std::string(objective), "takes no teacher; leave it out, or choose distill");
  if (sums.sequential_kl && !has_adapter)
    throw error(errc::bad_argument, std::string(objective),
                "compares whole distributions with the reference, which is the model without its adapter: attach an "
                "adapter instead of training all weights");
}

namespace detail {

/// Log-probabilities of reply number `which`, one per token; missing for a first token that nothing predicts.
inline void put_logp_per_token(const training_batch& batch, const batch_scores& scores, index_t which, const reply& r,
                               std::vector<double>& out) {
  const auto& span = batch.replies[static_cast<std::size_t>(which)];
  const auto begin = scores.logp.begin() + static_cast<std::ptrdiff_t>(span.first);
  out.assign(r.tokens.size() - static_cast<std::size_t>(span.count), missing);
  out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(span.count));
}

}  // namespace detail

/// Does a reply lack its reference log-probability, or (`by_token`) those of its tokens?
inline bool lacks_reference(const reply& r, bool by_token) {
  return std::isnan(r.reference) || (by_token && r.token_references.size() != r.tokens.size());
}

/// Fills in the reference log-probability of every reply that lacks one: the network with its adapter off.
/// `by_token`: that of each token as well.
template <class B, class T>
void score_references(scorer<B, T>& engine, std::span<example> data, const head_options& head = {},
                      index_t tokens = 2048, bool by_token = false) {
  const auto lacks = [&](const reply& r) { return lacks_reference(r, by_token); };
  training_batch batch;
  for_each_run(data, tokens, [&](std::size_t first, std::size_t count) {
    const auto run = data.subspan(first, count);
    if (std::none_of(run.begin(), run.end(),
                     [&](const example& e) { return std::any_of(e.replies.begin(), e.replies.end(), lacks); }))
      return;
    batch.assign(run);
    const auto& scores = engine.run(batch, {.adapters = false, .head = head});
    index_t which = 0;
    for (example& e : run)
      for (reply& r : e.replies) {
        if (std::isnan(r.reference)) r.reference = detail::sequence_of(batch, scores, which, r).logp;
        if (by_token && lacks(r)) detail::put_logp_per_token(batch, scores, which, r, r.token_references);
        ++which;
      }
  });
}

}  // namespace plumb::inline v0
