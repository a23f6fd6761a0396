// SPDX-License-Identifier: BSL-1.0
// From a round of samples to rows: what each online objective is shown.
#include "online.hpp"

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
constexpr double margin = 0.15;        ///< pairs that differ by less teach nothing, as offline

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
    for (const demonstration& d : room.demonstrations) demonstrations_[d.asked.asked].push_back(d.completion.substr(1));
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
      default: return imitations_and_pairs(round);
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

  [[nodiscard]] rows_of_round imitations_and_pairs(const sampled_round& round) {
    std::vector<std::vector<marked_reply>> rivals;
    if (shown_ == lesson::reference_rival) {
      const student::adapter_off reference(policy_);
      rivals = replies(round.asked, 1, static_cast<plumb::index_t>(round.replies.front().size()));
    }
    rows_of_round out;
    for (std::size_t q = 0; q < round.asked.size(); ++q) {
      const question& asked = round.asked[q];
      const auto& own = round.replies[q];
      const auto& others = rivals.empty() ? own : rivals[q];
      const auto by_score = [](const marked_reply& a, const marked_reply& b) {
        return a.marks.total() < b.marks.total();
      };
      const auto best = std::max_element(own.begin(), own.end(), by_score);
      const auto worst = std::min_element(others.begin(), others.end(), by_score);
      if (shown_ == lesson::best_of) {
        out.push_back(row(words_, asked, {{.tokens = best->drawn.tokens}}));
        continue;
      }
      if (shown_ != lesson::self_play && shown_ != lesson::with_teacher) {
        if (best->marks.total() - worst->marks.total() >= margin)
          out.push_back(row(words_, asked, {{.tokens = best->drawn.tokens}, {.tokens = worst->drawn.tokens}}));
        continue;
      }
      const auto shown = demonstrations_.find(asked.asked);
      if (shown == demonstrations_.end()) continue;
      const std::string& told = order_.pick(shown->second);
      const double worth = room_.judge.judge(asked, told).total();
      const bool imitates = shown_ == lesson::self_play || worth > best->marks.total();
      const auto& rejected = shown_ == lesson::self_play ? own.front() : *worst;
      if (shown_ == lesson::with_teacher && std::max(worth, best->marks.total()) - worst->marks.total() < margin)
        continue;
      plumb::example pair = row(words_, asked, {{.tokens = best->drawn.tokens}, {.tokens = rejected.drawn.tokens}});
      pair.replies[1].reference = sum(rejected.drawn.logp);  // the policy of this round is the reference
      pair.replies[0].reference = sum(best->drawn.logp);
      if (imitates) {
        pair.replies[0].tokens = words_.encode(completion(told));
        pair.replies[0].tokens.push_back(*words_.eos());
        pair.replies[0].reference = log_probability(pair.prompt, pair.replies[0].tokens);
      }
      out.push_back(std::move(pair));
    }
    return out;
  }

  /// log π of a reply under the policy as it is.
  [[nodiscard]] double log_probability(std::span<const plumb::token_id> asked,
                                       std::span<const plumb::token_id> reply) const {
    plumb::scored_tokens whole{{asked.begin(), asked.end()}, static_cast<plumb::index_t>(asked.size())};
    whole.ids.insert(whole.ids.end(), reply.begin(), reply.end());
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
