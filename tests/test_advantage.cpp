// SPDX-License-Identifier: BSL-1.0
// Returns, advantages, whitening, rewards per token and the KL controller: golden values, invariances, bad input.
#include <algorithm>
#include <cmath>
#include <plumb/io/json.hpp>
#include <plumb/rollout/advantage.hpp>
#include <plumb/rollout/kl_control.hpp>
#include <plumb/rollout/select.hpp>
#include <plumb/rollout/token_rewards.hpp>
#include <string>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace {

using plumb::advantage_scale;
using plumb::errc;
using plumb::index_t;
using numbers = std::vector<double>;
using ids = std::vector<index_t>;
using flags = std::vector<unsigned char>;

template <class T = double>
std::vector<T> list(const plumb::json::value& v) {
  std::vector<T> out;
  for (const auto& x : v.as_array()) out.push_back(x.to_number<T>());
  return out;
}
void check_equal(const numbers& found, const numbers& expected, double margin = 1e-12) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i] == Approx(expected[i]).epsilon(1e-11).margin(margin));
  }
}
template <class F>
void refused(F&& f, const char* text) {
  try {
    (void)f();
    FAIL_CHECK("nothing was thrown, expected: " << text);
  } catch (const plumb::error& e) {
    INFO(e.what());
    CHECK(e.code() == errc::bad_argument);
    CHECK(std::string(e.what()).find(text) != std::string::npos);
  }
}
const double hole = __builtin_nan("");

const plumb::json::object& golden() {
  static const auto file = plumb_test::repository() / "tests/golden/advantages.json";
  static const auto parsed = plumb::json::parse(plumb_test::read_file(file), file.string());
  return parsed.as_object();
}

}  // namespace

TEST_CASE("generalised advantage estimation: golden values") {
  const numbers rewards{0, 0, 0, 1}, values{0.1, 0.2, 0.3, 0.4};
  const auto a = plumb::gae(rewards, values, 0.99, 0.95);
  check_equal(a.advantages, {0.773290427075, 0.71801215, 0.6603, 0.6});
  check_equal(a.returns, {0.873290427075, 0.91801215, 0.9603, 1});
  check_equal(plumb::whiten(a.advantages), {1.144944260487, 0.403748487566, -0.370081738151, -1.178611009902}, 1e-11);

  for (const auto& each : golden().at("gae").as_array()) {
    const auto& c = each.as_object();
    const auto mask = list<unsigned char>(c.at("mask"));
    const double gamma = c.at("gamma").to_number<double>();
    const auto r = list(c.at("rewards"));
    const auto found = plumb::gae(r, list(c.at("values")), gamma, c.at("lambda").to_number<double>(), mask);
    check_equal(found.advantages, list(c.at("advantages")));
    check_equal(found.returns, list(c.at("returns")));
    check_equal(plumb::returns_to_go(r, gamma), list(c.at("to_go")));
    if (!c.contains("whitened")) continue;
    const auto kept = [&](const numbers& x) {
      numbers out;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (mask[i]) out.push_back(x[i]);
      return out;
    };
    check_equal(kept(plumb::whiten(found.advantages, mask)), list(c.at("whitened")));
    check_equal(kept(plumb::whiten(found.advantages, mask, false)), list(c.at("scaled")));
  }
}

