// SPDX-License-Identifier: BSL-1.0
// Log-probabilities of given tokens.
#pragma once

#include <span>
#include <vector>

#include <plumb/models/adapter_set.hpp>
#include <plumb/rollout/scorer.hpp>

namespace plumb::inline v0 {

/// Tokens to score: positions from … end; those before are context.
struct scored_tokens {
  std::vector<token_id> ids;
  index_t from = 1;  ///< at least 1: nothing predicts the first token
};

/// log p of each scored token, and the entropy of the distribution it was drawn from, in nats.
struct token_scores {
  std::vector<double> logp;     ///< empty for an encoder
  std::vector<double> entropy;  ///< empty unless asked for
  double reward = missing;      ///< the score head's number at the last token; NaN without such a head
};

namespace detail {

/// `adapters`: the number in `named` of every sequence's; both empty: what is on the model.
template <class B, class T>
std::vector<token_scores> score_with(const language_model<B, T>& model, std::span<const scored_tokens> sequences,
                                     const typename scorer<B, T>::request& what, index_t batch_tokens,
                                     std::span<const index_t> adapters) {
  const std::vector<index_t> same(adapters.empty() ? sequences.size() : 0, own_adapter);
  const auto order = grouped_by_adapter(adapters.empty() ? std::span<const index_t>(same) : adapters);
  std::vector<example> data;
  for (const std::size_t i : order) {
    const auto& s = sequences[i];
    if (s.from < 1 || s.from >= static_cast<index_t>(s.ids.size()))
      throw error(errc::bad_argument, join("sequence ", i),
                  join("\"from\": expected 1 to ", static_cast<index_t>(s.ids.size()) - 1, " (the sequence has ",
                       s.ids.size(), " tokens), found ", s.from));
    const auto middle = s.ids.begin() + static_cast<std::ptrdiff_t>(s.from);
    example& whole = data.emplace_back();
    whole.prompt.assign(s.ids.begin(), middle);
    whole.replies.emplace_back().tokens.assign(middle, s.ids.end());
    whole.place = join("sequence ", i);
    if (!adapters.empty()) whole.adapter = adapters[i];
  }
  auto asked = what;
  asked.words = !(what.rewards && model.config().encodes());  // an encoder says its number alone
  std::vector<token_scores> out(sequences.size());
  scorer<B, T> engine(model);
  training_batch batch;
  for_each_run(data, batch_tokens, [&](std::size_t first, std::size_t count) {
    batch.assign(std::span<const example>(data).subspan(first, count));
    const batch_scores& scores = engine.run(batch, asked);
    for (std::size_t k = 0; k < count; ++k) {
      const auto& r = batch.replies[k];
      const auto begin = static_cast<std::ptrdiff_t>(r.first), end = static_cast<std::ptrdiff_t>(r.first + r.count);
      token_scores& s = out[order[first + k]];
      if (asked.words) s.logp.assign(scores.logp.begin() + begin, scores.logp.begin() + end);
      if (asked.words && asked.head.entropy)
        s.entropy.assign(scores.entropy.begin() + begin, scores.entropy.begin() + end);
      if (asked.rewards) s.reward = scores.reward[static_cast<std::size_t>(end - 1)];
    }
  });
  return out;
}

}  // namespace detail

/// Scores sequences in batches of at most `batch_tokens` tokens; what one sequence gets does not depend on the others.
/// `adapters` off scores the reference; `head` adds rewards. Throws errc::bad_argument, naming the sequence, for a `from` that leaves nothing to score.
template <class B, class T>
std::vector<token_scores> score(const language_model<B, T>& model, std::span<const scored_tokens> sequences,
                                bool entropy = false, bool adapters = true, index_t batch_tokens = 2048,
                                const score_head<B, T>* head = nullptr) {
  return detail::score_with<B, T>(
      model, sequences, {.adapters = adapters, .head = {.entropy = entropy}, .score = head, .rewards = head != nullptr},
      batch_tokens, {});
}

/// Scores sequences[i] with the adapter called names[i], all in one batch; "" is the bare model.
/// Throws errc::bad_argument for a name that the set lacks, listing those it has.
template <class B, class T>
std::vector<token_scores> score(const adapter_set<B, T>& adapters, std::span<const scored_tokens> sequences,
                                std::span<const std::string> names, bool entropy = false) {
  detail::check_names(sequences.size(), names.size());
  adapters.check_bare();
  return detail::score_with<B, T>(adapters.model(), sequences,
                                  {.named = &adapters.table(), .head = {.entropy = entropy}}, 2048,
                                  adapters.numbers(names));
}

/// The same for a policy with its adapter, and with its score head if it has one.
template <class B, class T>
std::vector<token_scores> score(const policy<B, T>& p, std::span<const scored_tokens> sequences, bool entropy = false) {
  return score(p.model(), sequences, entropy, true, 2048, p.score_head() ? &*p.score_head() : nullptr);
}

}  // namespace plumb::inline v0
