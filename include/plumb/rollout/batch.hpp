// SPDX-License-Identifier: BSL-1.0
// Examples become a forest, its predictions, and the records of an objective; slopes find their way back.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/nn/forest.hpp>
#include <plumb/objective/group.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// A micro-batch: examples as a forest of prompts and replies, and what is to be predicted in it.
struct training_batch {
  /// One reply's predictions: [first, first + count) of `predictions`.
  struct span_of_reply {
    index_t first = 0;
    index_t count = 0;
  };

  forest segments;
  batch_layout layout;
  std::vector<std::int32_t> rows;      ///< [predictions] row of the hidden state
  std::vector<std::int32_t> targets;   ///< [predictions] token to predict
  std::vector<std::int32_t> own_rows;  ///< [predictions] row of the predicted token itself, which a score head reads
  std::vector<span_of_reply> replies;  ///< in the order of the examples
  std::vector<index_t> prompts;        ///< [examples] the segment of each one's prompt
  std::vector<const example*> examples;

  /// Lays out examples, which must outlive the batch. Neighbours with equal prompts and one adapter share one prompt segment.
  /// Throws errc::bad_data, with the row's place, for a reply without a token to predict.
  void assign(std::span<const example> given) {
    examples.clear();
    for (const example& e : given) examples.push_back(&e);
    lay_out();
  }
  void assign(std::span<const example* const> given) {
    examples.assign(given.begin(), given.end());
    lay_out();
  }
  /// Lays out examples that go on from the prompts of `before`, for a pass that finds the keys and values of that batch in
  /// the first rows of its cache. Of a prompt only the last token is run again, for it predicts the reply's first. Throws
  /// errc::bad_argument for a prompt that is not among those of `before`, in their order.
  void assign_beside(const training_batch& before, std::span<const example* const> given);
  /// The words of the replies' teacher for every prediction, [predictions, wide], for the widest list of the batch; nothing where
  /// a reply has none.
  [[nodiscard]] teacher_list teacher_words() const;
  [[nodiscard]] index_t prediction_count() const noexcept { return static_cast<index_t>(rows.size()); }

 private:
  void clear();
  void lay_out();
  void add_replies(const example& e, index_t prompt);
  void finish();
  std::vector<prediction> predictions_;
  std::vector<std::int32_t> kept_rows_;  ///< [segments] where the keys of each one's prompt begin
};

/// Where the head's statistics lie among the rows of its result, and their slopes on the way back; below 0: not asked for.
struct statistic_rows {
  index_t count = 1;
  index_t logp = 0;
  index_t entropy = -1;
  index_t log_partition = -1;
  index_t mean_logp = -1;
  index_t sequential_kl = -1;
  index_t statistic = -1;
  index_t collision = -1;
  index_t reward = -1;
  index_t value = -1;
};

/// What the heads said about each prediction of a batch, in host memory. Empty vectors were not asked for.
struct batch_scores {
  std::vector<double> logp;           ///< [predictions] nats
  std::vector<double> entropy;        ///< [predictions] nats
  std::vector<bool> correct;          ///< [predictions] was the target the most probable token?
  std::vector<double> log_partition;  ///< [predictions] log Σ exp of the logits
  std::vector<double> mean_logp;      ///< [predictions] mean log-probability over the vocabulary
  std::vector<double> sequential_kl;  ///< [predictions] KL of the other network's distribution to this one's
  std::vector<double> statistic;      ///< [predictions] the objective's own Σ_v φ
  std::vector<double> collision;      ///< [predictions] Σ_v p_v²
  std::vector<double> reward;         ///< [predictions] the score head on the token itself: r(x, y_≤t)
  std::vector<double> value;          ///< [predictions] the score head on the row that predicts the token: V(x, y_<t)
  double balance = missing;  ///< the load-balancing loss of the routers, where it was asked for and there are any
  statistic_rows rows;       ///< how the way back wants the slopes

  /// Nothing was asked for. Keeps the memory.
  void clear();
};

