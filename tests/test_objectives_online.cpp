// SPDX-License-Identifier: BSL-1.0
// The objectives on sampled tokens and replies, and those that look at the whole batch: torch's and TRL's values and
// slopes, what they are at ratio 1, splits of the step, order of the batch, extremes, parameters and needs.
#include <plumb/objective/all.hpp>

#include <algorithm>
#include <cmath>
#include <plumb/io/json.hpp>
#include <string>
#include <vector>

#include "catch.hpp"
#include "failures.hpp"
#include "objective_golden.hpp"
#include "support.hpp"

using plumb_test::message_of;

namespace {

using plumb::errc;
using plumb::kl_estimator;
using plumb::level;
using plumb::need;
using tokens = std::vector<plumb::token_record<>>;
using pairs = std::vector<plumb::pair_record<>>;

const plumb::json::object& golden() {
  static const auto file = plumb_test::repository() / "tests/golden/objectives_online.json";
  static const auto parsed = plumb::json::parse(plumb_test::read_file(file), file.string());
  return parsed.as_object();
}
template <level L>
std::vector<plumb::record<L>> golden_records(const char* list) {
  return plumb_test::read_records<L>(golden().at("records").as_object().at(list).as_array());
}

template <level L>
void compare(const plumb::json::object& c) {
  const auto& rows = golden().at("records").as_object().at(c.at("records").as_string()).as_array();
  CAPTURE(c.at("records").as_string().c_str());
  REQUIRE(c.contains("metrics"));
  plumb_test::compare_case<L>(
      c, rows,
      {.total = {1e-12, 1e-15}, .losses = {1e-11, 1e-14}, .slopes = {1e-10, 1e-14}, .metrics = {1e-11, 1e-14}});
}

/// Calls f with every objective on sampled tokens that has the parameters of a policy gradient.
void for_each_policy_gradient(auto&& f) {
  f(plumb::ppo{.value_weight = 0});
  f(plumb::grpo{});
  f(plumb::bnpo{});
  f(plumb::dapo{});
  f(plumb::dr_grpo{});
  f(plumb::cispo{});
  f(plumb::gspo{});
  f(plumb::sapo{});
}

}  // namespace

TEST_CASE("values, slopes and metrics of online and batch-wide objectives equal torch's and TRL's") {
  std::size_t count = 0;
  for (const auto& each : golden().at("cases").as_array()) {
    const auto& c = each.as_object();
    const auto& where = c.at("level").as_string();
    if (where == "token")
      compare<level::token>(c);
    else if (where == "pair")
      compare<level::pair>(c);
    else
      compare<level::sequence>(c);
    ++count;
  }
  CHECK(count > 100);
}

TEST_CASE("estimates of the KL divergence") {
  CHECK(plumb::kl_estimate(0.2, kl_estimator::k1) == 0.2);
  CHECK(std::abs(plumb::kl_estimate(0.2, kl_estimator::k2) - 0.02) < 1e-15);
  CHECK(std::abs(plumb::kl_estimate(0.2, kl_estimator::k3) - 0.0187307530779818) < 1e-15);
  CHECK(plumb::kl_estimate(0.2, kl_estimator::k3_plus) == plumb::kl_estimate(0.2, kl_estimator::k3));
  using dual = plumb::dual<1>;
  const auto slope = [](double d, kl_estimator how) { return plumb::kl_estimate(dual::variable(d, 0), how).slope[0]; };
  for (const double d : {-3.0, -0.2, 0.0, 1e-9, 0.7, 5.0}) {
    CHECK(slope(d, kl_estimator::k1) == 1);
    CHECK(slope(d, kl_estimator::k2) == d);
    CHECK(slope(d, kl_estimator::k3) == Approx(1 - std::exp(-d)).margin(1e-15));
    CHECK(slope(d, kl_estimator::k3_plus) == d);
    CHECK(plumb::kl_estimate(d, kl_estimator::k3) >= 0);
  }
  // In expectation under π: k1 and k3 have the value of the KL, the slopes of k2 its gradient; those of k1 and k3 not.
  const double p[] = {0.5, 0.3, 0.2}, q[] = {0.2, 0.2, 0.6};
  double exact = 0, k1 = 0, k2 = 0, k3 = 0, towards = 0, by_k1 = 0, by_k2 = 0, by_k3 = 0;
  for (int v = 0; v < 3; ++v) {
    const double d = std::log(p[v] / q[v]), score = (v == 0 ? 1 : 0) - p[0];  // ∂ log p_v/∂ logit 0
    exact += p[v] * d;
    k1 += p[v] * plumb::kl_estimate(d, kl_estimator::k1);
    k2 += p[v] * plumb::kl_estimate(d, kl_estimator::k2);
    k3 += p[v] * plumb::kl_estimate(d, kl_estimator::k3);
    towards += p[v] * score * (d + 1);
    by_k1 += p[v] * score * slope(d, kl_estimator::k1);
    by_k2 += p[v] * score * slope(d, kl_estimator::k2);
    by_k3 += p[v] * score * slope(d, kl_estimator::k3);
  }
  CHECK(k1 == Approx(exact).epsilon(1e-14));
  CHECK(k3 == Approx(exact).epsilon(1e-14));
  CHECK(std::abs(k2 - exact) > 0.004);  // control: k2 is biased
  CHECK(by_k2 == Approx(towards).epsilon(1e-13));
  CHECK(std::abs(by_k1) < 1e-15);
  CHECK(by_k3 == Approx(p[0] - q[0]).epsilon(1e-13));  // that of KL(π_ref ‖ π)
  CHECK(std::abs(by_k3 - towards) > 0.01);
}

