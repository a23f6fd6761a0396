// SPDX-License-Identifier: BSL-1.0
// From a round of samples to rows: what each online objective is shown.
#include "online.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include <plumb/models/score_head.hpp>
#include <plumb/rollout/advantage.hpp>
#include <plumb/rollout/estimate.hpp>
#include <plumb/rollout/select.hpp>
#include <plumb/rollout/token_rewards.hpp>

#include "rollouts.hpp"

namespace demo {

namespace {

using rows_of_round = std::vector<plumb::example>;

constexpr double kl_in_reward = 0.05;  ///< β where the distance from the SFT model is a part of the reward
constexpr double faultless = 0.99;     ///< demonstrations that SPIN and DNO take for their own

double score_of(const marked_reply& r) { return r.marks.total(); }
double sum(std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0); }

/// One online run: how it samples, and what it makes of the samples.
class course {
 public:
  course(student& policy, const contender& c, const classroom& room, std::uint64_t seed)
      : policy_(policy), words_(policy.model().tokenizer()), shown_(c.shown), room_(room), order_(seed, 6) {
    for (const ranked_answers& a : room.answers) {
      if (questions_.empty() || questions_.back().asked != a.asked.asked) questions_.push_back(a.asked);
      for (const marked_reply& r : a.replies) scores_of_sft_[a.asked.asked].push_back(r.marks.total());
    }
    for (const demonstration& d : room.demonstrations) {
      const std::string told = d.completion.substr(1);
      if (room.judge.judge(d.asked, told).total() >= faultless) demonstrations_[d.asked.asked].push_back(told);
    }
    next_ = questions_.size();
  }

  /// Questions that are asked in a round. Without a ratio to the policy that sampled, one update is made of each round;
  /// otherwise two; where the reference is the policy of the round, fourteen.
  [[nodiscard]] std::size_t questions_a_round() const {
    switch (shown_) {
      case lesson::leave_one_out:
      case lesson::greedy_baseline:
      case lesson::length_baseline:
      case lesson::duels: return 16;
      case lesson::self_play:
      case lesson::with_teacher: return 224;
      default: return 32;
    }
  }

  [[nodiscard]] sampled_round sample(std::uint64_t number) {
    sampled_round round;
    while (round.asked.size() < questions_a_round()) {
      if (next_ == questions_.size()) order_.shuffle(std::span(questions_)), next_ = 0;
      round.asked.push_back(questions_[next_++]);
    }
    rules_ = room_.rules;
    rules_.seed = plumb::derive_key(room_.rules.seed + 2000, number);
    const auto group = static_cast<plumb::index_t>(room_.answers.front().replies.size());
    const bool halved = shown_ == lesson::reference_rival;  // the other half is the reference's
    round.replies = replies(round.asked, 1, halved ? group / 2 : group);
    return round;
  }

  [[nodiscard]] rows_of_round teach(const sampled_round& round) {
    switch (shown_) {
      case lesson::leave_one_out: return rows(round, plumb::rloo_advantages(penalised(round), round.groups()));
      case lesson::greedy_baseline: return rows(round, against_greedy(round));
      case lesson::length_baseline: {
        const auto lengths = round.lengths();
        const std::vector<double> as_numbers(lengths.begin(), lengths.end());
        return rows(round, plumb::opo_advantages(penalised(round), as_numbers, round.groups()));
      }
      case lesson::token_returns: return rows(round, returns(round));
      case lesson::group_relative: return rows(round, plumb::group_advantages(round.rewards(), round.groups()));
      case lesson::group_centred:
        return rows(round, plumb::group_advantages(round.rewards(), round.groups(), plumb::advantage_scale::none));
      case lesson::varied_groups: return varied_groups(round);
      case lesson::critic: return with_values(round);
      case lesson::optimal_value: return rows(round, over_optimal_value(round));
      case lesson::duels: return rows(round, shares_of_duels(round));
      case lesson::self_play:
      case lesson::with_teacher: return against_demonstrations(round);
      default: return best_and_worst(round);
    }
  }

 private:
  [[nodiscard]] std::vector<std::vector<marked_reply>> replies(std::span<const question> asked, double temperature,
                                                               plumb::index_t count) const {
    return replies_to(policy_, room_.judge, asked, rules_, temperature, count);
  }

