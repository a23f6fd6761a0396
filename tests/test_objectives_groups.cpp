// SPDX-License-Identifier: BSL-1.0
// Objectives that see more than one record: constants prepared per record, groups of ranked replies, whole batches; the
// tape of scalars beneath; needs that depend on parameters; weights of records. What must not compile: compile_fail/.
#include <plumb/core/scalar_tape.hpp>
#include <plumb/io/json.hpp>
#include <plumb/objective/any_objective.hpp>
#include <plumb/objective/compose.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/dpo_pl.hpp>
#include <plumb/objective/f_dpo.hpp>
#include <plumb/objective/infonce.hpp>
#include <plumb/objective/kto.hpp>
#include <plumb/objective/needs.hpp>
#include <plumb/objective/plackett_luce.hpp>
#include <plumb/objective/registry.hpp>
#include <plumb/objective/reward.hpp>
#include <plumb/objective/rrhf.hpp>
#include <plumb/objective/sft.hpp>
#include <plumb/objective/tpo.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

namespace {

using plumb::errc;
using plumb::level;
using plumb::need;
using plumb::scalar;
using groups = std::vector<plumb::group_record<>>;
using pairs = std::vector<plumb::pair_record<>>;
using sequences = std::vector<plumb::sequence_record<>>;
using tokens = std::vector<plumb::token_record<>>;

bool near(double a, double b, double tolerance = 1e-10) {
  return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
}

groups scored(std::initializer_list<std::vector<double>> rows) {
  groups out;
  for (const auto& row : rows) {
    out.emplace_back();
    for (const double x : row) out.back().replies.push_back({.reward = x});
  }
  return out;
}

sequences some_sequences() {
  sequences rows(5);
  const double logp[] = {-3, -8, -1.5, -20, -6}, ref[] = {-2.5, -9, -1.75, -18, -6.5};
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = {.logp = logp[i], .ref = ref[i], .kl = 0.1};
  return rows;
}

constexpr int reward_slot = plumb::slot_of<level::sequence>("reward"),
              logp_slot = plumb::slot_of<level::sequence>("logp");

}  // namespace

/// Compares a reply with the one that has the next higher log-ratio: a constant per record.
struct next_higher {
  static constexpr const char* name = "next_higher";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp | need::reference;
  struct rival {
    double ratio;
    int rank;
  };
  bool forget_one = false;

  std::vector<rival> prepare(std::span<const plumb::sequence_record<>> rows) const {
    std::vector<rival> out;
    for (const auto& r : rows) {
      double best = 1e300;
      int rank = 0;
      for (const auto& other : rows) {
        if (other.log_ratio() <= r.log_ratio()) continue;
        best = std::min(best, other.log_ratio());
        ++rank;
      }
      out.push_back({best < 1e300 ? best : r.log_ratio(), rank});
    }
    if (forget_one) out.pop_back();
    return out;
  }
  template <class Real>
  constexpr Real operator()(const plumb::sequence_record<Real>& r, const rival& higher) const {
    return plumb::softplus(higher.ratio - r.log_ratio());
  }
  constexpr void metrics(const plumb::sequence_record<>&, auto& add, const rival& higher) const {
    add("rank", higher.rank);
  }
};

/// One constant for the batch.
struct above_mean {
  static constexpr const char* name = "above_mean";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = need::logp;
  double prepare(std::span<const plumb::sequence_record<>> rows) const {
    double sum = 0;
    for (const auto& r : rows) sum += r.logp;
    return sum / static_cast<double>(rows.size());
  }
  template <class Real>
  constexpr Real operator()(const plumb::sequence_record<Real>& r, double mean) const {
    return plumb::square(r.logp - mean);
  }
};

/// A penalty on the reference that can be switched off.
struct held {
  static constexpr const char* name = "held";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::reference;
  double weight = 0;
  static constexpr void describe(auto& self, auto& about) {
    about("weight", self.weight, "of the pull to the reference", plumb::at_least(0));
  }
  constexpr need active_needs() const { return weight > 0 ? needs : need::logp; }
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    const Real loss = -r.logp;
    return weight > 0 ? loss + weight * plumb::square(r.log_ratio()) : loss;
  }
};