namespace detail {

/// The position of a differentiable slot among a record's slopes.
template <level L>
constexpr int slot_index(std::string_view part, std::string_view name) {
  int found = -1;
  for_each_slot<unit_level<L>>([&](const field& f, int slot) {
    if (part == f.part && name == f.name) found = slot;
  });
  return found;
}

sequence_record<double> sequence_of(const training_batch& b, const batch_scores& s, index_t which, const reply& r);

/// Objectives on whole replies count all of their tokens.
void refuse_masks(const example& e);

/// What the data says about the token at `place` of a reply: numbers for every token, or one for all of them.
/// A label of NaN is no label: the token does not count.
inline void fill_from_data(const reply& r, std::size_t place, token_record<double>& out) {
  const auto pick = [&](const std::vector<double>& numbers, double& to) {
    if (numbers.size() == r.tokens.size())
      to = numbers[place];
    else if (numbers.size() == 1)
      to = numbers[0];
  };
  out.old = out.logp;  // as numbers: a reply that does not say how likely it was when sampled was sampled just now
  out.old_value = out.value;
  pick(r.token_references, out.ref);
  pick(r.old, out.old);
  pick(r.advantages, out.advantage);
  out.old_value = out.value;  // likewise
  pick(r.old_values, out.old_value);
  pick(r.returns, out.ret);
  pick(r.targets, out.target);
  if (!r.targets.empty() && std::isnan(out.target)) out.mask = false;
  if (place < r.mask.size() && !r.mask[place]) out.mask = false;
}

/// Fills in what of a reply lies beyond the first `shared` tokens: the pair's shorter length.
void fill_tail(const training_batch& b, const batch_scores& s, index_t which, const reply& r, index_t shared,
               sequence_record<double>& out);

}  // namespace detail

/// Puts the records of level L that these examples make into `out` from place `first` on, over what was there, and returns
/// the place after the last; what lies beyond it is left for the caller to cut off. `replies`: those of the step before
/// this batch. Without scores, log-probabilities stay missing and the records serve to count.
/// Throws errc::bad_data when an example has the wrong number of replies for the level.
template <level L>
std::size_t put_records(const training_batch& b, const batch_scores& scores, std::vector<record<L>>& out,
                        std::size_t first = 0, [[maybe_unused]] index_t replies = 0) {
  std::size_t used = first;
  const auto next = [&]() -> record<L>& {
    if (used == out.size()) out.emplace_back();
    return out[used++];
  };
  index_t which = 0;
  for (const example* each : b.examples) {
    const example& e = *each;
    if constexpr (L != level::token) detail::refuse_masks(e);
    if constexpr (L == level::pair) {
      if (e.replies.size() != 2)
        throw error(errc::bad_data, e.place,
                    join("a preference needs two replies, chosen and rejected; found ", e.replies.size()));
      pair_record<double> r;
      r.chosen = detail::sequence_of(b, scores, which, e.replies[0]);
      r.rejected = detail::sequence_of(b, scores, which + 1, e.replies[1]);
      const index_t shared = std::min(b.replies[static_cast<std::size_t>(which)].count,
                                      b.replies[static_cast<std::size_t>(which + 1)].count);
      detail::fill_tail(b, scores, which, e.replies[0], shared, r.chosen);
      detail::fill_tail(b, scores, which + 1, e.replies[1], shared, r.rejected);
      r.margin = e.margin;
      r.weight = e.replies[0].weight;
      next() = r;
      which += 2;
    } else if constexpr (L == level::group) {
      if (e.replies.size() < 2)
        throw error(errc::bad_data, e.place,
                    join("a ranking needs at least two replies, the best first; found ", e.replies.size()));
      group_record<double>& group = next();
      group.replies.clear();
      for (const reply& answer : e.replies) group.replies.push_back(detail::sequence_of(b, scores, which++, answer));
      group.weight = e.replies[0].weight;
    } else {
      for (const reply& answer : e.replies) {
        if constexpr (L == level::sequence) {
          auto r = detail::sequence_of(b, scores, which, answer);
          r.desirable = e.desirable;
          r.kl = e.kl;
          r.weight = answer.weight;
          if (answer.advantages.size() == 1) r.advantage = answer.advantages[0];
          if (answer.advantages.size() > 1)
            throw error(errc::bad_data, e.place,
                        join("expected one advantage for the whole reply, found ", answer.advantages.size()));
          r.old = answer.old.empty() ? r.logp : 0;  // a reply that does not say so was sampled just now
          const auto unseen = answer.tokens.size() - static_cast<std::size_t>(r.tokens);  // nothing predicts them
          for (std::size_t i = unseen; i < answer.old.size(); ++i) r.old += answer.old[i];
          next() = r;
        } else {
          static_assert(L == level::token, "plumb: training makes records of tokens, sequences, pairs and groups");
          const auto span = b.replies[static_cast<std::size_t>(which)];
          for (index_t i = span.first; i < span.first + span.count; ++i) {
            const auto at = static_cast<std::size_t>(i);
            token_record<double> r;
            if (!scores.logp.empty()) r.logp = scores.logp[at];
            if (!scores.entropy.empty()) r.entropy = scores.entropy[at];
            if (!scores.correct.empty()) r.correct = scores.correct[at] ? 1 : 0;
            if (!scores.log_partition.empty()) r.log_partition = scores.log_partition[at];
            if (!scores.mean_logp.empty()) r.mean_logp = scores.mean_logp[at];
            if (!scores.statistic.empty()) r.statistic = scores.statistic[at];
            if (!scores.sequential_kl.empty()) r.sequential_kl = scores.sequential_kl[at];
            if (!scores.reward.empty()) r.reward = scores.reward[at];
            if (!scores.value.empty()) r.value = scores.value[at];
            detail::fill_from_data(answer, answer.tokens.size() - static_cast<std::size_t>(span.first + span.count - i),
                                   r);
            r.weight = answer.weight;
            r.sequence = replies + which;
            next() = r;
          }
        }
        ++which;
      }
    }
  }
  return used;
}
/// The same records in memory of their own.
template <level L>
std::vector<record<L>> make_records(const training_batch& b, const batch_scores& scores = {}) {
  std::vector<record<L>> out;
  put_records<L>(b, scores, out);
  return out;
}

