// SPDX-License-Identifier: BSL-1.0
// Answers that the oracle has ranked, and the rows that objectives are shown of them.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "exam.hpp"
#include "lessons.hpp"

namespace demo {

/// A question and a group of replies to it, best first by the oracle.
struct ranked_answers {
  question asked;
  std::vector<marked_reply> replies;
};

/// What conditional training puts in front of a question: one token each, which nobody in town writes.
inline constexpr std::string_view good_word = ">", bad_word = "<";

/// The same questions with a control word in front.
inline std::vector<question> asked_with(std::string_view word, std::span<const question> questions) {
  std::vector<question> out(questions.begin(), questions.end());
  for (question& q : out) q.control = word;
  return out;
}

inline constexpr double least_gap = 0.15;  ///< two replies whose scores differ by less teach nothing

/// The best and the worst reply of each group, when they differ enough to teach something.
inline std::vector<preference> preferences_of(std::span<const ranked_answers> answers) {
  std::vector<preference> pairs;
  for (const ranked_answers& a : answers) {
    const double gap = a.replies.front().marks.total() - a.replies.back().marks.total();
    if (gap >= least_gap)
      pairs.push_back(
          {a.asked, prompt(a.asked), completion(a.replies.front().text), completion(a.replies.back().text), gap});
  }
  return pairs;
}

/// Both replies of each such pair as demonstrations, the control word of each saying which it is.
inline std::vector<plumb::example> conditioned_rows(const plumb::tokenizer& words, std::span<const preference> pairs) {
  std::vector<plumb::example> out;
  for (const preference& p : pairs) {
    out.push_back(row(words, plumb::join(good_word, p.prompt), {p.chosen}));
    out.push_back(row(words, plumb::join(bad_word, p.prompt), {p.rejected}));
  }
  return out;
}

/// Groups in their order; of a fixed size: its best replies and the worst of all.
inline std::vector<plumb::example> groups_of(const plumb::tokenizer& words, std::span<const ranked_answers> answers,
                                             plumb::index_t size) {
  std::vector<plumb::example> out;
  for (const ranked_answers& a : answers) {
    plumb::example e{words.encode(prompt(a.asked)), {}};
    for (const marked_reply& r : a.replies) {
      e.replies.push_back({words.encode(completion(r.text))});
      e.replies.back().tokens.push_back(*words.eos());
    }
    if (size > 0) e.replies.erase(e.replies.begin() + size - 1, e.replies.end() - 1);
    out.push_back(std::move(e));
  }
  return out;
}

}  // namespace demo