/// The chosen score against the rejected scores of the whole batch, in ten lines.
struct in_batch_contrast {
  static constexpr const char* name = "in_batch_contrast";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::reward;
  double temperature = 1;
  template <class Real>
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
    Real loss = 0;
    for (const auto& mine : batch) {
      Real all = mine.chosen.reward / temperature;
      for (const auto& other : batch) all = plumb::log_add_exp(all, other.rejected.reward / temperature);
      loss += (all - mine.chosen.reward / temperature) / static_cast<double>(batch.size());
    }
    return loss;
  }
};

/// Reads the number of tokens without saying so.
struct length_blind : plumb::rrhf {
  static constexpr auto needs = need::logp;
};

static_assert(plumb::check_objective<next_higher>() && plumb::check_objective<in_batch_contrast>());
static_assert(plumb::objective<plumb::plackett_luce> && plumb::batch_objective<in_batch_contrast>);
static_assert(!plumb::batch_objective<plumb::dpo> && !plumb::batch_objective<plumb::plackett_luce>);
static_assert(plumb::prepares_each<next_higher> && !plumb::prepares_each<above_mean>);
static_assert(std::is_same_v<plumb::prepared<next_higher>, next_higher::rival>);

TEST_CASE("scalars differentiate like duals, word by word") {
  const auto compare = [](const auto& f, std::initializer_list<double> places) {
    for (const double x : places) {
      plumb::scalar_tape tape;
      const scalar v = tape.variable(x), y = f(v);
      tape.differentiate(y);
      const auto d = f(plumb::dual<1>::variable(x, 0));
      INFO("at " << x);
      CHECK(value_of(y) == d.value);
      CHECK(near(tape.slope(v), d.slope[0], 1e-15));
      const double h = 1e-6 * std::max(1.0, std::abs(x));
      const double difference = (value_of(f(scalar(x + h))) - value_of(f(scalar(x - h)))) / (2 * h);
      if (std::abs(difference) < 1e6) CHECK(near(tape.slope(v), difference, 1e-7));
    }
  };
  const auto any = {-800.0, -3.0, -0.5, 0.25, 2.0, 700.0};
  const auto positive = {0.01, 0.5, 2.0, 300.0};
  compare([](const auto& x) { return plumb::exp(x); }, {-800.0, -1.0, 0.5, 9.0});
  compare([](const auto& x) { return plumb::log(x); }, positive);
  compare([](const auto& x) { return plumb::log1p(x); }, positive);
  compare([](const auto& x) { return plumb::expm1(x); }, {-800.0, -1e-9, 0.5, 9.0});
  compare([](const auto& x) { return plumb::sqrt(x); }, positive);
  compare([](const auto& x) { return plumb::tanh(x); }, any);
  compare([](const auto& x) { return plumb::abs(x); }, any);
  compare([](const auto& x) { return plumb::square(x); }, any);
  compare([](const auto& x) { return plumb::sigmoid(x); }, any);
  compare([](const auto& x) { return plumb::softplus(x); }, any);
  compare([](const auto& x) { return plumb::log_sigmoid(x); }, any);
  compare([](const auto& x) { return plumb::log1mexp(x); }, {-800.0, -3.0, -0.5, -0.01});
  compare([](const auto& x) { return plumb::relu(x); }, any);
  compare([](const auto& x) { return plumb::clamp(x, -1.0, 1.0); }, {-3.0, 0.0, 0.5, 2.0});
  compare([](const auto& x) { return plumb::pow(x, 2.5) + plumb::pow(1.5, x); }, {0.5, 2.0, 7.0});
  compare([](const auto& x) { return plumb::log_add_exp(x, 0.5) + plumb::log_add_exp(-1.0, x); }, any);
  compare([](const auto& x) { return plumb::min(x, 1.0) + 2 * plumb::max(0.125, x); }, any);
  compare([](const auto& x) { return (1 - x * 3) / (2 + x * x) - x / 4 + +x; }, {-3.0, 0.5, 2.0});
  {  // negative control: a rule that drops half of a slope is seen by the difference above
    plumb::scalar_tape tape;
    const scalar v = tape.variable(2);
    tape.differentiate(v * plumb::detach(v));
    CHECK_FALSE(near(tape.slope(v), (2.001 * 2.001 - 1.999 * 1.999) / 0.002, 1e-7));
  }
  compare([](const auto& x) { return x * plumb::value_of(x) * 0 + plumb::detach(x) * 0 + x; }, any);
}