  /// A row of each question, its replies with their advantages: one for each reply, or one for each token.
  [[nodiscard]] rows_of_round rows(const sampled_round& round, std::span<const double> advantages) const {
    rows_of_round out;
    const auto lengths = round.lengths();
    const bool by_token = advantages.size() != lengths.size();
    std::size_t at = 0;
    for (std::size_t q = 0; q < round.asked.size(); ++q) {
      out.push_back(row(words_, round.asked[q]));
      for (const marked_reply& r : round.replies[q]) {
        const auto own = advantages.subspan(at, by_token ? r.drawn.tokens.size() : 1);
        out.back().replies.push_back(learnt(r));
        out.back().replies.back().advantages.assign(own.begin(), own.end());
        at += own.size();
      }
    }
    return out;
  }

  /// r − β (log π − log π_ref), [replies].
  [[nodiscard]] std::vector<double> penalised(const sampled_round& round) const {
    const auto reference = reference_scores(policy_.model(), round.asked, round.replies);
    std::vector<double> out;
    for (const auto& group : round.replies)
      for (const marked_reply& r : group)
        out.push_back(r.marks.total() - kl_in_reward * (sum(r.drawn.logp) - sum(reference[out.size()].logp)));
    return out;
  }

  [[nodiscard]] std::vector<double> against_greedy(const sampled_round& round) const {
    const auto greedy = replies(round.asked, 0, 1);
    std::vector<double> baseline;
    for (const plumb::index_t q : round.groups())
      baseline.push_back(greedy[static_cast<std::size_t>(q)].front().marks.total());
    return plumb::remax_advantages(penalised(round), baseline);
  }

  [[nodiscard]] std::vector<double> returns(const sampled_round& round) const {
    const auto reference = reference_scores(policy_.model(), round.asked, round.replies);
    std::vector<double> rewards;
    std::size_t which = 0;
    for (const auto& group : round.replies)
      for (const marked_reply& r : group) {
        const auto own = plumb::token_rewards(r.marks.total(), r.drawn.logp, reference[which++].logp, kl_in_reward);
        rewards.insert(rewards.end(), own.begin(), own.end());
      }
    return plumb::reinforce_plus_plus(rewards, round.lengths());
  }

  /// DAPO's: replies near the longest that are allowed lose, and groups whose replies are all as good are left out.
  [[nodiscard]] rows_of_round varied_groups(const sampled_round& round) const {
    auto rewards = round.rewards();
    const auto lengths = round.lengths();
    const auto longest = static_cast<double>(room_.rules.longest);
    for (std::size_t i = 0; i < rewards.size(); ++i)
      rewards[i] += plumb::overlong_penalty(static_cast<double>(lengths[i]), longest, longest / 3);
    auto all = rows(round, plumb::group_advantages(rewards, round.groups()));
    std::erase_if(all, [](const plumb::example& e) {
      return std::all_of(e.replies.begin(), e.replies.end(), [](const auto& r) { return r.advantages[0] == 0; });
    });
    return all;
  }

  /// PPO's, a row of each reply: values of the critic, returns and generalised advantages, with the KL in the reward.
  [[nodiscard]] rows_of_round with_values(const sampled_round& round) const {
    rows_of_round out;
    for (std::size_t q = 0; q < round.asked.size(); ++q)
      for (const marked_reply& r : round.replies[q]) out.push_back(row(words_, round.asked[q], {learnt(r)}));
    plumb::estimate_advantages(policy_, std::span(out), round.rewards(), {.kl_weight = kl_in_reward});
    return out;
  }

  [[nodiscard]] std::vector<double> over_optimal_value(const sampled_round& round) const {
    auto out = round.rewards();
    std::size_t at = 0;
    for (std::size_t q = 0; q < round.asked.size(); ++q) {
      const double value = plumb::optimal_value(scores_of_sft_.at(round.asked[q].asked));
      for (std::size_t k = 0; k < round.replies[q].size(); ++k) out[at++] -= value;
    }
    return out;
  }

  [[nodiscard]] std::vector<double> shares_of_duels(const sampled_round& round) const {
    std::vector<double> out;
    for (const auto& group : round.replies)
      for (const marked_reply& own : group) {
        double wins = -0.5;  // the duel with itself
        for (const marked_reply& other : group) wins += duel(own.marks, other.marks);
        out.push_back(wins / static_cast<double>(group.size() - 1) - 0.5);
      }
    return out;
  }

