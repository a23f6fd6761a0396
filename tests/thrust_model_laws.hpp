// SPDX-License-Identifier: BSL-1.0
// The kernels of thrust_*.hpp under whole models: they train as the reference does, and sample what they score. One set of
// tests for thrust_host and for cuda.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include <plumb/backend/reference.hpp>
#include <plumb/core/random.hpp>
#include <plumb/models/attach_lora.hpp>
#include <plumb/models/make_network.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/rollout/generate.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/train/fit.hpp>
#include "catch.hpp"
#include "support.hpp"

namespace plumb_test {

/// Tiny models that lie in the repository, two of them mixtures of experts, and a small one that has learned to tell
/// stories, where it is at hand.
inline std::vector<std::filesystem::path> small_models() {
  const auto golden = repository() / "tests" / "golden";
  std::vector<std::filesystem::path> folders{golden / "tiny_llama", golden / "families" / "mixtral",
                                             golden / "families" / "qwen2_moe"};
  if (const auto stories = shared_data("stories260k/hf")) folders.push_back(*stories);
  return folders;
}

/// Four pairs of replies to two prompts, fixed tokens in [3, vocabulary).
inline std::vector<plumb::example> some_pairs(plumb::index_t vocabulary) {
  std::vector<plumb::example> pairs;
  const auto ids = [&](std::uint64_t key, int count) {
    std::vector<plumb::token_id> tokens;
    for (int i = 0; i < count; ++i)
      tokens.push_back(static_cast<plumb::token_id>(3 + plumb::philox_word(key, static_cast<std::uint64_t>(i)) %
                                                            static_cast<std::uint64_t>(vocabulary - 3)));
    return tokens;
  };
  for (std::uint64_t i = 0; i < 4; ++i) {
    plumb::example e;
    e.prompt = ids(i / 2, 40);
    e.replies.push_back({ids(10 + i, 12)});
    e.replies.push_back({ids(20 + i, 35)});
    pairs.push_back(std::move(e));
  }
  return pairs;
}

/// DPO's loss after four steps, then what the trained model makes of all chosen replies.
template <class B>
std::vector<double> train_by_dpo(const std::filesystem::path& folder, const plumb::lora_options& options) {
  auto policy = plumb::attach_lora(plumb::load_model<B>(folder), options);
  const auto pairs = some_pairs(policy.model().config().vocabulary);
  const auto run = plumb::fit(policy, plumb::dpo{}, pairs, {.rate = 3e-3, .steps = 4, .batch = 2, .log_every = 1});
  std::vector<double> result{run.loss};
  for (const auto& pair : pairs) {
    auto ids = pair.prompt;
    ids.insert(ids.end(), pair.replies[0].tokens.begin(), pair.replies[0].tokens.end());
    const plumb::scored_tokens tokens{ids, static_cast<plumb::index_t>(pair.prompt.size())};
    const auto scores = plumb::score(policy.model(), std::span(&tokens, 1));
    result.insert(result.end(), scores[0].logp.begin(), scores[0].logp.end());
  }
  return result;
}

inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

template <class B>
void check_training() {
  for (const auto& folder : small_models()) {
    INFO(folder.string());
    plumb::lora_options options{.rank = 4, .seed = 1};
    const auto found = train_by_dpo<B>(folder, options), expected = train_by_dpo<plumb::reference>(folder, options);
    REQUIRE(found.size() == expected.size());
    CHECK(found[0] < std::log(2.0) - 1e-3);  // it learns
    CHECK(largest_difference(found, expected) < 2e-4);
    options.seed = 2;
    CHECK(largest_difference(train_by_dpo<B>(folder, options), expected) > 2e-3);  // negative control: another A
    options.dora = true;
    options.modules_to_save = {"norm"};
    options.trainable_tokens = {5, 7};
    CHECK(largest_difference(train_by_dpo<B>(folder, options), train_by_dpo<plumb::reference>(folder, options)) < 5e-4);
  }
}

template <class B>
void check_sampling() {
  for (const auto& folder : small_models()) {
    INFO(folder.string());
    const auto model = plumb::load_model<B>(folder);
    const std::vector<std::vector<plumb::token_id>> prompts{some_pairs(model.config().vocabulary)[0].prompt, {1, 5}};
    const auto replies = plumb::generate(model, std::span(prompts), {.max_tokens = 40, .samples = 2});
    for (std::size_t i = 0; i < prompts.size(); ++i)
      for (const auto& reply : replies[i]) {
        auto ids = prompts[i];
        ids.insert(ids.end(), reply.tokens.begin(), reply.tokens.end());
        const plumb::scored_tokens tokens{ids, static_cast<plumb::index_t>(prompts[i].size())};
        CHECK(plumb::score(model, std::span(&tokens, 1))[0].logp == reply.logp);
      }
  }
}

}  // namespace plumb_test