TEST_CASE("the tape") {
  plumb::scalar_tape tape;
  SECTION("every path to a variable counts, and constants stand still") {
    const scalar x = tape.variable(3), y = tape.variable(-2), unused = tape.variable(5);
    const scalar z = x * x * y + plumb::exp(y) * x;
    tape.differentiate(z);
    CHECK(near(tape.slope(x), 2 * 3 * -2 + std::exp(-2)));
    CHECK(near(tape.slope(y), 9 + 3 * std::exp(-2)));
    CHECK(tape.slope(unused) == 0);
    CHECK(tape.slope(scalar(4)) == 0);
    CHECK(near(tape.slope(z), 1));
    tape.differentiate(x);  // the same tape again, another result
    CHECK((tape.slope(x) == 1 && tape.slope(y) == 0 && tape.slope(z) == 0));
    tape.differentiate(scalar(7));
    CHECK(tape.slope(x) == 0);
  }
  SECTION("equal arguments of min and max share the slope; detach stops it") {
    const scalar x = tape.variable(1), y = tape.variable(1);
    tape.differentiate(plumb::max(x, y) + 3 * plumb::min(x, y));
    CHECK((tape.slope(x) == 2 && tape.slope(y) == 2));
    tape.differentiate(plumb::max(x, x) * plumb::detach(y));
    CHECK((tape.slope(x) == 1 && tape.slope(y) == 0));
  }
  SECTION("what does not matter passes nothing, even where a derivative is infinite") {
    const scalar zero = tape.variable(0), x = tape.variable(2);
    tape.differentiate(0 * plumb::log(zero + 1) + 0 * plumb::sqrt(zero) + x);
    CHECK((tape.slope(zero) == 0 && tape.slope(x) == 1));
  }
  SECTION("compound assignment and comparisons") {
    const scalar x = tape.variable(2);
    scalar y = x;
    y += x;  // 4
    y *= x;  // 8
    y -= 1;  // 7
    y /= x;  // 3.5 = (2x² − 1)/x
    CHECK((value_of(y) == 3.5 && y > x && x < y && y >= 3.5 && x <= 2 && x == scalar(2) && -y < 0));
    tape.differentiate(y);
    CHECK(near(tape.slope(x), 2 + 0.25));
  }
  SECTION("many variables, used again") {
    for (int round = 0; round < 2; ++round) {
      tape.clear();
      std::vector<scalar> x;
      for (int i = 0; i < 20000; ++i) x.push_back(tape.variable(1e-3 * i));
      scalar sum = 0;
      for (const scalar& each : x) sum += each * each;
      tape.differentiate(sum);
      double worst = 0;
      for (int i = 0; i < 20000; ++i)
        worst = std::max(worst, std::abs(tape.slope(x[static_cast<std::size_t>(i)]) - 2e-3 * i));
      CHECK(worst < 1e-12);
      CHECK(tape.size() == 60000);
    }
  }
  SECTION("two tapes do not mix") {
    plumb::scalar_tape other;
    const scalar x = tape.variable(1), y = other.variable(2);
    CHECK_MESSAGE(errc::bad_argument, x + y, "lie on different tapes");
  }
}