  /// The best reply of each group alone, or against the worst; of the policy's samples, or the worst of the SFT model's.
  [[nodiscard]] rows_of_round best_and_worst(const sampled_round& round) {
    std::vector<std::vector<marked_reply>> rivals;
    if (shown_ == lesson::reference_rival) {
      const student::adapter_off reference(policy_);
      rivals = replies(round.asked, 1, static_cast<plumb::index_t>(round.replies.front().size()));
    }
    rows_of_round out;
    for (std::size_t q = 0; q < round.asked.size(); ++q) {
      const marked_reply& best = *std::ranges::max_element(round.replies[q], {}, score_of);
      const marked_reply& worst =
          *std::ranges::min_element(rivals.empty() ? round.replies[q] : rivals[q], {}, score_of);
      if (shown_ == lesson::best_of)
        out.push_back(row(words_, round.asked[q], {{.tokens = best.drawn.tokens}}));
      else if (score_of(best) - score_of(worst) >= least_gap)
        out.push_back(row(words_, round.asked[q], {{.tokens = best.drawn.tokens}, {.tokens = worst.drawn.tokens}}));
    }
    return out;
  }

  /// SPIN's and DNO's pairs: a faultless demonstration, or a sample that is as good, against a sample. The policy as it is
  /// now is the reference, as long as rows of this round are learnt from.
  [[nodiscard]] rows_of_round against_demonstrations(const sampled_round& round) {
    rows_of_round out;
    for (std::size_t q = 0; q < round.asked.size(); ++q) {
      const auto known = demonstrations_.find(round.asked[q].asked);
      if (known == demonstrations_.end()) continue;
      const marked_reply& best = *std::ranges::max_element(round.replies[q], {}, score_of);
      const bool plays = shown_ == lesson::self_play;
      const marked_reply& rejected =
          plays ? round.replies[q].front() : *std::ranges::min_element(round.replies[q], {}, score_of);
      if (!plays && faultless - score_of(rejected) < least_gap) continue;
      const bool imitates = plays || score_of(best) < faultless;
      plumb::reply chosen{.tokens = best.drawn.tokens, .reference = sum(best.drawn.logp)};
      if (imitates) chosen = {.tokens = words_.encode(completion(order_.pick(known->second)))};
      if (imitates) chosen.tokens.push_back(*words_.eos());
      if (chosen.tokens == rejected.drawn.tokens) continue;
      plumb::example pair = row(words_, round.asked[q], {chosen, {.tokens = rejected.drawn.tokens}});
      if (imitates) pair.replies[0].reference = log_probability(pair.prompt, pair.replies[0].tokens);
      pair.replies[1].reference = sum(rejected.drawn.logp);
      out.push_back(std::move(pair));
    }
    return out;
  }

  /// log π of a reply under the policy as it is.
  [[nodiscard]] double log_probability(std::span<const plumb::token_id> asked,
                                       std::span<const plumb::token_id> reply) const {
    const plumb::scored_tokens whole = whole_reply(asked, reply);
    return sum(plumb::score(policy_.model(), std::span<const plumb::scored_tokens>(&whole, 1)).front().logp);
  }

  student& policy_;
  const plumb::tokenizer& words_;
  lesson shown_;
  const classroom& room_;
  exam_rules rules_;
  dice order_;
  std::vector<question> questions_;
  std::size_t next_ = 0;
  std::map<std::string, std::vector<double>> scores_of_sft_;
  std::map<std::string, std::vector<std::string>> demonstrations_;
};

}  // namespace

double learn_online(student& policy, const contender& c, const classroom& room, plumb::fit_options o,
                    std::vector<plumb::log_entry>& log) {
  if (c.shown == lesson::critic) plumb::attach_score_head(policy, {.critic = true, .deviation = 0});
  course lessons(policy, c, room, o.seed);
  o.steps = (static_cast<plumb::index_t>(room.answers.size()) + o.batch - 1) / o.batch;
  if (c.shown == lesson::critic) o.batch *= static_cast<plumb::index_t>(room.answers.front().replies.size());
  std::vector<plumb::log_entry> scores;
  rollout_stream rows(
      o.steps * o.batch, [&](std::uint64_t number) { return lessons.sample(number); },
      [&](const sampled_round& round) { return lessons.teach(round); },
      [&](plumb::index_t drawn, const sampled_round& round) {
        const auto rewards = round.rewards();
        scores.push_back({.step = drawn / o.batch});
        scores.back().set("oracle", sum(rewards) / static_cast<double>(rewards.size()));
      });
  const double seconds = train(policy, c, rows, o, log);
  for (plumb::log_entry& entry : scores) log.push_back(std::move(entry));
  return seconds;
}

}  // namespace demo
