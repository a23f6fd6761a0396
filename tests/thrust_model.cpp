// SPDX-License-Identifier: BSL-1.0
// The GPU's kernels under a whole model: it trains as on the reference backend, and samples what it scores.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <plumb/backend/reference.hpp>
#include <plumb/backend/thrust.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/rollout/generate.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/train/fit.hpp>

#include "catch.hpp"
#include "support.hpp"

namespace {

/// Four pairs of replies to two prompts, fixed numbers.
std::vector<plumb::example> some_pairs() {
  std::vector<plumb::example> pairs;
  const auto ids = [](std::uint64_t key, int count) {
    std::vector<plumb::token_id> tokens;
    for (int i = 0; i < count; ++i)
      tokens.push_back(static_cast<plumb::token_id>(3 + plumb::philox_word(key, static_cast<std::uint64_t>(i)) % 500));
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

template <class B>
std::vector<double> losses(const std::filesystem::path& folder, std::uint64_t seed) {
  auto policy = plumb::attach_lora(plumb::load_model<B>(folder), {.rank = 4, .seed = seed});
  const auto run =
      plumb::fit(policy, plumb::dpo{}, some_pairs(), {.rate = 3e-3, .steps = 4, .batch = 2, .log_every = 1});
  std::vector<double> result{run.loss};
  for (const auto& pair : some_pairs()) {
    auto ids = pair.prompt;
    ids.insert(ids.end(), pair.replies[0].tokens.begin(), pair.replies[0].tokens.end());
    const plumb::scored_tokens tokens{ids, 40};
    const auto scores = plumb::score(policy.model(), std::span(&tokens, 1));
    result.insert(result.end(), scores[0].logp.begin(), scores[0].logp.end());
  }
  return result;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("a LoRA adapter trained by the GPU's kernels is the one that the reference trains") {
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto found = losses<plumb::thrust_host>(*folder, 1), expected = losses<plumb::reference>(*folder, 1);
  REQUIRE(found.size() == expected.size());
  CHECK(found[0] < std::log(2.0) - 1e-3);  // it learns
  CHECK(largest_difference(found, expected) < 2e-4);
  CHECK(largest_difference(losses<plumb::thrust_host>(*folder, 2), expected) > 2e-3);  // negative control: another A
}

TEST_CASE("on the GPU's kernels sampling and scoring agree to the bit") {
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto model = plumb::load_model<plumb::thrust_host>(*folder);
  const std::vector<std::vector<plumb::token_id>> prompts{some_pairs()[0].prompt, {1, 5}};
  const auto replies = plumb::generate(model, std::span(prompts), {.max_tokens = 40, .samples = 2});
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (const auto& reply : replies[i]) {
      auto ids = prompts[i];
      ids.insert(ids.end(), reply.tokens.begin(), reply.tokens.end());
      const plumb::scored_tokens tokens{ids, static_cast<plumb::index_t>(prompts[i].size())};
      CHECK(plumb::score(model, std::span(&tokens, 1))[0].logp == reply.logp);
    }
}