TEST_CASE("a constant per record") {
  const auto rows = some_sequences();
  const auto constants = plumb::prepare(next_higher{}, std::span(rows));
  const auto result = plumb::evaluate(next_higher{}, rows);
  REQUIRE(constants.size() == rows.size());
  double mean = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double gap = constants[i].ratio - rows[i].log_ratio();
    CHECK(near(result.losses[i], std::log1p(std::exp(gap))));
    CHECK(near(result.slope(static_cast<plumb::index_t>(i), 0), -plumb::sigmoid(gap) / 5));  // the constant is detached
    mean += result.losses[i] / 5;
  }
  CHECK(near(result.total, mean));
  SECTION("records in any order") {
    std::vector<double> weights(5, 0.2), losses(5), slopes(20);
    const plumb::evaluate_kernel<next_higher> run{
        {}, constants.data(), rows.data(), weights.data(), losses.data(), slopes.data()};
    for (const int i : {3, 0, 4, 2, 1}) run(i);
    CHECK(losses == result.losses);
    CHECK(slopes == result.slopes);
  }
  SECTION("beside none and one of the batch, in sums of both kinds") {
    using plumb::operator+;
    using plumb::operator*;
    const auto sum = next_higher{} + 0.5 * above_mean{} + 2 * (0.25 * next_higher{} + plumb::kto{.beta = 0.3});
    using any = plumb::any_objective<level::sequence>;
    const any parts =
        any(next_higher{}) + 0.5 * any(above_mean{}) + 0.5 * any(next_higher{}) + 2 * any(plumb::kto{.beta = 0.3});
    const auto one = plumb::evaluate(sum, rows), several = parts.evaluate(rows);
    CHECK(near(one.total, several.total));
    for (std::size_t i = 0; i < one.slopes.size(); ++i) CHECK(near(one.slopes[i], several.slopes[i]));
    CHECK(std::abs(one.total - plumb::evaluate(next_higher{}, rows).total) > 0.1);  // the others do count
    plumb::metric_list metrics;
    plumb::collect_metrics(sum, std::span(rows), metrics);
    CHECK(near(metrics.value("rank"), 2));  // 0 … 4
  }
  SECTION("metrics get it") {
    plumb::metric_list metrics;
    plumb::collect_metrics(next_higher{}, std::span(rows), metrics);
    CHECK(near(metrics.value("rank"), 2));
  }
  SECTION("as many as there are records, or an error") {
    CHECK_MESSAGE(errc::bad_argument, plumb::evaluate(next_higher{true}, rows),
                  "one constant per record: expected 5, found 4");
    using plumb::operator+;
    CHECK_MESSAGE(errc::bad_argument, plumb::evaluate(above_mean{} + next_higher{true}, rows), "expected 5, found 4");
  }
}

TEST_CASE("needs that depend on parameters") {
  using any = plumb::any_objective<level::token>;
  using plumb::operator+;
  using plumb::operator*;
  CHECK(plumb::objective_needs(held{}) == need::logp);
  CHECK(plumb::objective_needs(held{.weight = 1}) == (need::logp | need::reference));
  CHECK(plumb::objective_needs(2 * held{}) == need::logp);
  CHECK(plumb::objective_needs(plumb::sft{} + held{.weight = 1}) == (need::logp | need::reference));
  CHECK(plumb::objective_needs(any(held{}) + any(plumb::sft{})) == need::logp);
  any method = held{};
  method.set_parameter("weight", "0.5");
  CHECK(method.needs() == (need::logp | need::reference));
  CHECK(plumb::undeclared_field(held{}).empty());
  CHECK(plumb::undeclared_field(held{.weight = 1}).empty());

  tokens list(2);
  list[0].logp = -1;
  list[1].logp = -2;
  CHECK(near(plumb::evaluate(held{}, list).total, 1.5));  // `ref` is missing and not looked at
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(held{.weight = 1}, list), "field 'ref' is missing");
  plumb::metric_list metrics;
  plumb::collect_metrics(held{}, std::span(list), metrics);
  CHECK(metrics.find("kl") == nullptr);
  CHECK(near(metrics.value("logps/mean"), -1.5));

  // Contradictions among parameters are found inside sums as well.
  auto both = plumb::dpo{} + 0.5 * plumb::f_dpo{};
  CHECK(both.conflict() == nullptr);
  CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(both, "alpha", "0.7"), "alpha asks for divergence=alpha");
}

