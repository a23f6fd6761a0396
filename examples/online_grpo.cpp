// SPDX-License-Identifier: BSL-1.0
// Online training in one loop: sample several replies to each prompt, reward them with a function of your own, and let
// GRPO prefer the better ones. Token ids stand for text here; with a tokenizer, prompts and replies are text.
// Arguments: MODEL ADAPTER
// run: {source}/tests/golden/tiny_llama adapter
#include <plumb/plumb.hpp>
#include <plumb/rollout/advantage.hpp>

// ----- knobs -----------------------------------------------------------------------------------------------------------
constexpr int rounds = 15;                // of sampling; each is a batch of fresh samples
constexpr plumb::index_t group_size = 8;  // replies per prompt: their mean reward is the baseline
constexpr plumb::index_t longest = 6;     // tokens per reply
constexpr plumb::index_t steps = 2;       // optimiser steps per batch of samples
constexpr double rate = 1e-2;             // learning rate; 1e-6 to 1e-5 for models of billions of parameters
constexpr double kl_weight = 0.01;        // how strongly the policy is held to the model that it started from

/// What we want more of: even tokens. Yours may run unit tests, compare answers, or ask a reward model.
double reward_of(const plumb::generated& reply) {
  double even = 0;
  for (const plumb::token_id t : reply.tokens) even += t % 2 == 0 ? 1 : 0;
  return even / static_cast<double>(reply.tokens.size());
}

int main(int count, char** arguments) try {
  if (count < 3) throw plumb::error(plumb::errc::bad_argument, "online_grpo", "usage: online_grpo MODEL ADAPTER");
  auto policy = plumb::attach_lora(plumb::load_model<plumb::cpu>(arguments[1]), {.rank = 4});
  const std::vector<std::vector<plumb::token_id>> prompts{{3, 14, 15}, {92, 6, 5, 35}, {8, 9}, {79, 32, 38, 46}};

  double first = 0, last = 0;
  for (int round = 0; round < rounds; ++round) {
    plumb::generate_options sampler{.max_tokens = longest, .samples = group_size};
    sampler.sampling.seed = static_cast<std::uint64_t>(round);
    const auto replies = plumb::generate(policy, std::span(prompts), sampler);

    std::vector<double> rewards;         // one per reply
    std::vector<plumb::index_t> groups;  // which prompt each replies to
    std::vector<plumb::example> batch;
    for (std::size_t i = 0; i < prompts.size(); ++i)
      for (const plumb::generated& reply : replies[i]) {
        rewards.push_back(reward_of(reply));
        groups.push_back(static_cast<plumb::index_t>(i));
        batch.push_back({.prompt = prompts[i], .replies = {{.tokens = reply.tokens, .old = reply.logp}}});
      }
    const auto advantages = plumb::group_advantages(rewards, groups);
    for (std::size_t k = 0; k < batch.size(); ++k) batch[k].replies[0].advantages = {advantages[k]};

    const auto result = plumb::fit(policy, plumb::grpo{.kl_weight = kl_weight}, batch,
                                   {.rate = rate,
                                    .steps = steps,
                                    .batch = static_cast<plumb::index_t>(batch.size()),
                                    .schedule = plumb::schedule::kind::constant,
                                    .log_every = steps});
    last = plumb::moments_of(rewards).mean;
    if (round == 0) first = last;
    std::printf("round %2d: reward %.3f, KL %.4f nats per token\n", round + 1, last,
                result.log.back().find("kl").value_or(0));
  }
  plumb::save_adapter(policy, arguments[2]);
  return last > first + 0.1 ? 0 : 1;
} catch (const plumb::error& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 2;
}
