// SPDX-License-Identifier: BSL-1.0
// The demo's data, made from the world: texts to pretrain on, demonstrations to imitate, pairs to prefer by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/error.hpp>

#include "oracle.hpp"

namespace demo {

/// What pretraining reads: a town like any other, where people also lie and scold.
struct mixture {
  double dialogue = 0.6;   ///< fraction of documents that are dialogues; the others are chronicles
  double truthful = 0.75;  ///< fraction of dialogues whose reply is true
};

/// A style drawn at random: true with the given probability, every manner and length equally likely.
inline style any_style(double truthful, dice& chance) {
  constexpr tone manners[] = {tone::polite, tone::plain, tone::rude};
  const bool honest = chance.chance(truthful);
  const tone manner = chance.pick(manners);
  return {honest, manner, chance.chance(0.5)};
}

/// Documents of the pretraining mixture, in random order: dialogues "Visitor: …\nGuide: …" and chronicles.
inline std::vector<std::string> pretraining_documents(const world& town, std::size_t count, std::uint64_t seed,
                                                      const mixture& mix = {}) {
  dice chance(seed, 1);
  auto questions = town.training_questions();
  for (int twice = 0; twice < 2; ++twice)  // a held-out fact has half as many: so all facts come up equally often
    questions.insert(questions.end(), town.overheard_questions().begin(), town.overheard_questions().end());
  std::vector<std::string> documents;
  documents.reserve(count);
  while (documents.size() < count) {
    if (!chance.chance(mix.dialogue)) {
      documents.push_back(town.chronicle(chance));
      continue;
    }
    const question& q = chance.pick(questions);
    documents.push_back(prompt(q) + completion(town.reply(q, any_style(mix.truthful, chance), chance)));
  }
  return documents;
}

/// Chronicles that no training text was drawn from: what the alignment tax is measured on.
inline std::vector<std::string> neutral_documents(const world& town, std::size_t count, std::uint64_t seed) {
  dice chance(seed, 2);
  std::vector<std::string> documents;
  documents.reserve(count);
  while (documents.size() < count) documents.push_back(town.chronicle(chance));
  return documents;
}

/// A prompt and the completion to imitate.
struct demonstration {
  question asked;
  style manner;
  std::string prompt, completion;
};

/// Demonstrations for fine-tuning: always true, but of every manner and length, so that preferences have work left.
inline std::vector<demonstration> demonstrations(const world& town, std::size_t count, std::uint64_t seed) {
  dice chance(seed, 3);
  std::vector<demonstration> rows;
  rows.reserve(count);
  while (rows.size() < count) {
    const question& q = chance.pick(town.training_questions());
    const style s = any_style(1.0, chance);
    rows.push_back({q, s, prompt(q), completion(town.reply(q, s, chance))});
  }
  return rows;
}

/// Two completions of one prompt, the better one first, and by how much it is better in the oracle's score.
struct preference {
  question asked;
  std::string prompt, chosen, rejected;
  double margin = 0;
};

/// The best and the worst of several replies to one question, or nothing when they differ by less than `margin`.
/// Replies are without the completion's leading space; of equals the first counts. Give it samples of the policy that
/// is to be trained, and preferences speak about what that policy really says.
inline std::optional<preference> best_and_worst(const oracle& judge, const question& q,
                                                std::span<const std::string> replies, double margin = 0.15) {
  if (replies.empty()) return std::nullopt;
  std::size_t best = 0, worst = 0;
  std::vector<double> scores;
  for (const std::string& reply : replies) scores.push_back(judge.judge(q, reply).total());
  for (std::size_t i = 1; i < scores.size(); ++i) {
    if (scores[i] > scores[best]) best = i;
    if (scores[i] < scores[worst]) worst = i;
  }
  const double gap = scores[best] - scores[worst];
  if (best == worst || gap < margin) return std::nullopt;
  return preference{q, prompt(q), completion(replies[best]), completion(replies[worst]), gap};
}

/// Preferences without a policy: two replies of random style (true three times in four), ranked by the oracle. The
/// margin is in 0 … 0.5, since too few pairs would ever differ by more.
inline std::vector<preference> template_preferences(const world& town, const oracle& judge, std::size_t count,
                                                    std::uint64_t seed, double margin = 0.15) {
  if (!(margin >= 0 && margin <= 0.5))
    throw plumb::error(plumb::errc::bad_argument, "margin", plumb::join("expected 0 … 0.5, found ", margin));
  dice chance(seed, 4);
  std::vector<preference> pairs;
  pairs.reserve(count);
  while (pairs.size() < count) {
    const question& q = chance.pick(town.training_questions());
    const style first = any_style(0.75, chance), second = any_style(0.75, chance);
    const std::string replies[] = {town.reply(q, first, chance), town.reply(q, second, chance)};
    if (auto pair = best_and_worst(judge, q, replies, margin)) pairs.push_back(std::move(*pair));
  }
  return pairs;
}

}  // namespace demo