TEST_CASE("weights of records") {
  pairs list(4);
  for (std::size_t i = 0; i < 4; ++i) {
    const double k = static_cast<double>(i);
    list[i].chosen = {.logp = -3 - k, .ref = -4.0};
    list[i].rejected = {.logp = -5.0, .ref = -4 + 0.5 * k};
  }
  const auto plain = plumb::evaluate(plumb::dpo{}, list);
  list[1].weight = 2.5;
  list[2].weight = 0;
  list[2].chosen.logp = plumb::missing;  // never looked at
  const auto weighted = plumb::evaluate(plumb::dpo{}, list);
  CHECK(near(weighted.total, (plain.losses[0] + 2.5 * plain.losses[1] + plain.losses[3]) / 4));  // N counts all
  CHECK(weighted.losses == std::vector{plain.losses[0], plain.losses[1], 0.0, plain.losses[3]});
  CHECK(near(weighted.slope(1, 0), 2.5 * plain.slope(1, 0)));
  CHECK((weighted.slope(2, 0) == 0 && weighted.slope(0, 0) == plain.slope(0, 0)));
  CHECK(near(plumb::any_objective<level::pair>(plumb::dpo{}).evaluate(list).total, weighted.total));
  plumb::metric_list metrics;
  plumb::collect_metrics(plumb::dpo{}, std::span(list), metrics);
  CHECK(near(metrics.value("logps/chosen"), (-3 - 4 - 6) / 3.0));  // the skipped one is not there, weights do not count
  for (const double wrong : {-1.0, plumb::missing, HUGE_VAL}) {
    list[3].weight = wrong;
    CHECK_MESSAGE(errc::bad_data, plumb::evaluate(plumb::dpo{}, list),
                  "record 3: \"weight\": expected a finite number");
  }

  // SteerLM's weighted likelihood: Σ w NLL over the number of valid tokens.
  tokens reply(4);
  for (std::size_t i = 0; i < 4; ++i)
    reply[i] = {.logp = -1.0 - static_cast<double>(i), .weight = 0.5 * static_cast<double>(i)};
  reply[3].mask = false;
  CHECK(near(plumb::evaluate(plumb::sft{}, reply).total, (0.5 * 2 + 1 * 3) / 3));
  reply[2].sequence = 1;  // sequence_mean: (0·1 + 0.5·2)/2 and 1·3, each half
  CHECK(near(plumb::evaluate(plumb::sft{}, reply, plumb::reduction::sequence_mean()).total, (0.5 + 3) / 2));
}

TEST_CASE("groups: values and slopes equal torch's") {
  namespace json = plumb::json;
  const auto document = json::parse_file(plumb_test::repository() / "tests/golden/objectives_groups.json").as_object();
  using any = plumb::any_objective<level::group>;
  using list = plumb::objective_list<plumb::plackett_luce, plumb::infonce, plumb::dpo_pl, plumb::rrhf, plumb::tpo>;
  int compared = 0;
  for (const auto& entry : document.at("cases").as_array()) {
    const auto& c = entry.as_object();
    const auto name = json::get<std::string>(c, "objective", "case"),
               kind = json::get<std::string>(c, "records", "case");
    INFO(name);
    any method = plumb::make_objective_in<list, level::group>(name);
    for (const auto& setting : c.at("settings").as_object())
      method.set_parameter(std::string(setting.key()), json::dump(setting.value()));
    groups batch;
    for (const auto& row : document.at(kind).as_array()) {
      batch.emplace_back();
      for (const auto& reply : row.as_array()) {
        if (kind == "rewards") {
          batch.back().replies.push_back({.reward = json::as<double>(reply, "reward", "")});
        } else {
          const auto x = json::as<std::vector<double>>(reply, "reply", "");
          batch.back().replies.push_back({.logp = x[0], .ref = x[1], .tokens = x[2]});
        }
      }
    }
    const auto result = method.evaluate(batch);
    CHECK(near(result.total, json::get<double>(c, "loss", "case")));
    CHECK(result.first.back() * result.slots == static_cast<plumb::index_t>(result.slopes.size()));
    const auto losses = json::get<std::vector<double>>(c, "losses", "case");
    const auto slopes = json::get<std::vector<std::vector<double>>>(c, "slopes", "case");
    for (std::size_t i = 0; i < batch.size(); ++i) {
      CHECK(near(result.losses[i], losses[i]));
      for (std::size_t k = 0; k < slopes[i].size(); ++k) {
        const int column = static_cast<int>(k) * result.slots + (kind == "rewards" ? reward_slot : logp_slot);
        CHECK(near(result.slope(static_cast<plumb::index_t>(i), column), slopes[i][k]));
        ++compared;
      }
    }
  }
  CHECK(compared > 100);

  const auto& contrast = document.at("in_batch").as_object();
  const auto values = [&](const char* key) { return json::get<std::vector<double>>(contrast, key, "in_batch"); };
  pairs batch(values("chosen").size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    batch[i].chosen.reward = values("chosen")[i];
    batch[i].rejected.reward = values("rejected")[i];
  }
  const auto result = plumb::evaluate(in_batch_contrast{json::get<double>(contrast, "temperature", "")}, batch);
  CHECK(near(result.total, json::get<double>(contrast, "loss", "in_batch")));
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto at = static_cast<plumb::index_t>(i);
    CHECK(near(result.slope(at, plumb::slot_of<level::pair>("chosen.reward")), values("by_chosen")[i]));
    CHECK(near(result.slope(at, plumb::slot_of<level::pair>("rejected.reward")), values("by_rejected")[i]));
  }
}

