// SPDX-License-Identifier: BSL-1.0
// The examination: held-out questions, answered by a model and marked by the oracle. Every model sits the same one,
// with the same sampling settings; nothing that is asked here was ever asked in training.
#pragma once

#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <plumb/rollout/generate.hpp>
#include <plumb/rollout/score.hpp>

#include "lessons.hpp"

namespace demo {

/// How replies are drawn.
struct exam_rules {
  plumb::index_t samples = 8;   ///< replies to each question at the temperature below, beside one greedy reply
  double temperature = 1;       ///< 1: the model's own distribution
  plumb::index_t longest = 48;  ///< tokens of a reply
  std::uint64_t seed = 0;
};

/// A reply with what the oracle thinks of it.
struct marked_reply {
  std::string text;
  verdict marks;
  plumb::generated drawn;
};

/// One model's replies to the examination.
struct exam_paper {
  std::vector<marked_reply> greedy;                ///< [questions]
  std::vector<std::vector<marked_reply>> sampled;  ///< [questions][samples]
  double perplexity = 0;                           ///< per token of text that is nobody's reply
};

/// A mean and its standard error.
struct estimate {
  double mean = 0, error = 0;
};

/// Answers to every question: `samples` of them at a temperature, or one greedy reply at temperature 0.
template <class Policy>
std::vector<std::vector<marked_reply>> replies_to(const Policy& model, const oracle& judge,
                                                  std::span<const question> questions, const exam_rules& rules,
                                                  double temperature, plumb::index_t samples) {
  plumb::generate_options how;
  how.max_tokens = rules.longest;
  how.samples = samples;
  how.sampling.temperature = temperature;
  how.sampling.seed = rules.seed;
  const auto asked = prompts(questions);
  const auto drawn = plumb::generate(model, std::span<const std::string>(asked), how);
  std::vector<std::vector<marked_reply>> out(questions.size());
  for (std::size_t q = 0; q < questions.size(); ++q)
    for (const plumb::generated& g : drawn[q]) {
      const std::string reply = g.text.starts_with(' ') ? g.text.substr(1) : g.text;  // completions begin with a blank
      out[q].push_back({reply, judge.judge(questions[q], reply), g});
    }
  return out;
}

/// exp of the mean negative log-probability of a token of `documents`.
template <class B, class T>
double perplexity(const plumb::language_model<B, T>& model, std::span<const std::string> documents) {
  std::vector<plumb::scored_tokens> texts;
  for (const plumb::example& e : whole_texts(model.tokenizer(), documents)) texts.push_back({e.replies[0].tokens});
  double sum = 0, count = 0;
  for (const auto& scores : plumb::score(model, std::span<const plumb::scored_tokens>(texts)))
    for (const double logp : scores.logp) sum += logp, ++count;
  return std::exp(-sum / count);
}

/// The whole examination of a policy with all its adapters.
template <class B, class T>
exam_paper examine(const plumb::policy<B, T>& model, const oracle& judge, std::span<const question> questions,
                   std::span<const std::string> neutral, const exam_rules& rules) {
  exam_paper paper;
  for (auto& replies : replies_to(model, judge, questions, rules, 0, 1))
    paper.greedy.push_back(std::move(replies.front()));
  paper.sampled = replies_to(model, judge, questions, rules, rules.temperature, rules.samples);
  paper.perplexity = perplexity(model.model(), neutral);
  return paper;
}

/// The oracle's scores of sampled replies, [questions][samples].
inline std::vector<std::vector<double>> marks_of(const exam_paper& paper) {
  std::vector<std::vector<double>> out;
  for (const auto& replies : paper.sampled) {
    out.emplace_back();
    for (const marked_reply& r : replies) out.back().push_back(r.marks.total());
  }
  return out;
}

/// The mean oracle score of greedy, or of sampled replies.
inline double greedy_score(const exam_paper& paper) {
  double sum = 0;
  for (const marked_reply& r : paper.greedy) sum += r.marks.total();
  return sum / static_cast<double>(paper.greedy.size());
}
inline double sampled_score(const exam_paper& paper) {
  double sum = 0, count = 0;
  for (const auto& replies : paper.sampled)
    for (const marked_reply& r : replies) sum += r.marks.total(), ++count;
  return sum / count;
}

/// How often the first model's greedy reply scores higher than the second's; a tie counts half.
inline double greedy_win_rate(const exam_paper& first, const exam_paper& second) {
  double sum = 0;
  for (std::size_t q = 0; q < first.greedy.size(); ++q) sum += duel(first.greedy[q].marks, second.greedy[q].marks);
  return sum / static_cast<double>(first.greedy.size());
}
/// The same for sampled replies: every sample of the one against every sample of the other for the same question.
inline double sampled_win_rate(const exam_paper& first, const exam_paper& second) {
  double sum = 0, count = 0;
  for (std::size_t q = 0; q < first.sampled.size(); ++q)
    for (const marked_reply& a : first.sampled[q])
      for (const marked_reply& b : second.sampled[q]) sum += duel(a.marks, b.marks), ++count;
  return sum / count;
}

/// A reply behind its prompt, ready to be scored.
inline plumb::scored_tokens whole_reply(std::span<const plumb::token_id> asked,
                                        std::span<const plumb::token_id> reply) {
  plumb::scored_tokens whole{{asked.begin(), asked.end()}, static_cast<plumb::index_t>(asked.size())};
  whole.ids.insert(whole.ids.end(), reply.begin(), reply.end());
  return whole;
}
/// Replies [questions][samples] in one list, each behind its prompt.
inline std::vector<plumb::scored_tokens> whole_replies(const plumb::tokenizer& words,
                                                       std::span<const question> questions,
                                                       std::span<const std::vector<marked_reply>> replies) {
  std::vector<plumb::scored_tokens> texts;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const auto asked = words.encode(prompt(questions[q]));
    for (const marked_reply& r : replies[q]) texts.push_back(whole_reply(asked, r.drawn.tokens));
  }
  return texts;
}

/// log π_ref of the tokens of replies [questions][samples], in their order: the model without its adapter.
template <class B, class T>
std::vector<plumb::token_scores> reference_scores(const plumb::language_model<B, T>& model,
                                                  std::span<const question> questions,
                                                  std::span<const std::vector<marked_reply>> replies) {
  const auto texts = whole_replies(model.tokenizer(), questions, replies);
  return plumb::score(model, std::span<const plumb::scored_tokens>(texts), false, false);
}

/// KL(policy ‖ reference) per reply, in nats: the mean over the policy's own samples at temperature 1 of
/// log π(y|x) − log π_ref(y|x), which has no bias. The reference is the policy with its adapter off.
template <class B, class T>
estimate divergence(const plumb::policy<B, T>& model, std::span<const question> questions, const exam_paper& paper) {
  const auto reference = reference_scores(model.model(), questions, paper.sampled);
  double sum = 0, squares = 0;
  std::size_t at = 0;
  for (const auto& replies : paper.sampled)
    for (const marked_reply& r : replies) {
      double ratio = 0;
      for (const double logp : r.drawn.logp) ratio += logp;
      for (const double logp : reference[at++].logp) ratio -= logp;
      sum += ratio;
      squares += ratio * ratio;
    }
  const double n = static_cast<double>(reference.size()), mean = sum / n;
  return {mean, n > 1 ? std::sqrt(std::max(0.0, squares / n - mean * mean) / (n - 1)) : 0};
}

}  // namespace demo
