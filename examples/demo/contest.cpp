// SPDX-License-Identifier: BSL-1.0
// The contest of the objectives: `./dev demo --all`.
#include "contest.hpp"

#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/attach_lora.hpp>
#include <plumb/objective/registry.hpp>

#include "lessons.hpp"
#include "online.hpp"
#include "results.hpp"
#include "training.hpp"

namespace demo {

namespace {

using plumb::join;

/// How likely a better model finds each token of the rows, as their reference.
void ask_guide(const base_model& guide, std::vector<plumb::example>& rows) {
  std::vector<plumb::scored_tokens> texts;
  for (const plumb::example& e : rows)
    for (const plumb::reply& r : e.replies) texts.push_back(whole_reply(e.prompt, r.tokens));
  const auto scores = plumb::score(guide, std::span<const plumb::scored_tokens>(texts));
  std::size_t at = 0;
  for (plumb::example& e : rows)
    for (plumb::reply& r : e.replies) {
      r.token_references = scores[at++].logp;
      r.reference = 0;
      for (const double logp : r.token_references) r.reference += logp;
    }
}

/// What is the same for all contenders of a contest.
class contest {
 public:
  contest(const base_model& model, std::span<const ranked_answers> answers, const classroom& room,
          const contest_rules& rules)
      : model_(model), answers_(answers), room_(room), rules_(rules) {}

  /// A new adapter, trained as the contender says; the log and the time go into `r`.
  student train(const contender& c, contest_result& r) {
    if (c.shown == lesson::guided && !guide_) {  // before the contender's adapter takes the place of any other
      contest_result unused{.entry = all_contenders[0]};
      guide_ = plumb::merge_adapter(train(all_contenders[0], unused));
    }
    const wanted_rows wanted = rows_wanted_by(c);
    r.level = plumb::name(wanted.level);
    auto policy = plumb::attach_lora(model_, {.rank = rules_.rank, .seed = rules_.seed});
    const plumb::fit_options o = options_of(rules_);
    if (c.online()) {
      r.seconds = learn_online(policy, c, room_, o, r.log);
      return policy;
    }
    const auto& words = model_.tokenizer();
    auto rows = wanted.level == plumb::level::group
                    ? groups_of(words, answers_, wanted.replies)
                    : demo::rows(words, std::span<const preference>(preferences_of(answers_)));
    if (c.shown == lesson::conditional) rows = conditioned_rows(words, preferences_of(answers_));
    if (c.shown == lesson::best_replies)
      for (plumb::example& e : rows) e.replies.resize(1);
    std::optional<plumb::teacher<plumb::cpu, float>> teacher;
    if (c.objective() == "distill")
      teacher = plumb::teacher{*guide_};
    else if (c.shown == lesson::guided)
      ask_guide(*guide_, rows);
    r.seconds = demo::train(policy, c, std::move(rows), o, r.log, teacher);
    if (&c == &all_contenders[0]) guide_ = plumb::merge_adapter(policy);
    return policy;
  }

 private:
  const base_model& model_;
  std::span<const ranked_answers> answers_;
  const classroom& room_;
  const contest_rules& rules_;
  std::optional<base_model> guide_;  ///< what the first contender, dpo, made of the model
};

}  // namespace

plumb::fit_options options_of(const contest_rules& rules) {
  plumb::fit_options o;
  o.rate = rules.rate, o.epochs = rules.epochs, o.batch = rules.batch, o.seed = rules.seed;
  o.max_tokens = 128, o.schedule = plumb::schedule::kind::cosine, o.warmup = 0.1, o.log_every = 1;
  return o;
}

std::vector<contest_result> hold_contest(const base_model& model, std::span<const ranked_answers> answers,
                                         std::span<const demonstration> demonstrations, const oracle& judge,
                                         std::span<const question> questions, std::span<const std::string> neutral,
                                         const exam_paper& sft, const contest_rules& rules,
                                         std::span<const std::string> only) {
  const screen out;
  const classroom room{judge, answers, demonstrations, rules.exam};
  contest all(model, answers, room, rules);
  std::vector<contest_result> results;
  for (const contender& c : all_contenders) {
    if (!c.wanted(only)) continue;
    contest_result r{.entry = c};
    const student policy = all.train(c, r);
    const auto asked = asked_with(c.shown == lesson::conditional ? good_word : "", questions);
    r.paper = examine(policy, judge, asked, neutral, rules.exam);
    r.kl = divergence(policy, questions, r.paper);
    out.line(join("  ", filled(c.name, 20), "wins ", percent(greedy_win_rate(r.paper, sft)), " greedy, ",
                  percent(sampled_win_rate(r.paper, sft)), " sampled, KL ", fixed(r.kl.mean, 2), ", ",
                  fixed(r.seconds, 1), " s"));
    results.push_back(std::move(r));
  }
  return results;
}

}  // namespace demo