TEST_CASE("an objective may want groups of one size") {
  using any = plumb::any_objective<level::group>;
  using plumb::operator+;
  using plumb::operator*;
  groups batch(2);
  batch[0].replies = {{.logp = -20, .tokens = 11}, {.logp = -12, .tokens = 5}, {.logp = -15, .tokens = 8}};
  batch[1].replies.assign(2, {.logp = -3, .tokens = 1});
  CHECK_MESSAGE(errc::bad_data, plumb::evaluate(plumb::tpo{}, batch),
                "tpo, record 1: tpo takes groups of 3 replies, found 2");
  CHECK_MESSAGE(errc::bad_data, any(plumb::tpo{}).evaluate(batch), "groups of 3 replies, found 2");
  const auto sum = plumb::rrhf{} + 0.5 * plumb::tpo{};
  CHECK_MESSAGE(errc::bad_data, plumb::evaluate(sum, batch), "groups of 3 replies, found 2");
  CHECK(plumb::wanted_replies(any(plumb::rrhf{}) + any(plumb::tpo{})) == 3);
  CHECK(plumb::wanted_replies(any(plumb::rrhf{})) == 0);
  batch.pop_back();
  CHECK(near(plumb::evaluate(sum, batch).total,
             plumb::evaluate(plumb::rrhf{}, batch).total + 0.5 * plumb::evaluate(plumb::tpo{}, batch).total));
  any method = plumb::tpo{};
  CHECK_MESSAGE(errc::bad_argument, method.set_parameter("gamma", "0.5"), "per_token=true");
  method.set_parameter("per_token", "true");
  method.set_parameter("gamma", "0.5");
  plumb::metric_list metrics;
  any(plumb::tpo{.beta = 0.1}).collect_metrics(batch, metrics);
  CHECK(near(metrics.value("rewards/margins"), 0.3));
  CHECK(near(metrics.value("nll_loss"), 20. / 11));
  CHECK(near(metrics.value("rewards/accuracies"), 1));
}

TEST_CASE("groups: laws") {
  SECTION("the printed value, and log K! where nothing is known") {
    CHECK(near(plumb::evaluate(plumb::plackett_luce{}, scored({{2, 1, 0.5, -1}})).total, 1.2515520957106, 1e-12));
    CHECK(near(plumb::evaluate(plumb::plackett_luce{}, scored({{4, 4, 4, 4, 4}})).total, std::log(120.0)));
  }
  SECTION("the probabilities of all rankings sum to one") {
    std::vector<double> r{0.3, -1.2, 2.0, 0.9};
    std::sort(r.begin(), r.end());
    double total = 0;
    do total += std::exp(-plumb::evaluate(plumb::plackett_luce{}, scored({r})).total);
    while (std::next_permutation(r.begin(), r.end()));
    CHECK(near(total, 1));
  }
  SECTION("two replies are a pair") {
    pairs one(1);
    one[0].chosen = {.logp = -12, .reward = 0.4, .ref = -12.5};
    one[0].rejected = {.logp = -15, .reward = -0.7, .ref = -14.2};
    groups same(1);
    same[0].replies = {one[0].chosen, one[0].rejected};
    CHECK(near(plumb::evaluate(plumb::plackett_luce{}, same).total, plumb::evaluate(plumb::reward{}, one).total));
    CHECK(near(plumb::evaluate(plumb::infonce{}, same).total, plumb::evaluate(plumb::reward{}, one).total));
    const auto a = plumb::evaluate(plumb::dpo_pl{}, same), b = plumb::evaluate(plumb::dpo{}, one);
    CHECK(near(a.total, b.total));
    for (std::size_t s = 0; s < a.slopes.size(); ++s) CHECK(near(a.slopes[s], b.slopes[s]));
  }
  SECTION("slopes of a shift-invariant loss sum to zero") {
    const auto r = plumb::evaluate(plumb::plackett_luce{}, scored({{2, 1, 7, -1}, {1, 2}}));
    double sum = 0;
    for (const double s : r.slopes) sum += s;
    CHECK(std::abs(sum) < 1e-14);
  }
  SECTION("infonce does not mind the order of the others; plackett_luce does") {
    const auto a = scored({{1, 0.5, -2}}), b = scored({{1, -2, 0.5}});
    CHECK(near(plumb::evaluate(plumb::infonce{}, a).total, plumb::evaluate(plumb::infonce{}, b).total));
    CHECK(plumb::evaluate(plumb::plackett_luce{}, a).total < plumb::evaluate(plumb::plackett_luce{}, b).total - 0.1);
  }
}

