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

/// What the head said about each prediction of a batch, in host memory. Empty vectors were not asked for.
struct batch_scores {
  std::vector<double> logp;     ///< [predictions] nats
  std::vector<double> entropy;  ///< [predictions] nats
  std::vector<bool> correct;    ///< [predictions] was the target the most probable token?
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
  out.ref = r.reference;
  out.tokens = static_cast<double>(span.count);
  return out;
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

/// ∂loss/∂log p of every prediction, from the slopes [records, slots] of the records: a token's own, or its sequence's.
template <level L, class T>
void spread_slopes(const training_batch& b, std::span<const double> slopes, std::vector<T>& out) {
  constexpr int slots = slot_count<L>();
  out.assign(b.rows.size(), T(0));
  const auto fill = [&](index_t reply, double slope) {
    const auto span = b.replies[static_cast<std::size_t>(reply)];
    std::fill_n(out.begin() + span.first, span.count, static_cast<T>(slope));
  };
  if constexpr (L == level::pair) {
    constexpr int chosen = detail::slot_index<L>("chosen", "logp"),
                  rejected = detail::slot_index<L>("rejected", "logp");
    for (std::size_t i = 0; i < b.examples.size(); ++i) {
      fill(static_cast<index_t>(2 * i), slopes[i * slots + chosen]);
      fill(static_cast<index_t>(2 * i + 1), slopes[i * slots + rejected]);
    }
  } else {
    constexpr int own = detail::slot_index<L>("", "logp");
    if constexpr (L == level::sequence)
      for (std::size_t i = 0; i < b.replies.size(); ++i) fill(static_cast<index_t>(i), slopes[i * slots + own]);
    else
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(slopes[i * slots + own]);
  }
}

}  // namespace plumb::inline v0