TEST_CASE("generalised advantage estimation: limits, gaps and bad input") {
  const numbers r{0.5, -1, 2}, v{0.3, 0.1, -0.4};
  const auto monte_carlo = plumb::gae(r, v, 0.9, 1);  // λ = 1: return minus value
  check_equal(monte_carlo.returns, plumb::returns_to_go(r, 0.9));
  const auto one_step = plumb::gae(r, v, 0.9, 0);  // λ = 0: the temporal difference
  check_equal(one_step.advantages, {0.5 + 0.9 * 0.1 - 0.3, -1 + 0.9 * -0.4 - 0.1, 2 + 0.4});
  // A tool's tokens in between change nothing, whatever the value head says of them.
  const auto with_gap =
      plumb::gae(numbers{0.5, 0, 0, -1, 2}, numbers{0.3, hole, 99, 0.1, -0.4}, 0.9, 0.95, flags{1, 0, 0, 1, 1});
  const auto without = plumb::gae(r, v, 0.9, 0.95);
  check_equal({with_gap.advantages[0], with_gap.advantages[3], with_gap.advantages[4]}, without.advantages);
  CHECK(with_gap.advantages[1] == 0);
  CHECK(plumb::gae(numbers{}, numbers{}).advantages.empty());
  refused([&] { return plumb::gae(r, numbers{1}); }, "expected 3 values");
  refused([&] { return plumb::gae(r, v, 1, 1, flags{1}); }, "expected 3 mask");
  refused([&] { return plumb::gae(r, numbers{0, hole, 0}); }, "finite values");
  refused([&] { return plumb::gae(numbers{0, hole, 0}, v); }, "finite rewards");
  refused([&] { return plumb::gae(r, v, 1.1); }, "gamma from 0 to 1");
  refused([&] { return plumb::gae(r, v, 1, -0.1); }, "lambda from 0 to 1");
  refused([&] { return plumb::gae(r, v, 1, 1, flags{1, 1, 0}); }, "token 2 is masked but has a reward of 2");
  refused([&] { return plumb::returns_to_go(numbers{1}, hole); }, "gamma");
}

TEST_CASE("whitening centres by default, and keeps the mean when asked to") {
  const numbers x{1, 2, 3, 6};
  const auto white = plumb::whiten(x), scaled = plumb::whiten(x, {}, false);
  CHECK(plumb::moments_of(white).mean == Approx(0).margin(1e-15));
  CHECK(plumb::moments_of(white).variance == Approx(1).epsilon(1e-7));
  CHECK(plumb::moments_of(scaled).mean == Approx(3));  // torchtune has these two the other way round
  check_equal(white, {-2 / std::sqrt(14 / 3.0), -1 / std::sqrt(14 / 3.0), 0, 3 / std::sqrt(14 / 3.0)}, 1e-8);
  auto far = x;  // a mean far from 0 costs no digits: E[x²] − mean² would give 0 or less here
  for (double& each : far) each += 1e9;
  check_equal(plumb::whiten(far), white, 1e-7);
  check_equal(plumb::whiten(numbers{5}), {0});
  check_equal(plumb::whiten(numbers{5, 5, 5}), {0, 0, 0});
  check_equal(plumb::whiten(numbers{1, hole, 3}, flags{1, 0, 1}), plumb::whiten(numbers{1, 0, 3}, flags{1, 0, 1}));
  CHECK(plumb::whiten(numbers{1, hole, 3}, flags{1, 0, 1})[1] == 0);
  refused([&] { return plumb::whiten(numbers{1, hole}); }, "finite numbers");
  refused([&] { return plumb::whiten(x, flags{1}); }, "expected 4 mask");
}

TEST_CASE("advantages within a group: golden values") {
  const numbers r{1, 0, 0, 1};
  check_equal(plumb::group_advantages(r, ids(4)), {0.865875429761, -0.865875429761, -0.865875429761, 0.865875429761},
              1e-11);
  check_equal(plumb::rloo_advantages(r, ids(4)), {2 / 3.0, -2 / 3.0, -2 / 3.0, 2 / 3.0});
  for (const auto& each : golden().at("groups").as_array()) {
    const auto& c = each.as_object();
    const auto rewards = list(c.at("rewards"));
    const auto groups = list<index_t>(c.at("groups")), lengths = list<index_t>(c.at("lengths"));
    const double margin = std::abs(rewards[0]) > 1e3 ? 1e-9 : 1e-12;  // means of numbers near 1e6 have such an error
    check_equal(plumb::group_advantages(rewards, groups), list(c.at("group")), margin);
    check_equal(plumb::group_advantages(rewards, groups, advantage_scale::batch), list(c.at("batch")), margin);
    const auto plain = plumb::group_advantages(rewards, groups, advantage_scale::none);
    check_equal(plain, list(c.at("none")), margin);
    const auto rloo = plumb::rloo_advantages(rewards, groups);
    check_equal(rloo, list(c.at("rloo")), margin);
    check_equal(plumb::opo_advantages(rewards, numbers(lengths.begin(), lengths.end()), groups), list(c.at("opo")),
                margin);
    check_equal(plumb::reinforce_plus_plus_baseline(rewards, groups, lengths), list(c.at("baseline")), margin);
    // RLOO is unscaled GRPO times n/(n − 1).
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      const auto n = static_cast<double>(std::count(groups.begin(), groups.end(), groups[i]));
      CHECK(rloo[i] == Approx(plain[i] * n / (n - 1)).margin(1e-15));
    }
  }
  const auto& c = golden().at("reinforce_plus_plus").as_object();
  check_equal(plumb::reinforce_plus_plus(list(c.at("rewards")), list<index_t>(c.at("lengths")), 0.9),
              list(c.at("advantages")));
}