/// ∂loss/∂(what the head said) of every prediction, [where.count, predictions], from the slopes [records, slots] of the
/// records (of groups: [replies, slots]): a token's own, or its sequence's. Without `where`, of the log-probabilities alone.
template <level L, class T>
void spread_slopes(const training_batch& b, std::span<const double> slopes, std::vector<T>& out,
                   const statistic_rows& where = {}) {
  constexpr int slots = slot_count<L>();
  const std::size_t predictions = b.rows.size();
  out.assign(predictions * static_cast<std::size_t>(where.count), T(0));
  const auto row = [&](index_t which) { return out.data() + static_cast<std::size_t>(which) * predictions; };
  if constexpr (L == level::token) {
    const auto spread = [&](int slot, index_t which) {
      if (which < 0) return;
      for (std::size_t i = 0; i < predictions; ++i) row(which)[i] = static_cast<T>(slopes[i * slots + slot]);
    };
    spread(detail::slot_index<L>("", "logp"), where.logp);
    spread(detail::slot_index<L>("", "entropy"), where.entropy);
    spread(detail::slot_index<L>("", "log_partition"), where.log_partition);
    spread(detail::slot_index<L>("", "mean_logp"), where.mean_logp);
    spread(detail::slot_index<L>("", "statistic"), where.statistic);
    spread(detail::slot_index<L>("", "sequential_kl"), where.sequential_kl);
    spread(detail::slot_index<L>("", "reward"), where.reward);
    spread(detail::slot_index<L>("", "value"), where.value);
  } else {
    struct part_slots {
      int logp, sequential_kl, tail, reward;
    };
    const auto fill = [&](std::size_t reply, std::size_t record, const part_slots& slot, index_t shared) {
      const auto span = b.replies[reply];
      const double* const own = slopes.data() + record * slots;
      for (index_t i = 0; i < span.count; ++i) {
        const double slope = own[slot.logp] + (i >= shared ? own[slot.tail] : 0);
        if (where.logp >= 0) row(where.logp)[span.first + i] = static_cast<T>(slope);
        if (where.sequential_kl >= 0)
          row(where.sequential_kl)[span.first + i] = static_cast<T>(own[slot.sequential_kl]);
      }
      if (where.reward >= 0) row(where.reward)[span.first + span.count - 1] = static_cast<T>(own[slot.reward]);
    };
    const auto slots_of = [](std::string_view part) {
      constexpr level unit = unit_level<L>;  // a group's slopes are those of its replies, one after another
      return part_slots{detail::slot_index<unit>(part, "logp"), detail::slot_index<unit>(part, "sequential_kl"),
                        detail::slot_index<unit>(part, "tail"), detail::slot_index<unit>(part, "reward")};
    };
    if constexpr (L == level::pair) {
      for (std::size_t i = 0; i < b.examples.size(); ++i) {
        const index_t shared = std::min(b.replies[2 * i].count, b.replies[2 * i + 1].count);
        fill(2 * i, i, slots_of("chosen"), shared);
        fill(2 * i + 1, i, slots_of("rejected"), shared);
      }
    } else {
      for (std::size_t i = 0; i < b.replies.size(); ++i) fill(i, i, slots_of(""), b.replies[i].count);
    }
  }
}

}  // namespace plumb::inline v0
