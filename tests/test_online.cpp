// SPDX-License-Identifier: BSL-1.0
// Online training from end to end: sample, reward, estimate advantages, step; on a tiny model and token ids alone.
#include <plumb/models/score_head.hpp>
#include <plumb/objective/all.hpp>
#include <plumb/plumb.hpp>
#include <plumb/rollout/advantage.hpp>
#include <plumb/rollout/estimate.hpp>
#include <plumb/rollout/select.hpp>

#include "catch.hpp"
#include "support.hpp"

using namespace plumb;

namespace {

using B = cpu;
constexpr index_t group = 8;

policy<B> fresh() {
  return attach_lora(load_model<B>(plumb_test::repository() / "tests/golden/tiny_llama", {.threads = 2}),
                     {.rank = 4, .seed = 4});
}
const std::vector<std::vector<token_id>> prompts{{3, 14, 15}, {92, 6, 5, 35}, {8, 9}, {79, 32, 38, 46}};

/// Share of even tokens: what the policy shall learn.
double reward_of(const std::vector<token_id>& tokens) {
  double even = 0;
  for (const token_id t : tokens) even += t % 2 == 0 ? 1 : 0;
  return even / static_cast<double>(tokens.size());
}

struct rollout {
  std::vector<example> data;
  double mean = 0;  ///< reward
};
/// One batch of samples with group-relative advantages; `sign` −1 teaches the opposite.
rollout sample(const policy<B>& p, std::uint64_t seed, double sign = 1) {
  const auto replies = generate(p, std::span(prompts),
                                {.max_tokens = 6, .samples = group, .sampling = {.temperature = 1, .seed = seed}});
  rollout out;
  std::vector<double> rewards;
  std::vector<index_t> groups;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (const generated& r : replies[i]) {
      rewards.push_back(sign * reward_of(r.tokens));
      groups.push_back(static_cast<index_t>(i));
      out.data.push_back({.prompt = prompts[i], .replies = {{.tokens = r.tokens, .old = r.logp}}});
      out.mean += reward_of(r.tokens) / static_cast<double>(prompts.size() * group);
    }
  const auto advantages = group_advantages(rewards, groups);
  for (std::size_t i = 0; i < out.data.size(); ++i) out.data[i].replies[0].advantages = {advantages[i]};
  return out;
}
fit_options one_step() {
  fit_options o;
  o.rate = 2e-2;
  o.steps = 1;
  o.batch = 8;
  o.accumulate = 4;
  o.schedule = schedule::kind::constant;
  o.log_every = 1;
  return o;
}
/// Mean reward of the last of `rounds`, minus that of the first.
template <class Objective>
double gain(const Objective& objective, int rounds, double sign = 1) {
  auto p = fresh();
  double first = 0, last = 0;
  for (int round = 0; round < rounds; ++round) {
    auto batch = sample(p, static_cast<std::uint64_t>(round), sign);
    (round == 0 ? first : last) = batch.mean;
    auto o = one_step();
    o.steps = 2;  // in the second the policy is no longer the one that sampled
    fit(p, objective, std::move(batch.data), o);
  }
  return last - first;
}

}  // namespace

TEST_CASE("policy gradients raise the reward, and lower it with the opposite sign") {
  CHECK(gain(any_objective<level::token>(grpo{}), 12) > 0.15);
  CHECK(gain(any_objective<level::token>(grpo{}), 12, -1) < -0.15);  // control
  CHECK(gain(any_objective<level::token>(cispo{}), 12) > 0.15);
  CHECK(gain(any_objective<level::token>(gspo{}), 12) > 0.15);
  CHECK(gain(any_objective<level::sequence>(rloo{}), 12) > 0.15);
}

TEST_CASE("sampler and trainer agree to the bit, so that the first pass has ratio 1") {
  auto p = fresh();
  auto batch = sample(p, 1);
  const auto log = fit(p, any_objective<level::token>(ppo{.value_weight = 0}), batch.data, one_step()).log;
  CHECK(*log.back().find("val/ratio") == 1.0);
  CHECK(*log.back().find("policy/approxkl_avg") == 0.0);
  const auto again = fit(p, any_objective<level::token>(ppo{.value_weight = 0}), batch.data, one_step()).log;
  CHECK(*again.back().find("val/ratio") != 1.0);  // control: the policy has moved since
  CHECK(*again.back().find("policy/approxkl_avg") > 0.0);
  // Without `old`, replies count as sampled just now.
  for (auto& e : batch.data) e.replies[0].old.clear();
  const auto fresh_samples = fit(p, any_objective<level::token>(ppo{.value_weight = 0}), batch.data, one_step()).log;
  CHECK(*fresh_samples.back().find("val/ratio") == 1.0);
}

TEST_CASE("a step of an online objective does not depend on its micro-batches") {
  const auto trained = [&](const auto& objective, index_t micro) {
    auto p = fresh();
    auto batch = sample(p, 7);
    auto o = one_step();
    o.batch = micro, o.accumulate = 32 / micro;
    return fit(p, objective, std::move(batch.data), o).loss;
  };
  for (const char* name : {"grpo", "dapo", "dr_grpo", "gspo"}) {
    CAPTURE(name);
    const auto objective = make_objective<level::token>(name);
    CHECK(trained(objective, 32) == Approx(trained(objective, 4)).epsilon(1e-6).margin(1e-9));
  }
}

