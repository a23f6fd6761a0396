// SPDX-License-Identifier: BSL-1.0
// Training reward models on the ranked answers, and holding their scores against the oracle's.
#include "reward_models.hpp"

#include <algorithm>
#include <iterator>

#include <plumb/models/attach_lora.hpp>
#include <plumb/models/score_head.hpp>

#include "results.hpp"

namespace demo {

namespace {

using plumb::join;

constexpr int untrained_heads = 16;  ///< one random direction may agree with the oracle by luck; their mean does not

/// Groups of the best reply and those that the oracle likes less.
std::vector<ranked_answers> without_equals_of_the_best(std::span<const ranked_answers> answers) {
  std::vector<ranked_answers> out;
  for (const ranked_answers& a : answers) {
    ranked_answers kept{a.asked, {a.replies.front()}};
    for (const marked_reply& r : a.replies)
      if (duel(kept.replies.front().marks, r.marks) == 1) kept.replies.push_back(r);
    if (kept.replies.size() > 1) out.push_back(std::move(kept));
  }
  return out;
}

/// The scores that a policy's head gives to the replies of a paper, held against the oracle's.
judgement judge_paper(const student& judge, std::span<const question> questions, const exam_paper& paper) {
  const auto texts = whole_replies(judge.model().tokenizer(), questions, paper.sampled);
  const auto scores = plumb::score(judge, std::span<const plumb::scored_tokens>(texts));
  std::vector<std::vector<double>> own;
  auto next = scores.begin();
  for (const auto& replies : paper.sampled) {
    own.emplace_back();
    for (std::size_t i = 0; i < replies.size(); ++i) own.back().push_back((next++)->reward);
  }
  return judge_scores(own, marks_of(paper));
}

/// The mean judgement of score heads as they are before training.
reward_model_result judge_untrained(student& policy, std::span<const question> questions, const exam_paper& paper,
                                    std::uint64_t seed) {
  reward_model_result r{.entry = {"untrained heads", ""}};
  for (int head = 0; head < untrained_heads; ++head) {
    plumb::attach_score_head(policy, {.seed = seed + 1000 + static_cast<std::uint64_t>(head)});
    const judgement j = judge_paper(policy, questions, paper);
    plumb::detach_score_head(policy);
    r.judged.ordered += j.ordered / untrained_heads;
    r.judged.correlation += j.correlation / untrained_heads;
    r.judged.best += j.best / untrained_heads;
  }
  return r;
}

}  // namespace

std::vector<plumb::example> reward_rows(std::string_view objective, const plumb::tokenizer& words, const oracle& judge,
                                        std::span<const ranked_answers> answers) {
  if (objective == "plackett_luce") return groups_of(words, answers, 0);
  if (objective == "infonce") return groups_of(words, without_equals_of_the_best(answers), 0);
  const auto pairs = preferences_of(answers);
  if (objective == "reward") return rows(words, std::span<const preference>(pairs));
  std::vector<plumb::example> out;
  for (const preference& p : pairs)
    for (const std::string& text : {p.chosen, p.rejected}) {
      plumb::reply& r = out.emplace_back(row(words, p.prompt, {text})).replies[0];
      if (objective == "process_reward")
        r.targets = labels_of_parts(words, judge, p.asked, r.tokens);
      else
        r.targets = {judge.judge(p.asked, text).total()};
    }
  return out;
}

std::vector<reward_model_result> hold_reward_contest(const base_model& model, std::span<const ranked_answers> answers,
                                                     const oracle& judge, std::span<const question> questions,
                                                     const exam_paper& sft, const contest_rules& rules,
                                                     std::span<const std::string> only) {
  const screen out;
  std::vector<reward_model_result> results;
  for (const contender& c : all_reward_models) {
    if (!c.wanted(only)) continue;
    auto policy = plumb::attach_lora(model, {.rank = rules.rank, .seed = rules.seed});
    if (results.empty()) results.push_back(judge_untrained(policy, questions, sft, rules.seed));
    plumb::attach_score_head(policy, {.seed = rules.seed});
    reward_model_result r{.entry = c};
    auto rows = reward_rows(c.objective(), model.tokenizer(), judge, answers);
    r.seconds = demo::train(policy, c, std::move(rows), options_of(rules), r.log);
    r.judged = judge_paper(policy, questions, sft);
    out.line(join("  ", filled(c.name, 20), "orders ", percent(r.judged.ordered), ", ", fixed(r.seconds, 1), " s"));
    results.push_back(std::move(r));
  }
  return results;
}

}  // namespace demo