TEST_CASE("at ratio 1 every policy gradient is REINFORCE's") {
  auto batch = golden_records<level::token>("tokens");
  for (auto& r : batch) r.old = r.logp;
  const auto mean = plumb::reduction::mean();
  const auto expected = plumb::evaluate(plumb::reinforce{}, batch, mean);
  for_each_policy_gradient([&](const auto& objective) {
    CAPTURE(objective.name);
    const auto result = plumb::evaluate(objective, batch, mean);
    for (std::size_t i = 0; i < batch.size(); ++i)
      CHECK(result.slope(static_cast<plumb::index_t>(i), 0) ==
            Approx(expected.slope(static_cast<plumb::index_t>(i), 0)).epsilon(1e-13).margin(1e-16));
  });
  batch.front().old -= 0.5;  // control
  CHECK(plumb::evaluate(plumb::grpo{}, batch, mean).slope(0, 0) != Approx(expected.slope(0, 0)));
}

TEST_CASE("the clipping takes the slope away on the far side only") {
  const auto slope = [](double ratio, double advantage) {
    const tokens one{{.logp = -1 + std::log(ratio), .old = -1, .advantage = advantage}};
    return plumb::evaluate(plumb::grpo{.clip = 0.2, .clip_high = 0.3}, one).slope(0, 0);
  };
  CHECK(slope(1.25, 1) == Approx(-1.25));
  CHECK(slope(1.35, 1) == 0);
  CHECK(slope(1.35, -1) == Approx(1.35));
  CHECK(slope(0.75, 1) == Approx(-0.75));
  CHECK(slope(0.75, -1) == 0);
  const auto dual_clipped = [](double clip, double ratio) {
    const tokens one{{.logp = -1 + std::log(ratio), .old = -1, .advantage = -2}};
    return plumb::evaluate(plumb::ppo{.value_weight = 0, .dual_clip = clip}, one);
  };
  CHECK(dual_clipped(0, 5).total == Approx(10));
  CHECK(dual_clipped(3, 5).total == Approx(6));
  CHECK(dual_clipped(3, 5).slope(0, 0) == 0);
  CHECK(dual_clipped(3, 2).slope(0, 0) == Approx(4));
}

TEST_CASE("gspo has the gradient of the true sequence ratio") {
  const auto batch = golden_records<level::token>("tokens");
  const auto whole = [&](const tokens& t) {  // −(1/S) Σ_s min(s A, clip(s) A), straight from the paper
    double total = 0, replies = 0;
    for (plumb::index_t s = 0; s < 6; ++s) {
      double sum = 0, n = 0, advantage = 0;
      for (const auto& r : t)
        if (r.sequence == s && r.mask) sum += r.logp - r.old, advantage = r.advantage, ++n;
      const double ratio = std::exp(sum / n);
      total -= std::min(ratio * advantage, std::clamp(ratio, 0.8, 1.2) * advantage);
      ++replies;
    }
    return total / replies;
  };
  auto constant = batch;  // one advantage per reply
  for (auto& r : constant) r.advantage = static_cast<double>(r.sequence % 3) - 0.8;
  const auto result = plumb::evaluate(plumb::gspo{}, constant);
  CHECK(result.total == Approx(whole(constant)).epsilon(1e-13));
  for (std::size_t i = 0; i < constant.size(); ++i) {
    auto up = constant, down = constant;
    up[i].logp += 1e-5, down[i].logp -= 1e-5;
    const double difference = (whole(up) - whole(down)) / 2e-5;
    CHECK(result.slope(static_cast<plumb::index_t>(i), 0) == Approx(difference).epsilon(1e-7).margin(1e-9));
  }
}

