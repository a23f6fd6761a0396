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
  std::vector<span_of_reply> replies;  ///< in the order of the examples
  std::vector<const example*> examples;

  /// Lays out examples, which must outlive the batch. Neighbours with equal prompts share one prompt segment.
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
  [[nodiscard]] index_t prediction_count() const noexcept { return static_cast<index_t>(rows.size()); }

 private:
  void lay_out() {
    segments.clear();
    replies.clear();
    predictions_.clear();
    index_t prompt = forest::root;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const example& e = *examples[i];
      if (i == 0 || e.prompt != examples[i - 1]->prompt) prompt = segments.add(e.prompt);
      for (const reply& r : e.replies) {
        const auto first = static_cast<index_t>(predictions_.size());
        segments.predictions(segments.add(r.tokens, prompt), predictions_);
        const auto count = static_cast<index_t>(predictions_.size()) - first;
        if (count == 0)
          throw error(errc::bad_data, e.place,
                      "the reply has no token to learn from; give it text (an empty reply has no log-probability)");
        replies.push_back({first, count});
      }
    }
    segments.lay_out(layout);
    rows.clear();
    targets.clear();
    for (const prediction& p : predictions_) rows.push_back(p.row), targets.push_back(p.token);
  }
  std::vector<prediction> predictions_;
};

/// Where the head's statistics lie among the rows of its result, and their slopes on the way back; below 0: not asked for.
struct statistic_rows {
  index_t count = 1;  ///< row 0: log-probabilities
  index_t entropy = -1;
  index_t log_partition = -1;
  index_t mean_logp = -1;
  index_t sequential_kl = -1;
  index_t statistic = -1;
  index_t collision = -1;
};

/// What the head said about each prediction of a batch, in host memory. Empty vectors were not asked for.
struct batch_scores {
  std::vector<double> logp;           ///< [predictions] nats
  std::vector<double> entropy;        ///< [predictions] nats
  std::vector<bool> correct;          ///< [predictions] was the target the most probable token?
  std::vector<double> log_partition;  ///< [predictions] log Σ exp of the logits
  std::vector<double> mean_logp;      ///< [predictions] mean log-probability over the vocabulary
  std::vector<double> sequential_kl;  ///< [predictions] KL of the other network's distribution to this one's
  std::vector<double> statistic;      ///< [predictions] the objective's own Σ_v φ
  std::vector<double> collision;      ///< [predictions] Σ_v p_v²
  statistic_rows rows;                ///< how the way back wants the slopes
};

namespace detail {

/// The position of a differentiable slot among a record's slopes.
template <level L>
constexpr int slot_index(std::string_view part, std::string_view name) {
  int found = -1;
  for_each_slot<L>([&](const field& f, int slot) {
    if (part == f.part && name == f.name) found = slot;
  });
  return found;
}

inline sequence_record<double> sequence_of(const training_batch& b, const batch_scores& s, index_t which,
                                           const reply& r) {
  const auto span = b.replies[static_cast<std::size_t>(which)];
  sequence_record<double> out;
  if (!s.logp.empty()) {
    out.logp = 0;
    for (index_t i = span.first; i < span.first + span.count; ++i) out.logp += s.logp[static_cast<std::size_t>(i)];
  }
  if (!s.sequential_kl.empty()) {
    out.sequential_kl = 0;
    for (index_t i = span.first; i < span.first + span.count; ++i)
      out.sequential_kl += s.sequential_kl[static_cast<std::size_t>(i)];
  }
  if (!s.collision.empty()) {
    double sum = 0;
    for (auto i = static_cast<std::size_t>(span.first); i < static_cast<std::size_t>(span.first + span.count); ++i)
      sum += s.logp[i] - std::log(s.collision[i]);
    out.confidence = sum / static_cast<double>(span.count);
  }
  out.ref = r.reference;
  out.tokens = static_cast<double>(span.count);
  return out;
}

/// Fills in what of a reply lies beyond the first `shared` tokens: the pair's shorter length.
inline void fill_tail(const training_batch& b, const batch_scores& s, index_t which, const reply& r, index_t shared,
                      sequence_record<double>& out) {
  const auto span = b.replies[static_cast<std::size_t>(which)];
  if (!s.logp.empty()) out.tail = 0;
  const bool known = r.token_references.size() == static_cast<std::size_t>(span.count);
  if (known || shared >= span.count) out.ref_tail = 0;
  for (index_t i = shared; i < span.count; ++i) {
    if (!s.logp.empty()) out.tail += s.logp[static_cast<std::size_t>(span.first + i)];
    if (known) out.ref_tail += r.token_references[static_cast<std::size_t>(i)];
  }
}

}  // namespace detail

/// The records of level L that these examples make; without scores, log-probabilities stay missing and the records
/// serve to count. Throws errc::bad_data when an example has the wrong number of replies for the level.
template <level L>
std::vector<record<L>> make_records(const training_batch& b, const batch_scores& scores = {}) {
  std::vector<record<L>> out;
  index_t which = 0;
  for (const example* each : b.examples) {
    const example& e = *each;
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
      out.push_back(r);
      which += 2;
    } else {
      for (const reply& answer : e.replies) {
        if constexpr (L == level::sequence) {
          auto r = detail::sequence_of(b, scores, which, answer);
          r.desirable = e.desirable;
          out.push_back(r);
        } else {
          static_assert(L == level::token, "plumb: training makes records of tokens, sequences and pairs");
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
            r.sequence = which;
            out.push_back(r);
          }
        }
        ++which;
      }
    }
  }
  return out;
}

/// ∂loss/∂(what the head said) of every prediction, [where.count, predictions], from the slopes [records, slots] of the
/// records: a token's own, or its sequence's. Without `where`, of the log-probabilities alone.
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
    spread(detail::slot_index<L>("", "logp"), 0);
    spread(detail::slot_index<L>("", "entropy"), where.entropy);
    spread(detail::slot_index<L>("", "log_partition"), where.log_partition);
    spread(detail::slot_index<L>("", "mean_logp"), where.mean_logp);
    spread(detail::slot_index<L>("", "statistic"), where.statistic);
  } else {
    struct part_slots {
      int logp, sequential_kl, tail;
    };
    const auto fill = [&](std::size_t reply, std::size_t record, const part_slots& slot, index_t shared) {
      const auto span = b.replies[reply];
      const double* const own = slopes.data() + record * slots;
      for (index_t i = 0; i < span.count; ++i) {
        const double slope = own[slot.logp] + (i >= shared ? own[slot.tail] : 0);
        row(0)[span.first + i] = static_cast<T>(slope);
        if (where.sequential_kl >= 0)
          row(where.sequential_kl)[span.first + i] = static_cast<T>(own[slot.sequential_kl]);
      }
    };
    const auto slots_of = [](std::string_view part) {
      return part_slots{detail::slot_index<L>(part, "logp"), detail::slot_index<L>(part, "sequential_kl"),
                        detail::slot_index<L>(part, "tail")};
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