TEST_CASE("groups: parts of the machinery") {
  using any = plumb::any_objective<level::group>;
  auto batch = scored({{2, 1, 0.5}, {0.25, 0.75}});
  SECTION("paths, ragged slopes and weights") {
    CHECK(plumb::group_slot_paths(2) ==
          std::vector<std::string>{"replies.0.logp", "replies.0.reward", "replies.0.tail", "replies.0.sequential_kl",
                                   "replies.1.logp", "replies.1.reward", "replies.1.tail", "replies.1.sequential_kl"});
    const auto both = plumb::evaluate(plumb::plackett_luce{}, batch);
    CHECK(both.first == std::vector<plumb::index_t>{0, 3, 5});
    const auto second = plumb::evaluate(plumb::plackett_luce{}, std::span(batch).subspan(1));
    CHECK(near(both.slope(1, reward_slot), second.slope(0, reward_slot) / 2));
    batch[0].weight = 0;
    batch[0].replies[1].reward = plumb::missing;
    batch[1].weight = 3;
    const auto weighted = plumb::evaluate(plumb::plackett_luce{}, batch);
    CHECK(near(weighted.total, 3 * second.total / 2));
    CHECK(weighted.slope(0, reward_slot) == 0);
    CHECK(near(weighted.slope(1, reward_slot), 3 * both.slope(1, reward_slot)));
  }
  SECTION("errors name the reply") {
    batch[1].replies[1].reward = plumb::missing;
    CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::plackett_luce{}, batch),
                  "record 1 is not finite; field 'replies.1.reward' is missing");
    CHECK(plumb::missing_field<level::group>(need::reward, batch[1]) == "replies.1.reward");
    CHECK(plumb::missing_field<level::group>(need::reward, batch[0]).empty());
    batch[1].replies.pop_back();
    CHECK_MESSAGE(errc::bad_data, plumb::evaluate(plumb::plackett_luce{}, batch),
                  "at least two replies to rank, found 1");
  }
  SECTION("undeclared fields are found") {
    CHECK(plumb::undeclared_field(plumb::plackett_luce{}).empty());
    CHECK(plumb::undeclared_field(plumb::rrhf{}).empty());
    CHECK(plumb::undeclared_field(in_batch_contrast{}).empty());
    CHECK(plumb::undeclared_field(plumb::dpo_pl{}).empty());
    CHECK(plumb::undeclared_field(length_blind{}) == "tokens");
  }
  SECTION("sums, at compile time and at run time") {
    using plumb::operator+;
    using plumb::operator*;
    const auto fixed = plumb::plackett_luce{} + 0.5 * plumb::infonce{.temperature = 0.5};
    const any chosen = any(plumb::plackett_luce{}) + 0.5 * any(plumb::infonce{.temperature = 0.5});
    const auto a = plumb::evaluate(fixed, batch), b = chosen.evaluate(batch);
    CHECK(near(a.total, b.total));
    for (std::size_t s = 0; s < a.slopes.size(); ++s) CHECK(near(a.slopes[s], b.slopes[s]));
    CHECK(b.first == a.first);
    CHECK(chosen.name() == "plackett_luce + 0.5*infonce");
  }
  SECTION("a step in parts is the step") {
    const any method = plumb::plackett_luce{};
    const auto whole = method.evaluate(batch);
    const std::vector<double> windows{2};
    CHECK(near(method.evaluate(std::span(batch).first(1), windows).total +
                   method.evaluate(std::span(batch).subspan(1), windows).total,
               whole.total));
  }
  SECTION("metrics") {
    plumb::metric_list m;
    plumb::collect_metrics(plumb::plackett_luce{}, std::span<const plumb::group_record<>>(batch), m);
    CHECK(near(m.value("rewards/chosen"), (2 + 0.25) / 2));
    CHECK(near(m.value("rewards/rejected"), (0.75 + 0.75) / 2));
    CHECK(near(m.value("rewards/accuracies"), (1 + 0) / 2.0));
    CHECK(near(m.value("rewards/margins"), (1.25 - 0.5) / 2));
    CHECK(m.find("logps/chosen") == nullptr);
    groups replies(1);
    replies[0].replies = {{.logp = -4, .tokens = 2}, {.logp = -9, .tokens = 3}};
    plumb::metric_list r;
    any(plumb::rrhf{}).collect_metrics(replies, r);
    CHECK(near(r.value("nll_loss"), 2));
    CHECK(near(r.value("logps/rejected"), -9));
    CHECK(near(r.value("rewards/margins"), 1));
  }
}

