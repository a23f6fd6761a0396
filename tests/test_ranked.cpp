// SPDX-License-Identifier: BSL-1.0
// Training on groups of ranked replies and on losses of a whole batch: two replies are a pair, a step does not depend on
// how it is split, the loss falls, and what has no meaning is refused.
#include <plumb/objective/dpo_pl.hpp>
#include <plumb/objective/plackett_luce.hpp>
#include <plumb/objective/rrhf.hpp>
#include <plumb/objective/tpo.hpp>
#include <plumb/plumb.hpp>

#include "catch.hpp"
#include "support.hpp"

using namespace plumb;

namespace ranked_test {

/// Each chosen reply against the rejected replies of the whole batch, by log-probability per token.
struct batch_contrast {
  static constexpr const char* name = "batch_contrast";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::tokens;
  template <class Real>
  Real operator()(std::span<const pair_record<Real>> batch) const {
    Real loss = 0;
    for (const auto& mine : batch) {
      Real all = mine.chosen.mean_logp();
      for (const auto& other : batch) all = log_add_exp(all, other.rejected.mean_logp());
      loss += all - mine.chosen.mean_logp();
    }
    return loss / static_cast<double>(batch.size());
  }
};

}  // namespace ranked_test

namespace {

using ranked_test::batch_contrast;
using values = std::vector<std::vector<double>>;

std::vector<token_id> some_tokens(index_t count, std::uint64_t key) {
  std::vector<token_id> out;
  for (index_t i = 0; i < count; ++i)
    out.push_back(static_cast<token_id>(philox_word(key, static_cast<std::uint64_t>(i)) % 97u));
  return out;
}

/// Rankings of `least` to `most` replies of different lengths.
std::vector<example> some_rankings(index_t count, index_t least, index_t most) {
  std::vector<example> out;
  for (index_t i = 0; i < count; ++i) {
    const auto key = static_cast<std::uint64_t>(100 * i);
    example e;
    e.prompt = some_tokens(4, key);
    for (index_t k = 0; k < least + i % (most - least + 1); ++k)
      e.replies.emplace_back().tokens = some_tokens(2 + (i + k) % 4, key + static_cast<std::uint64_t>(k) + 1);
    e.place = join("rankings:", i + 1);
    out.push_back(std::move(e));
  }
  return out;
}

fit_options some_steps(index_t batch, index_t accumulate) {
  fit_options o;
  o.rate = 1e-2;
  o.steps = 6;
  o.batch = batch;
  o.accumulate = accumulate;
  o.seed = 5;
  o.log_every = 1;
  return o;
}

policy<cpu, double> fresh(bool scores) {
  const auto folder = plumb_test::repository() / "tests" / "golden" / "tiny_llama";
  auto p = attach_lora(load_model<cpu, double>(folder, {.threads = 1}), {.rank = 3, .seed = 4});
  if (scores) attach_score_head(p, {.seed = 2});
  return p;
}

template <class Objective>
std::pair<values, fit_result> train(const Objective& method, std::vector<example> data, const fit_options& options,
                                    bool scores = false) {
  auto p = fresh(scores);
  auto result = fit(p, method, std::move(data), options);
  values out;
  for (const auto& each : p.trainable()) out.push_back(each.parameter->value.host());
  return {out, result};
}

double distance(const values& a, const values& b) {
  double worst = a.size() == b.size() ? 0 : 1e9;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    for (std::size_t k = 0; k < a[i].size(); ++k) worst = std::max(worst, std::abs(a[i][k] - b[i][k]));
  return worst;
}

}  // namespace