TEST_CASE("preferences among the policy's own replies raise the reward") {  // online DPO
  auto p = fresh();
  const any_objective<level::pair> method(dpo{.beta = 0.02});
  double first = 0, last = 0;
  for (int round = 0; round < 12; ++round) {
    const auto replies = sample(p, static_cast<std::uint64_t>(round));
    (round == 0 ? first : last) = replies.mean;
    std::vector<example> pairs;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto members = std::span(replies.data).subspan(i * group, group);
      std::vector<double> rewards;
      for (const example& e : members) rewards.push_back(reward_of(e.replies[0].tokens));
      const auto found = best_and_worst(rewards);
      if (!found) continue;
      pairs.push_back({.prompt = prompts[i],
                       .replies = {{.tokens = members[found->chosen].replies[0].tokens},
                                   {.tokens = members[found->rejected].replies[0].tokens}}});
    }
    if (!pairs.empty()) fit(p, method, std::move(pairs), one_step());
  }
  CHECK(last - first > 0.15);
}

TEST_CASE("ppo learns with a critic") {
  auto p = fresh();
  attach_score_head(p);
  const any_objective<level::token> method(ppo{.value_clip = 1, .value_weight = 0.5});
  double first = 0, last = 0, first_value_loss = 0, value_loss = 0;
  for (int round = 0; round < 15; ++round) {
    auto batch = sample(p, static_cast<std::uint64_t>(round));
    std::vector<double> scores;
    for (const example& e : batch.data) scores.push_back(reward_of(e.replies[0].tokens));
    const auto sampled = batch.data[0].replies[0].old;
    const double ratio = estimate_advantages(p, std::span(batch.data), scores, {.kl_weight = 0.001});
    const reply& r = batch.data[0].replies[0];
    CHECK(r.old == sampled);  // what the sampler said is kept
    CHECK(r.advantages.size() == r.tokens.size());
    std::vector<double> everywhere;
    for (const example& e : batch.data)
      everywhere.insert(everywhere.end(), e.replies[0].advantages.begin(), e.replies[0].advantages.end());
    CHECK(std::abs(moments_of(everywhere).mean) < 1e-12);
    CHECK(moments_of(everywhere).variance == Approx(1).epsilon(1e-3));
    if (round == 0) CHECK(std::abs(ratio) < 1e-6);  // the policy still is the reference
    const auto log = fit(p, method, std::move(batch.data), one_step()).log;
    CHECK(*log.back().find("val/ratio") == 1.0);
    value_loss = *log.back().find("loss/value_avg");
    if (round == 0) first_value_loss = value_loss;
    (round == 0 ? first : last) = batch.mean;
  }
  CHECK(last - first > 0.15);
  CHECK(value_loss < 0.5 * first_value_loss);
}

TEST_CASE("advantages with a critic: what is computed, and bad input") {
  auto p = fresh();
  auto batch = sample(p, 5);
  const std::vector<double> scores(batch.data.size(), 1.5);
  const auto said = [&](auto&& f) -> std::string {
    try {
      f();
    } catch (const error& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  CHECK(said([&] { estimate_advantages(p, std::span(batch.data), scores); }).find("value head") != std::string::npos);
  attach_score_head(p);
  CHECK(said([&] {
          estimate_advantages(p, std::span(batch.data), std::vector<double>(3));
        }).find("expected 32 scores") != std::string::npos);
  // One example at a time is the same as all at once; without whitening returns follow from gae.
  auto single = batch.data;
  for (auto& e : single) e.replies[0].old.clear();
  auto whole = single;
  const estimate_options plain{.kl_weight = 0.1, .gamma = 0.9, .lambda = 0.8, .whiten = false};
  auto by_one = plain;
  by_one.batch_tokens = 1;
  estimate_advantages(p, std::span(whole), scores, plain);
  estimate_advantages(p, std::span(single), scores, by_one);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const reply &a = whole[i].replies[0], &b = single[i].replies[0];
    CHECK(a.advantages == b.advantages);
    CHECK(a.old == batch.data[i].replies[0].old);  // the sampler's, to the bit
    std::vector<double> rewards(a.tokens.size(), 0.0);
    rewards.back() = 1.5;  // the adapter is still zero, so policy and reference agree
    const auto expected = gae(rewards, a.old_values, 0.9, 0.8);
    for (std::size_t t = 0; t < rewards.size(); ++t)
      CHECK(a.returns[t] == Approx(expected.returns[t]).epsilon(1e-6).margin(1e-6));
  }
  batch.data[3].replies.push_back({});
  CHECK(said([&] { estimate_advantages(p, std::span(batch.data), scores); }).find("2 replies") != std::string::npos);
}

TEST_CASE("training says what an online objective lacks") {
  auto p = fresh();
  auto batch = sample(p, 3);
  const auto refused = [&](const auto& objective, const char* text) {
    try {
      fit(p, objective, batch.data, one_step());
      FAIL_CHECK("nothing was thrown, expected: " << text);
    } catch (const error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  refused(any_objective<level::token>(ppo{}), "value head");
  for (auto& e : batch.data) e.replies[0].advantages.clear();
  refused(any_objective<level::token>(grpo{}), "advantage");
}