TEST_CASE("a loss of the whole batch") {
  pairs batch(3);
  for (std::size_t i = 0; i < 3; ++i) {
    batch[i].chosen = {.logp = -2 - static_cast<double>(i), .reward = 0.5 * static_cast<double>(i), .ref = -3};
    batch[i].rejected = {.logp = -5, .reward = 1 - 0.75 * static_cast<double>(i), .ref = -4};
  }
  const in_batch_contrast contrast{.temperature = 0.5};
  const auto result = plumb::evaluate(contrast, batch);
  for (const double loss : result.losses) CHECK(near(loss, result.total));  // one loss, that of all
  SECTION("slopes couple the records; negative control") {
    constexpr int rejected = plumb::slot_of<level::pair>("rejected.reward");
    double worst = 0, others = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double h = 1e-6;
      auto moved = batch;
      moved[i].rejected.reward += h;
      const double above = plumb::evaluate(contrast, moved).total;
      moved[i].rejected.reward -= 2 * h;
      const double below = plumb::evaluate(contrast, moved).total;
      const double slope = result.slope(static_cast<plumb::index_t>(i), rejected);
      worst = std::max(worst, std::abs((above - below) / (2 * h) - slope));
      // alone in its batch a pair has another slope: a formula that forgot the others would be caught
      const auto alone = plumb::evaluate(contrast, std::span(batch).subspan(i, 1));
      others = std::max(others, std::abs(alone.slope(0, rejected) / 3 - slope));
    }
    CHECK(worst < 1e-8);
    CHECK(others > 1e-2);
  }
  SECTION("at run time, beside a loss of single records") {
    using any = plumb::any_objective<level::pair>;
    const auto sum = any(contrast) + 0.25 * any(plumb::dpo{});
    const auto both = sum.evaluate(batch), second = plumb::evaluate(plumb::dpo{}, batch);
    CHECK(near(both.total, result.total + 0.25 * second.total));
    for (std::size_t s = 0; s < both.slopes.size(); ++s)
      CHECK(near(both.slopes[s], result.slopes[s] + 0.25 * second.slopes[s]));
    CHECK(plumb::couples_records<in_batch_contrast>());
  }
  SECTION("records can be left out, and their share of a step is by number") {
    auto fewer = batch;
    fewer[1].weight = 0;
    fewer[1].rejected.reward = plumb::missing;
    const auto part = plumb::evaluate(contrast, fewer);
    CHECK(part.slope(1, 1) == 0);
    pairs two{batch[0], batch[2]};
    CHECK(near(part.total, plumb::evaluate(contrast, two).total * 2 / 3));
    CHECK(near(plumb::evaluate(contrast, batch, plumb::reduction::mean().over(12)).total, result.total / 4));
  }
  SECTION("weights that differ have no meaning here") {
    batch[1].weight = 2;
    CHECK_MESSAGE(errc::bad_data, plumb::evaluate(contrast, batch), "its records weigh the same, or 0 to be left out");
  }
  SECTION("a missing field is named") {
    batch[2].chosen.reward = plumb::missing;
    CHECK_MESSAGE(errc::not_finite, plumb::evaluate(contrast, batch), "the loss or a slope of record 0 is not finite");
  }
  SECTION("an empty batch") {
    CHECK(plumb::evaluate(contrast, pairs{}).total == 0);
    CHECK(plumb::evaluate(plumb::plackett_luce{}, groups{}).total == 0);
  }
}
