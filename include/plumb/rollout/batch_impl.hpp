// SPDX-License-Identifier: BSL-1.0
// The bodies of rollout/batch.hpp: the forest of examples, and what is said about whole replies. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/rollout/batch.hpp>

namespace plumb::inline v0 {

teacher_list training_batch::teacher_words() const {
  teacher_list out;
  for (const example* e : examples)
    for (const reply& r : e->replies) out.wide = std::max(out.wide, r.teacher.wide);
  std::size_t which = 0;
  for (const example* e : examples)
    for (const reply& r : e->replies) {
      const auto count = static_cast<std::size_t>(replies[which++].count),
                 wide = static_cast<std::size_t>(r.teacher.wide);
      for (std::size_t t = r.tokens.size() - count; t < r.tokens.size(); ++t)
        for (std::size_t k = 0; k < static_cast<std::size_t>(out.wide); ++k) {
          out.ids.push_back(k < wide ? r.teacher.ids[t * wide + k] : -1);
          out.logp.push_back(k < wide ? r.teacher.logp[t * wide + k] : 0);
        }
    }
  return out;
}

void training_batch::clear() {
  segments.clear();
  replies.clear();
  predictions_.clear();
  own_rows.clear();
  prompts.clear();
}

void training_batch::add_replies(const example& e, index_t prompt) {
  prompts.push_back(prompt);
  for (const reply& r : e.replies) {
    const auto first = static_cast<index_t>(predictions_.size());
    const index_t own = segments.add(r.tokens, prompt);
    segments.predictions(own, predictions_);
    const auto count = static_cast<index_t>(predictions_.size()) - first;
    const index_t end = segments[own].first + segments[own].length;
    for (index_t row = end - count; row < end; ++row) own_rows.push_back(static_cast<std::int32_t>(row));
    if (count == 0)
      throw error(errc::bad_data, e.place,
                  "the reply has no token to learn from; give it text (an empty reply has no log-probability)");
    replies.push_back({first, count});
  }
}

void training_batch::finish() {
  segments.lay_out(layout);
  rows.clear();
  targets.clear();
  for (const prediction& p : predictions_) rows.push_back(p.row), targets.push_back(p.token);
}

void training_batch::lay_out() {
  clear();
  index_t prompt = forest::root;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const example& e = *examples[i];
    if (i == 0 || e.prompt != examples[i - 1]->prompt || e.adapter != examples[i - 1]->adapter)
      prompt = segments.add_root(e.prompt, e.adapter);
    add_replies(e, prompt);
  }
  finish();
}

void training_batch::assign_beside(const training_batch& before, std::span<const example* const> given) {
  clear();
  examples.assign(given.begin(), given.end());
  std::size_t i = 0;  // of the examples before
  kept_rows_.clear();
  for (const example* e : examples) {
    while (i < before.examples.size() && before.examples[i]->prompt != e->prompt) ++i;
    if (i == before.examples.size())
      throw error(errc::bad_argument, e->place, "its prompt is not among those of the batch that it goes on from");
    const auto length = static_cast<index_t>(e->prompt.size());
    add_replies(*e, length > 0 ? segments.add_from(length - 1, std::span(e->prompt).last(1)) : forest::root);
    const auto kept = static_cast<std::int32_t>(before.segments[before.prompts[i]].first);
    kept_rows_.resize(segments.segments().size(), kept);
  }
  finish();
  const auto own = static_cast<std::int32_t>(before.layout.tokens.size());  // where the rows of this batch begin
  for (std::int32_t& row : layout.key_rows) row += own;
  for (std::size_t s = 0; s < layout.segments.size(); ++s) {  // none is empty, so they are those of the forest
    index_t first = static_cast<index_t>(s);
    while (segments[first].parent != forest::root) first = segments[first].parent;
    std::int32_t* const keys = layout.key_rows.data() + layout.segments[s].keys;
    for (std::int32_t p = 0; p < segments[first].position; ++p) keys[p] = kept_rows_[s] + p;
  }
}

void batch_scores::clear() {
  for (auto* each :
       {&logp, &entropy, &log_partition, &mean_logp, &sequential_kl, &statistic, &collision, &reward, &value})
    each->clear();
  correct.clear();
  balance = missing;
  rows = {};
}

namespace detail {

sequence_record<double> sequence_of(const training_batch& b, const batch_scores& s, index_t which, const reply& r) {
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
  if (!s.reward.empty()) out.reward = s.reward[static_cast<std::size_t>(span.first + span.count - 1)];
  if (r.targets.size() == 1) out.target = r.targets[0];
  out.ref = r.reference;
  out.tokens = static_cast<double>(span.count);
  return out;
}

void refuse_masks(const example& e) {
  for (const reply& r : e.replies)
    if (!r.mask.empty())
      throw error(errc::bad_data, e.place,
                  "an objective on whole replies counts all of a reply's tokens; leave the mask empty");
}

void fill_tail(const training_batch& b, const batch_scores& s, index_t which, const reply& r, index_t shared,
               sequence_record<double>& out) {
  const auto span = b.replies[static_cast<std::size_t>(which)];
  if (!s.logp.empty()) out.tail = 0;
  const bool known = !r.token_references.empty();
  const std::size_t before = r.tokens.size() - static_cast<std::size_t>(span.count);  // tokens that nothing predicts
  if (known || shared >= span.count) out.ref_tail = 0;
  for (index_t i = shared; i < span.count; ++i) {
    if (!s.logp.empty()) out.tail += s.logp[static_cast<std::size_t>(span.first + i)];
    if (known) out.ref_tail += r.token_references[before + static_cast<std::size_t>(i)];
  }
}

}  // namespace detail

}  // namespace plumb::inline v0