TEST_CASE("advantages within a group: groups of one, equal rewards, order, bad input") {
  const numbers r{1, 3, 7, 7, 4};
  const ids groups{0, 0, 2, 2, 9};
  const auto a = plumb::group_advantages(r, groups);
  CHECK(a[2] == 0);  // all equal: nothing to learn, and no 0/0
  CHECK(a[4] == 0);  // alone
  CHECK(a[1] == Approx(1 / (std::sqrt(2.0) + 1e-4)));
  CHECK(a[0] == -a[1]);
  CHECK(plumb::opo_advantages(r, numbers{1, 2, 3, 4, 5}, groups)[4] == 0);
  // Equal rewards whose mean rounds: still exactly 0, not rounding noise over 1e-4.
  for (const double x : plumb::group_advantages(numbers{0.1, 0.1, 0.1}, ids(3))) CHECK(std::abs(x) < 1e-10);
  // The order of the batch does not matter.
  const auto mixed = plumb::group_advantages(numbers{7, 1, 4, 3, 7}, ids{2, 0, 9, 0, 2});
  CHECK(mixed[1] == a[0]);
  CHECK(mixed[3] == a[1]);
  CHECK(plumb::group_advantages(numbers{}, ids{}).empty());
  refused([&] { return plumb::rloo_advantages(r, groups); }, "at least 2 replies to each prompt, found 1 in group 9");
  refused([&] { return plumb::group_advantages(r, ids{1}); }, "expected 5 group numbers");
  refused([&] { return plumb::group_advantages(numbers{1, hole}, ids(2)); }, "found nan at 1");
  refused([&] { return plumb::group_advantages(numbers{1, 2}, ids(2), advantage_scale::group, -1); }, "epsilon");
  refused([&] { return plumb::opo_advantages(numbers{1, 2}, numbers{1, 0}, ids(2)); }, "above 0");
  refused([&] { return plumb::reinforce_plus_plus(numbers{1, 2}, ids{3}); }, "add up to the 2 rewards");
  refused([&] { return plumb::reinforce_plus_plus(numbers{1, 2}, ids{1}); }, "expected 1 rewards");
  refused([&] { return plumb::reinforce_plus_plus_baseline(numbers{1, 2}, ids(2), ids{1, 0}); }, "at least 1");
  check_equal(plumb::remax_advantages(numbers{1, 2}, numbers{0.5, 3}), {0.5, -1});
  refused([&] { return plumb::remax_advantages(numbers{1, 2}, numbers{1}); }, "greedy");
}

TEST_CASE("rewards per token") {
  const numbers logps{-1, -2, -0.5}, references{-1.2, -1.5, -0.5};
  check_equal(plumb::token_rewards(2, logps, references, 0.1), {-0.02, 0.05, 2});
  const auto k3 = plumb::token_rewards(2, logps, references, 0.1, plumb::kl_estimator::k3);
  CHECK(k3[0] == Approx(-0.1 * 0.0187307530779818));
  // The sum of the rewards is the score minus β times the log-ratio of the reply.
  double sum = 0;
  for (const double x : plumb::token_rewards(2, logps, references, 0.1)) sum += x;
  CHECK(sum == Approx(2 - 0.1 * (-3.5 + 3.2)));
  // The score sits on the last token that counts, never on what comes after it.
  const auto masked =
      plumb::token_rewards(2, logps, numbers{-1.2, -1.5, hole}, 0.1, plumb::kl_estimator::k1, flags{1, 1, 0});
  check_equal(masked, {-0.02, 2.05, 0});
  refused([&] { return plumb::token_rewards(2, logps, numbers{1}, 0.1); }, "expected 3 reference");
  refused([&] { return plumb::token_rewards(hole, logps, references, 0.1); }, "scores");
  refused([&] { return plumb::token_rewards(1, logps, numbers{0, hole, 0}, 0.1); }, "log-ratios");
  refused([&] { return plumb::token_rewards(1, logps, references, -0.1); }, "kl_weight");
  refused([&] { return plumb::token_rewards(1, numbers{}, numbers{}, 0.1); }, "at least one token");
  refused([&] { return plumb::token_rewards(1, logps, references, 0.1, plumb::kl_estimator::k1, flags(3)); },
          "at least one token");

  CHECK(plumb::score_of_ending(1.5, true, 3) == 1.5);
  CHECK(plumb::score_of_ending(1.5, false, 3) == -1.5);
  CHECK(plumb::overlong_penalty(80, 100, 20) == 0);
  CHECK(plumb::overlong_penalty(90, 100, 20) == -0.5);
  CHECK(plumb::overlong_penalty(100, 100, 20) == -1);
  CHECK(plumb::overlong_penalty(150, 100, 20, 0.5) == -0.5);
  refused([&] { return plumb::overlong_penalty(1, 10, 0); }, "buffer");
  refused([&] { return plumb::overlong_penalty(1, 10, 11); }, "buffer");
  refused([&] { return plumb::overlong_penalty(-1, 10, 5); }, "tokens");
}