TEST_CASE("losses of sampled tokens do not depend on the split or the order of the step") {
  const auto batch = golden_records<level::token>("tokens");
  for_each_policy_gradient([&](const auto& objective) {
    CAPTURE(objective.name);
    const plumb::any_objective<level::token> method(objective);
    const auto whole = method.evaluate(batch);
    for (const plumb::index_t cut : {1, 3, 5}) {
      tokens parts[2];
      for (const auto& r : batch) parts[r.sequence < cut ? 0 : 1].push_back(r);
      auto units = method.window_units(parts[0]);
      units.front() += method.window_units(parts[1]).front();
      CHECK(method.evaluate(parts[0], units).total + method.evaluate(parts[1], units).total ==
            Approx(whole.total).epsilon(1e-13));
    }
    auto reversed = batch;
    std::ranges::reverse(reversed);
    const auto other_way = method.evaluate(reversed);
    CHECK(other_way.total == Approx(whole.total).epsilon(1e-13));
    for (std::size_t i = 0; i < batch.size(); ++i)
      CHECK(other_way.slope(static_cast<plumb::index_t>(batch.size() - 1 - i), 0) ==
            Approx(whole.slope(static_cast<plumb::index_t>(i), 0)).epsilon(1e-13));
    // A masked token takes no part, whatever it holds.
    auto poisoned = batch;
    poisoned.push_back({.logp = plumb::missing, .mask = false, .sequence = 2});
    CHECK(method.evaluate(poisoned).total == whole.total);
  });
  // Control: a mean of the parts' means is another number.
  const tokens front(batch.begin(), batch.begin() + 3), back(batch.begin() + 3, batch.end());
  CHECK((plumb::evaluate(plumb::dapo{}, front).total + plumb::evaluate(plumb::dapo{}, back).total) / 2 !=
        Approx(plumb::evaluate(plumb::dapo{}, batch).total).epsilon(1e-3));
}

TEST_CASE("reductions of one loss: by reply, by token, by a constant length") {
  tokens batch(5);
  for (std::size_t i = 0; i < batch.size(); ++i)
    batch[i] = {.logp = -1, .old = -1, .advantage = i == 0 ? 2.0 : -1.0, .sequence = i == 0 ? 0 : 1};
  CHECK(plumb::evaluate(plumb::grpo{}, batch).total == Approx(-(2.0 - 1.0) / 2));
  CHECK(plumb::evaluate(plumb::dapo{}, batch).total == Approx(-(2.0 - 4.0) / 5));
  CHECK(plumb::evaluate(plumb::dr_grpo{.length = 10}, batch).total == Approx(-(2.0 - 4.0) / 20));
  CHECK(plumb::evaluate(plumb::dr_grpo{.length = 5}, batch).total == Approx(-(2.0 - 4.0) / 10));
  CHECK(plumb::evaluate(plumb::dr_grpo{.length = 5}, batch).losses[0] == -2);  // the length is in the reduction alone
  CHECK(plumb::evaluate(0.5 * plumb::dr_grpo{.length = 5}, batch).total == Approx(-(2.0 - 4.0) / 20));
  auto chosen = plumb::make_objective<level::token>("dr_grpo");
  chosen.set_parameter("length", "5");
  CHECK(chosen.evaluate(batch).total == Approx(-(2.0 - 4.0) / 10));
  CHECK((chosen + plumb::any_objective<level::token>(plumb::dapo{})).evaluate(batch).total ==
        Approx(-(2.0 - 4.0) / 10 - (2.0 - 4.0) / 5));
}