TEST_CASE("rankings of two replies train as pairs do", "[ranked]") {
  const auto data = some_rankings(6, 2, 2);
  const auto ranked = train(dpo_pl{.beta = 0.5}, data, some_steps(3, 1));
  const auto paired = train(dpo{.beta = 0.5}, data, some_steps(3, 1));
  CHECK(ranked.second.log.front().find("loss").value() == Approx(ln2).epsilon(1e-9));
  CHECK(distance(ranked.first, paired.first) < 1e-9);
  const auto other = train(dpo{.beta = 0.25}, data, some_steps(3, 1));
  CHECK(distance(ranked.first, other.first) > 1e-6);  // negative control
  const auto scored = train(plackett_luce{}, data, some_steps(3, 1), true);
  const auto pairs_scored = train(reward{}, data, some_steps(3, 1), true);
  CHECK(distance(scored.first, pairs_scored.first) < 1e-9);
}

TEST_CASE("ragged groups: a step does not depend on how it is split, and the loss falls", "[ranked]") {
  const auto data = some_rankings(6, 2, 4);
  const auto check = [&](const auto& method, bool scores) {
    const auto whole = train(method, data, some_steps(6, 1), scores),
               parts = train(method, data, some_steps(2, 3), scores);
    CHECK(distance(whole.first, parts.first) < 1e-9);
    CHECK(whole.second.loss < whole.second.log.front().find("loss").value() - 1e-3);
    return whole.second.log.front();
  };
  const auto first = check(dpo_pl{.beta = 0.5}, false);
  CHECK(first.find("loss").value() ==
        Approx((2 * std::log(2.0) + 2 * std::log(6.0) + 2 * std::log(24.0)) / 6).epsilon(1e-9));
  CHECK(first.find("rewards/accuracies").value() == 0);
  check(any_objective<level::group>(rrhf{}), false);
  check(plackett_luce{}, true);
}

TEST_CASE("tpo trains on three replies and on no other number", "[ranked]") {
  const tpo method{.beta = 0.2};
  const auto data = some_rankings(6, 3, 3);
  const auto whole = train(method, data, some_steps(6, 1)), parts = train(method, data, some_steps(2, 3));
  CHECK(distance(whole.first, parts.first) < 1e-9);
  CHECK(whole.second.loss < whole.second.log.front().find("loss").value() - 1e-3);
  CHECK(whole.second.log.back().find("rewards/margins").value() >
        whole.second.log.front().find("rewards/margins").value());
  try {
    train(any_objective<level::group>(method), some_rankings(6, 2, 3), some_steps(6, 1));
    FAIL("groups of two were taken");
  } catch (const error& e) {
    CHECK(std::string(e.what()).find("rankings:1: the objective takes groups of 3 replies, found 2") !=
          std::string::npos);
  }
}

TEST_CASE("a loss of the whole batch is that of the whole step", "[ranked]") {
  const auto data = some_rankings(6, 2, 2);
  const auto whole = train(batch_contrast{}, data, some_steps(6, 1)),
             parts = train(batch_contrast{}, data, some_steps(2, 3));
  CHECK(distance(whole.first, parts.first) < 1e-9);
  CHECK(whole.second.loss < whole.second.log.front().find("loss").value() - 1e-3);
  using any = any_objective<level::pair>;
  const auto chosen = train(any(batch_contrast{}) + 0.1 * any(dpo{}), data, some_steps(2, 3));
  const auto whole_sum = train(any(batch_contrast{}) + 0.1 * any(dpo{}), data, some_steps(6, 1));
  CHECK(distance(chosen.first, whole_sum.first) < 1e-9);
  const auto small = train(batch_contrast{}, data, some_steps(2, 1));  // other batches, another loss
  CHECK(distance(whole.first, small.first) > 1e-6);
}

TEST_CASE("groups that cannot be ranked are refused", "[ranked]") {
  auto data = some_rankings(3, 2, 3);
  data[1].replies.resize(1);
  CHECK_THROWS_WITH(train(dpo_pl{}, data, some_steps(3, 1)),
                    Catch::Matchers::Contains("rankings:2") && Catch::Matchers::Contains("at least two replies"));
  CHECK_THROWS_WITH(train(plackett_luce{}, some_rankings(3, 2, 3), some_steps(3, 1)),
                    Catch::Matchers::Contains("plackett_luce") && Catch::Matchers::Contains("reward"));
}