TEST_CASE("the value of the best policy") {
  const auto& c = golden().at("optimal_value").as_object();
  const auto rewards = list(c.at("rewards")), betas = list(c.at("betas")), values = list(c.at("values"));
  for (std::size_t i = 0; i < betas.size(); ++i)
    CHECK(plumb::optimal_value(rewards, betas[i]) == Approx(values[i]).epsilon(1e-12));
  CHECK(plumb::optimal_value(numbers{1000, -1000}, 0.01) == Approx(1000 - 0.01 * std::log(2)));  // no overflow
  CHECK(plumb::optimal_value(numbers{1, 3}, 1e9) == Approx(2));
  refused([&] { return plumb::optimal_value(numbers{}, 1); }, "at least one reward");
  refused([&] { return plumb::optimal_value(numbers{1}, 0); }, "beta");
}

TEST_CASE("replies to learn from") {
  CHECK(plumb::best_of(numbers{1, 3, 3, 2}) == 1);  // of equals the first
  CHECK(plumb::best_of(numbers{-2}) == 0);
  refused([&] { return plumb::best_of(numbers{}); }, "at least one");
  refused([&] { return plumb::best_of(numbers{1, hole}); }, "found nan at 1");
  const auto pair = plumb::best_and_worst(numbers{0.5, -1, 2, -1, 2});
  REQUIRE(pair.has_value());
  CHECK(pair->chosen == 2);
  CHECK(pair->rejected == 1);
  CHECK_FALSE(plumb::best_and_worst(numbers{1, 1, 1}).has_value());
  CHECK_FALSE(plumb::best_and_worst(numbers{1, 1.4}, 0.5).has_value());
  CHECK(plumb::best_and_worst(numbers{1, 1.6}, 0.5).has_value());
  refused([&] { return plumb::best_and_worst(numbers{1}); }, "at least 2");
  refused([&] { return plumb::best_and_worst(numbers{1, 2}, hole); }, "margin");
  CHECK(plumb::all_equal(numbers{2, 2}));
  CHECK(plumb::all_equal(numbers{}));
  CHECK_FALSE(plumb::all_equal(numbers{2, 2, 1}));
}

TEST_CASE("the KL controller steers towards its target") {
  plumb::adaptive_kl control{.weight = 0.2, .target = 6, .horizon = 10000};
  CHECK(control.update(6, 128) == 0.2);
  CHECK(control.update(60, 128) == Approx(0.2 * (1 + 0.2 * 128 / 10000)));  // held at 20 %
  control.weight = 0.2;
  CHECK(control.update(0, 128) == Approx(0.2 * (1 - 0.2 * 128 / 10000)));
  control.weight = 0.2;
  CHECK(control.update(6.6, 100) == Approx(0.2 * (1 + 0.1 * 100 / 10000)));
  refused([&] { return control.update(hole, 1); }, "KL");
  refused([&] { return control.update(1, -1); }, "replies");
  refused([&] { return control.update(1, 20000); }, "horizon");
  control.target = 0;
  refused([&] { return control.update(1, 1); }, "target");
  CHECK(control.weight == Approx(0.2 * (1 + 0.1 * 100 / 10000)));  // errors change nothing
}