TEST_CASE("aot couples records by rank and by nothing else") {
  const auto batch = golden_records<level::pair>("ties");
  const pairs one{batch[1]};
  const double alone = plumb::evaluate(plumb::dpo{.label_smoothing = 0.1}, one).total;
  CHECK(plumb::evaluate(plumb::aot{.label_smoothing = 0.1}, one).total == Approx(alone).epsilon(1e-14));
  CHECK(plumb::evaluate(plumb::aot_unpaired{.label_smoothing = 0.1}, one).total == Approx(alone).epsilon(1e-14));
  // Shuffling who stands beside whom changes dpo and aot but not aot_unpaired.
  auto shuffled = batch;
  for (std::size_t i = 0; i < batch.size(); ++i) shuffled[i].rejected = batch[(i + 2) % batch.size()].rejected;
  CHECK(plumb::evaluate(plumb::aot_unpaired{}, shuffled).total ==
        Approx(plumb::evaluate(plumb::aot_unpaired{}, batch).total).epsilon(1e-13));
  CHECK(plumb::evaluate(plumb::dpo{}, shuffled).total != Approx(plumb::evaluate(plumb::dpo{}, batch).total));
  // The order of the batch does not matter.
  auto reversed = batch;
  std::ranges::reverse(reversed);
  CHECK(plumb::evaluate(plumb::aot{}, reversed).total ==
        Approx(plumb::evaluate(plumb::aot{}, batch).total).epsilon(1e-13));
  // A record of weight 0 takes no part, whatever it holds.
  auto with_empty = batch;
  with_empty.insert(with_empty.begin() + 2, plumb::pair_record<>{});
  with_empty[2].weight = 0;
  const auto sum = [](const auto& objective, const pairs& rows) {
    double total = 0;
    for (const double x : plumb::evaluate(objective, rows).losses) total += x;
    return total;
  };
  CHECK(sum(plumb::aot{}, with_empty) == sum(plumb::aot{}, batch));
  CHECK(sum(plumb::aot_unpaired{}, with_empty) == sum(plumb::aot_unpaired{}, batch));
  // A missing reference is an error that names a record, not a wrong order.
  auto incomplete = batch;
  incomplete[3].chosen.ref = plumb::missing;
  CHECK(message_of(errc::not_finite, [&] { (void)plumb::evaluate(plumb::aot{}, incomplete); }).find("record") !=
        std::string::npos);
  CHECK(message_of(errc::not_finite, [&] {
          (void)plumb::evaluate(plumb::aot_unpaired{}, incomplete);
        }).find("chosen.ref") != std::string::npos);
}

TEST_CASE("one online objective is another in the limit") {
  const auto batch = golden_records<level::pair>("pairs");
  CHECK(plumb::evaluate(plumb::xpo{.alpha = 0}, batch).total == plumb::evaluate(plumb::dpo{}, batch).total);
  auto on_policy = golden_records<level::token>("tokens");
  const auto same = [&](const auto& a, const auto& b) {
    const auto how = plumb::reduction::sequence_mean();
    CHECK(plumb::evaluate(a, on_policy, how).total == Approx(plumb::evaluate(b, on_policy, how).total).epsilon(1e-14));
  };
  same(plumb::grpo{}, plumb::ppo{.value_weight = 0});
  same(plumb::grpo{}, plumb::dapo{.clip_high = 0.2});
  same(plumb::grpo{}, plumb::bnpo{});
  same(plumb::grpo{}, plumb::dr_grpo{});
  for (auto& r : on_policy) r.sequence = &r - on_policy.data();
  same(plumb::gspo{}, plumb::grpo{});  // every reply one token
}

TEST_CASE("nash_md holds the whole reply to the reference, not each token on its own") {
  const double logps[] = {-1, -3}, refs[] = {-2, -2.5}, beta = 0.1;
  const std::vector<plumb::sequence_record<>> reply{{.logp = -4, .ref = -4.5, .advantage = 0.3}};
  const auto whole = plumb::evaluate(plumb::nash_md{.beta = beta}, reply);
  CHECK(whole.slope(0, 0) == Approx(beta * 0.5 - 0.3));        // of every token of it
  const double per_token = beta * (logps[0] - refs[0]) - 0.3;  // TRL's slope of the first token
  CHECK(std::abs(whole.slope(0, 0) - per_token) > 0.04);
  CHECK(whole.total == Approx((beta * 0.5 - 0.3) * -4));
}

TEST_CASE("rho1 learns from the tokens that are most worth it, and passes none over in silence") {
  tokens rows{{.logp = -1, .ref = -2}, {.logp = -3, .ref = -1}, {.logp = -5, .ref = -4}, {.logp = -2, .ref = -2}};
  const auto found = plumb::evaluate(plumb::rho1{.keep = 0.5}, rows);  // worth -1, 2, 1, 0: the two in the middle
  CHECK(found.total == Approx((3 + 5) / 2.0));
  CHECK((found.losses[0] == 0 && found.losses[3] == 0));
  CHECK(found.slope(1, 0) == Approx(-0.5));
  CHECK(plumb::evaluate(plumb::rho1{.keep = 0.01}, rows).total == Approx(3));  // at least one
  CHECK(plumb::evaluate(plumb::rho1{.keep = 1}, rows).total == Approx(11 / 4.0));
  rows[2].weight = 0;  // counts among the valid ones, and is not chosen
  CHECK(plumb::evaluate(plumb::rho1{.keep = 0.7}, rows).total == Approx((3 + 2) / 2.0));
  rows[2] = {.logp = -5, .ref = plumb::missing};
  for (const double keep : {0.25, 1.0})
    CHECK(message_of(errc::not_finite, [&] {
            (void)plumb::evaluate(plumb::rho1{.keep = keep}, rows);
          }).find("record 2") != std::string::npos);
}

TEST_CASE("online objectives ask for what their parameters read") {
  const auto reads = [](const auto& o) { return plumb::objective_needs(o); };
  const auto policy = need::logp | need::old_logp | need::advantage;
  CHECK(reads(plumb::grpo{}) == policy);
  CHECK(reads(plumb::gspo{.kl_weight = 0.1}) == (policy | need::reference));
  CHECK(reads(plumb::ppo{}) == (policy | need::value | need::old_value));
  CHECK(reads(plumb::ppo{.value_weight = 0, .entropy_weight = 0.01}) == (policy | need::entropy));
  const tokens bare{{.logp = -1, .old = -1.5, .advantage = 1}};
  CHECK(plumb::missing_field<level::token>(reads(plumb::grpo{}), bare[0]).empty());
  CHECK(plumb::missing_field<level::token>(reads(plumb::grpo{.kl_weight = 0.1}), bare[0]) == "ref");
  CHECK(plumb::missing_field<level::token>(reads(plumb::ppo{}), bare[0]) == "value");
  plumb::metric_list logged;
  plumb::collect_metrics(plumb::grpo{}, std::span<const plumb::token_record<>>(bare), logged);
  CHECK(logged.find("kl") == nullptr);  // no reference is read, so none is reported
  const tokens no_old{{.logp = -1, .advantage = 1}};
  CHECK(message_of(errc::not_finite, [&] { (void)plumb::evaluate(plumb::grpo{}, no_old); }).find("'old'") !=
        std::string::npos);
  for_each_policy_gradient([](const auto& o) {
    CAPTURE(o.name);
    CHECK(plumb::undeclared_field(o).empty());
  });
}

TEST_CASE("parameters of online objectives are checked, and useless ones refused") {
  const auto refused = [](const char* name, const char* key, const char* value, const char* text) {
    CAPTURE(name, key, value);
    auto o = plumb::make_objective<level::token>(name);
    const auto said = message_of(errc::bad_argument, [&] { o.set_parameter(key, value); });
    INFO(said);
    CHECK(said.find(text) != std::string::npos);
  };
  refused("ppo", "dual_clip", "0.5", "above 1");
  refused("ppo", "clip", "1", "below 1");
  refused("ppo", "clip_high", "0.2", "clip");  // ppo's clipping is symmetric
  refused("grpo", "kl_estimator", "k1", "kl_weight");
  refused("grpo", "kl_weight", "-1", "at least 0");
  refused("grpo", "length", "5", "unknown");
  refused("dr_grpo", "length", "0", "at least 1");
  refused("cispo", "clip_high", "0", "above 0");
  refused("sapo", "clip", "0.2", "unknown");
  refused("sapo", "temperature", "0", "above 0");
  refused("dft", "beta", "1", "unknown");
  auto cispo = plumb::make_objective<level::token>("cispo");
  cispo.set_parameter("clip_high", "0.5");
  CHECK(message_of(errc::bad_argument, [&] { cispo.set_parameter("clip", "0.2"); }).find("below the smallest") !=
        std::string::npos);
  auto ppo = plumb::make_objective<level::token>("ppo");
  ppo.set_parameter("value_weight", "0");
  CHECK(message_of(errc::bad_argument, [&] { ppo.set_parameter("value_clip", "0.5"); }).find("value_weight") !=
        std::string::npos);
  auto grpo = plumb::make_objective<level::token>("grpo");
  grpo.set_parameter("kl_weight", "0.1");
  CHECK_NOTHROW(grpo.set_parameter("kl_estimator", "k3_plus"));
}
