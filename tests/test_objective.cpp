// SPDX-License-Identifier: BSL-1.0
// The objective layer: formulas against golden values and torch, slopes against finite differences, reductions,
// metrics, parameters, composition, choice at run time. What must not compile is in compile_fail/.
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

namespace {

using plumb::errc;
using plumb::level;
using plumb::need;
using plumb::reduction;
using pairs = std::vector<plumb::pair_record<>>;
using tokens = std::vector<plumb::token_record<>>;

/// The record of the formulas' golden values: log-ratios 0.5 and -0.8 over 5 and 8 tokens.
plumb::pair_record<> golden_pair() {
  plumb::pair_record<> r;
  r.chosen = {.logp = -12, .ref = -12.5, .tokens = 5};
  r.rejected = {.logp = -15, .ref = -14.2, .tokens = 8};
  return r;
}

pairs some_pairs(int n) {
  pairs list(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    list[static_cast<std::size_t>(i)].chosen = {.logp = -3.0 * i - 1, .ref = -2.5 * i - 2, .tokens = 1.0 + i};
    list[static_cast<std::size_t>(i)].rejected = {.logp = -1.5 * i - 4, .ref = -1.75 * i - 3, .tokens = 2.0 + i};
  }
  return list;
}

tokens some_tokens() {
  tokens list(7);
  const plumb::index_t sequence[] = {4, 4, 9, 9, 9, 4, 1};
  for (std::size_t i = 0; i < list.size(); ++i) {
    list[i].logp = -0.25 * static_cast<double>(i + 1);
    list[i].sequence = sequence[i];
  }
  list[3].mask = false;  // sequence 9 has two valid tokens, sequence 1 none
  list[6].mask = false;
  list[6].logp = plumb::missing;  // never looked at
  return list;
}

/// Every slope of every record against a central difference of the batch's loss; the largest error, relative.
template <class O>
double slope_error(const O& objective, std::vector<plumb::record<O::level>> records, const reduction& how) {
  const auto exact = plumb::evaluate(objective, records, how);
  double worst = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    int slot = 0;
    plumb::record<O::level>::fields(
        [&](const plumb::field& f, auto& member) {
          if (f.role != plumb::role::slot) return;
          const int s = slot++;
          const auto kept = member;
          if (std::isnan(static_cast<double>(kept))) return;
          using Member = std::remove_cvref_t<decltype(member)>;
          const double h = 1e-5;
          member = static_cast<Member>(kept + h);
          const double above = plumb::evaluate(objective, records, how).total;
          member = static_cast<Member>(kept - h);
          const double below = plumb::evaluate(objective, records, how).total;
          member = kept;
          const double difference = (above - below) / (2 * h);
          const double slope = exact.slope(static_cast<plumb::index_t>(i), s);
          worst = std::max(worst, std::abs(slope - difference) / std::max(1.0, std::abs(slope)));
        },
        "", records[i]);
  }
  return worst;
}

}  // namespace

// Objectives of a user, outside the library's namespace.

/// Subtracts the batch's mean log-ratio, detached: a formula with `prepare`.
struct centred {
  static constexpr const char* name = "centred";
  static constexpr auto level = plumb::level::sequence;
  static constexpr auto needs = plumb::need::logp | plumb::need::reference;
  struct baseline {
    double mean;
  };
  double scale = 1;
  bool squared = true;

  static constexpr void describe(auto& self, auto& about) {
    about("scale", self.scale, "a factor", plumb::at_least(0));
    about("squared", self.squared, "square or absolute value", plumb::any_number());
  }
  baseline prepare(std::span<const plumb::sequence_record<>> records) const {
    double sum = 0;
    for (const auto& r : records) sum += r.log_ratio();
    return {sum / static_cast<double>(records.size())};
  }
  template <class Real>
  constexpr Real operator()(const plumb::sequence_record<Real>& r, const baseline& b) const {
    const Real gap = r.log_ratio() - b.mean;
    return scale * (squared ? plumb::square(gap) : plumb::abs(gap));
  }
  constexpr double reward(const plumb::sequence_record<>& r) const { return scale * r.log_ratio(); }
};

/// Reads a field that it does not declare.
struct forgetful {
  static constexpr const char* name = "forgetful";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
  constexpr Real operator()(const plumb::pair_record<Real>& r) const {
    return r.chosen.logp - r.rejected.log_ratio();
  }
  template <class Add>
  constexpr void metrics(const plumb::pair_record<>& r, Add& add) const {
    add("gap", r.chosen.logp - r.rejected.logp);
  }
};

/// A token objective that wants each reply to count equally.
struct per_reply : plumb::sft {
  static constexpr const char* name = "per_reply";
  static constexpr auto reduction = plumb::reduction::sequence_mean();
};

static_assert(plumb::objective<plumb::dpo> && plumb::objective<plumb::sft> && plumb::objective<plumb::sft_chosen>);
static_assert(plumb::objective<centred> && plumb::objective<decltype(plumb::dpo{} + 0.2f * plumb::sft_chosen{})>);
static_assert(plumb::check_objective<centred>());
static_assert(!plumb::objective<int> && !plumb::objective<std::string>);

TEST_CASE("golden values of the formulas") {
  const pairs one{golden_pair()};
  CHECK(std::abs(plumb::evaluate(plumb::dpo{}, one).total - 0.630258194681691) < 1e-9);
  CHECK(std::abs(plumb::evaluate(plumb::dpo{.label_smoothing = 0.1}, one).total - 0.643258194681691) < 1e-9);
  CHECK(std::abs(plumb::evaluate(plumb::dpo{.beta = 0.1f}, one).total - 0.630258194681691) < 1e-9);
  CHECK(plumb::evaluate(plumb::sft_chosen{}, one).total == Approx(12.0 / 5).epsilon(1e-15));
  const auto batch = some_tokens();
  CHECK(plumb::evaluate(plumb::sft{}, batch).total == Approx((0.25 + 0.5 + 0.75 + 1.25 + 1.5) / 5).epsilon(1e-15));
}

TEST_CASE("values, slopes and metrics equal torch's") {
  const auto file = plumb_test::repository() / "tests/golden/objectives.json";
  const auto golden = plumb::json::parse(plumb_test::read_file(file), file.string());
  const plumb_test::closeness allowed{
      .total = {1e-13}, .losses = {1e-12, 1e-300}, .slopes = {1e-12, 1e-300}, .metrics = {1e-12}};
  const auto compare = [&]<level L>(const plumb::json::object& c, std::integral_constant<level, L>) {
    plumb_test::compare_case<L>(c, c.at("records").as_array(), allowed);
  };
  const auto& cases = golden.as_object().at("cases").as_array();
  CHECK(cases.size() >= 5);
  for (const auto& each : cases) {
    const auto& c = each.as_object();
    if (c.at("level").as_string() == "pair")
      compare(c, std::integral_constant<level, level::pair>{});
    else
      compare(c, std::integral_constant<level, level::token>{});
  }
}

TEST_CASE("slopes are those of the batch's loss") {
  const auto list = some_pairs(5);
  CHECK(slope_error(plumb::dpo{.beta = 0.3}, list, reduction::mean()) < 1e-9);
  CHECK(slope_error(plumb::dpo{.beta = 0.3, .label_smoothing = 0.2}, list, reduction::mean().over(20)) < 1e-9);
  CHECK(slope_error(plumb::sft_chosen{}, list, reduction::mean()) < 1e-9);
  CHECK(slope_error(plumb::dpo{} + 0.5 * plumb::sft_chosen{}, list, reduction::mean()) < 1e-9);
  CHECK(slope_error(plumb::sft{}, some_tokens(), reduction::sequence_mean()) < 1e-9);
  SECTION("a constant of the batch is detached, so differences through it disagree (control)") {
    std::vector<plumb::sequence_record<>> three(3);
    for (std::size_t i = 0; i < 3; ++i) three[i] = {.logp = -1.0 * static_cast<double>(i * i), .ref = -1};
    CHECK(slope_error(centred{}, three, reduction::mean()) < 1e-9);  // Σ gap = 0: the lost term vanishes for squares
    CHECK(slope_error(centred{.squared = false}, three, reduction::mean()) > 0.1);
  }
}

TEST_CASE("policy equals reference: ln 2, and the slope in closed form") {
  pairs list = some_pairs(4);
  for (auto& r : list) {
    r.chosen.ref = r.chosen.logp;
    r.rejected.ref = r.rejected.logp;
  }
  for (const double smoothing : {0.0, 0.1}) {
    const auto result = plumb::evaluate(plumb::dpo{.beta = 0.5, .label_smoothing = smoothing}, list);
    CHECK(result.total == Approx(plumb::ln2).epsilon(1e-15));
    CHECK(result.slope(2, 0) == Approx(-0.5 * (0.5 - smoothing) / 4).epsilon(1e-14));
    CHECK(result.slope(2, 4) == Approx(0.5 * (0.5 - smoothing) / 4).epsilon(1e-14));
    CHECK(result.slope(2, 1) == 0);  // rewards play no part
  }
  plumb::metric_list metrics;
  plumb::collect_metrics(plumb::dpo{}, list, metrics);
  CHECK(metrics.value("rewards/accuracies") == 0);  // strict: a tie is not a win
  CHECK(metrics.value("rewards/margins") == 0);
}

TEST_CASE("log-ratios of any size stay finite") {
  for (const double a : {-1e4, 0.0, 1e4}) {
    for (const double b : {-1e4, 0.0, 1e4}) {
      for (const double smoothing : {0.0, 0.3}) {
        pairs one{golden_pair()};
        one[0].chosen = {.logp = a, .ref = 0, .tokens = 1};
        one[0].rejected = {.logp = b, .ref = 0, .tokens = 1};
        const auto result =
            plumb::evaluate(plumb::dpo{.beta = 1, .label_smoothing = smoothing}, one);  // throws if not finite
        CHECK(result.total >= 0);
        CHECK(std::abs(result.slope(0, 0)) <= 1);
        CHECK(result.slope(0, 0) == -result.slope(0, 4));
      }
    }
  }
}

TEST_CASE("reductions") {
  const auto batch = some_tokens();
  const auto weigh = [&](const reduction& how) { return plumb::weights<level::token>(how, batch); };
  SECTION("mean over valid tokens, of the batch or of a window") {
    CHECK(weigh(reduction::mean())[0] == Approx(1.0 / 5));
    CHECK(weigh(reduction::mean().over(50))[0] == Approx(1.0 / 50));
    CHECK(weigh(reduction::mean())[3] == 0);
  }
  SECTION("each sequence equally") {
    const auto w = weigh(reduction::sequence_mean());
    CHECK(w[0] == Approx(1.0 / (2 * 3)));  // sequence 4 has three valid tokens, 9 has two, 1 none and does not count
    CHECK(w[2] == Approx(1.0 / (2 * 2)));
    CHECK(w[5] == w[0]);
    CHECK(w[6] == 0);
    CHECK(plumb::window_units<level::token>(reduction::sequence_mean(), batch) == 2);
  }
  SECTION("a constant length") { CHECK(weigh(reduction::constant_length(100))[2] == Approx(1.0 / (2 * 100))); }
  SECTION("the loss does not depend on how a step is split") {
    for (const auto& how : {reduction::mean(), reduction::sequence_mean(), reduction::constant_length(9)}) {
      tokens sorted = batch;  // sequences may be scattered, but must not be split
      std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
      const auto whole = plumb::evaluate(plumb::sft{}, sorted, how);
      const tokens first(sorted.begin(), sorted.begin() + 4),
          second(sorted.begin() + 4, sorted.end());  // ids 1 4 4 4 | 9 9 9
      const double window =
          plumb::window_units<level::token>(how, first) + plumb::window_units<level::token>(how, second);
      const auto one = plumb::evaluate(plumb::sft{}, first, how.over(window));
      const auto two = plumb::evaluate(plumb::sft{}, second, how.over(window));
      CHECK(one.total + two.total == Approx(whole.total).epsilon(1e-14));
      CHECK(two.slope(0, 0) == Approx(whole.slope(4, 0)).epsilon(1e-14));
      const double unaware =
          0.5 * (plumb::evaluate(plumb::sft{}, first, how).total + plumb::evaluate(plumb::sft{}, second, how).total);
      if (how == reduction::mean()) CHECK(std::abs(unaware - whole.total) > 1e-3);  // control: the peers' mistake
    }
  }
  SECTION("a batch with nothing valid has loss zero, whatever it holds") {
    tokens none(2);
    for (auto& r : none) r.mask = false;
    const auto result = plumb::evaluate(plumb::sft{}, none);
    CHECK(result.total == 0);
    CHECK(result.slopes == std::vector<double>(2 * plumb::slot_count<level::token>(), 0.0));
    CHECK(plumb::evaluate(plumb::sft{}, tokens{}).total == 0);
    CHECK(plumb::evaluate(plumb::dpo{}, pairs{}).losses.empty());
  }
  SECTION("an objective may bring its own") {
    CHECK(plumb::default_reduction<per_reply>() == reduction::sequence_mean());
    CHECK(plumb::evaluate(per_reply{}, batch).total ==
          Approx(plumb::evaluate(plumb::sft{}, batch, reduction::sequence_mean()).total));
    using plumb::operator*;
    CHECK((0.5 * per_reply{}).reduction == reduction::sequence_mean());
  }
  SECTION("bad windows and lengths are refused") {
    CHECK_MESSAGE(errc::bad_argument, weigh(reduction::mean().over(4)), "at least the 5 units of this batch, found 4");
    CHECK_MESSAGE(errc::bad_argument, weigh(reduction::mean().over(-1)), "found -1");
    CHECK_MESSAGE(errc::bad_argument, weigh(reduction::mean().over(plumb::missing)), "found nan");
    CHECK_MESSAGE(errc::bad_argument, weigh(reduction::constant_length(0)), "constant length above 0");
    CHECK_MESSAGE(errc::bad_argument, plumb::evaluate(plumb::dpo{}, some_pairs(2), reduction::constant_length(5)),
                  "objectives on sequences and pairs");
    CHECK_MESSAGE(errc::bad_argument, plumb::evaluate_weighted(plumb::dpo{}, some_pairs(2), std::vector<double>(3)),
                  "expected 2 weights, found 3");
  }
}

TEST_CASE("a missing or infinite field stops the run and is named") {
  pairs list = some_pairs(3);
  list[1].rejected.ref = plumb::missing;
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::dpo{}, list),
                "record 1 is not finite; field 'rejected.ref' is missing");
  CHECK(plumb::missing_field<level::pair>(plumb::dpo::needs, list[1]) == "rejected.ref");
  CHECK(plumb::missing_field<level::pair>(plumb::dpo::needs, list[0]).empty());
  CHECK(plumb::evaluate(plumb::sft_chosen{}, list).total > 0);  // it does not need the reference
  list[2].chosen.logp = -std::numeric_limits<double>::infinity();
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::sft_chosen{}, list),
                "record 2 is not finite; field 'chosen.logp' is infinite");
  list[2].chosen = {.logp = -1, .ref = -1, .tokens = 0};
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::sft_chosen{}, list), "record 2");
  CHECK_MESSAGE(
      errc::not_finite,
      plumb::evaluate(forgetful{}, pairs{plumb::pair_record<>{.chosen = {.logp = -1}, .rejected = {.logp = -1}}}),
      "does it read another one");
}

TEST_CASE("needs") {
  CHECK(plumb::describe_needs(plumb::dpo::needs) == "logp, reference");
  CHECK(plumb::describe_needs(need::none) == "nothing");
  CHECK_NOTHROW(plumb::require_needs("dpo", plumb::dpo::needs, need::logp | need::reference | need::tokens));
  CHECK_MESSAGE(errc::bad_argument, plumb::require_needs("dpo", plumb::dpo::needs, need::logp),
                "dpo: needs reference, which is not there: attach an adapter, pass a reference model");
  CHECK_NOTHROW(plumb::require_needs("reward", need::reward | need::margin, need::reward));  // margins may be absent
  CHECK(plumb::undeclared_field(plumb::dpo{.label_smoothing = 0.1}).empty());
  CHECK(plumb::undeclared_field(plumb::sft{}).empty());
  CHECK(plumb::undeclared_field(plumb::sft_chosen{}).empty());
  CHECK(plumb::undeclared_field(centred{}).empty());
  CHECK(plumb::undeclared_field(forgetful{}) == "rejected.ref");  // control
}

TEST_CASE("every field of a record reaches the formula") {
  const auto round_trip = []<level L>(std::integral_constant<level, L>) {
    plumb::record<L> plain;
    int count = 0;
    plumb::record<L>::fields(
        [&](const plumb::field&, auto& member) {
          ++count;
          if constexpr (std::is_same_v<decltype(member), bool&>)
            member = !member;
          else
            member = static_cast<std::remove_cvref_t<decltype(member)>>(count);
        },
        "", plain);
    const auto seeded = plumb::seed<L>(plain);
    int slot = 0;
    int compared = 0;
    plumb::record<L>::fields(
        [&](const plumb::field& f, const auto& a, const auto& b) {
          ++compared;
          if constexpr (requires { b.slope; }) {
            CHECK(f.role == plumb::role::slot);
            CHECK(a == b.value);
            for (int s = 0; s < plumb::slot_count<L>(); ++s) CHECK(b.slope[s] == (s == slot ? 1 : 0));
            ++slot;
          } else {
            CHECK(f.role != plumb::role::slot);
            CHECK(a == b);
          }
        },
        "", plain, seeded);
    CHECK(compared == count);
    CHECK(slot == plumb::slot_count<L>());
    // As many bytes as the fields take, up to padding: a member without a line in `fields` would show. The weights of a
    // pair's two parts have none: the pair has one.
    CHECK(sizeof(plain) <= static_cast<std::size_t>(count + (L == level::pair ? 2 : 0)) * 8);
  };
  round_trip(std::integral_constant<level, level::token>{});
  round_trip(std::integral_constant<level, level::sequence>{});
  round_trip(std::integral_constant<level, level::pair>{});
  CHECK(plumb::slot_paths<level::pair>() ==
        std::vector<std::string>{"chosen.logp", "chosen.reward", "chosen.tail", "chosen.sequential_kl", "rejected.logp",
                                 "rejected.reward", "rejected.tail", "rejected.sequential_kl"});
  CHECK(plumb::slot_paths<level::token>() == std::vector<std::string>{"logp", "entropy", "value", "log_partition",
                                                                      "mean_logp", "statistic", "sequential_kl",
                                                                      "reward"});
  static_assert(!plumb::has_record<level::row> && plumb::has_record<level::group>);
  static_assert(plumb::has_fixed_slots<level::pair> && !plumb::has_fixed_slots<level::group>);
}

TEST_CASE("metrics add up over micro-batches") {
  const auto list = some_pairs(5);
  plumb::metric_list whole, first, second;
  plumb::collect_metrics(plumb::dpo{}, std::span(list), whole);
  plumb::collect_metrics(plumb::dpo{}, std::span(list).first(2), first);
  plumb::collect_metrics(plumb::dpo{}, std::span(list).subspan(2), second);
  first.merge(second);
  CHECK(whole.size() == 6);
  for (const auto& m : whole) {
    CAPTURE(m.name);
    CHECK(first.value(m.name) == Approx(m.value()).epsilon(1e-14).margin(1e-14));
    CHECK(first.find(m.name)->weight == 5);
  }
  double wins = 0;
  for (const auto& r : list) wins += r.chosen.log_ratio() > r.rejected.log_ratio() ? 0.2 : 0;
  CHECK(whole.value("rewards/accuracies") == Approx(wins));
  CHECK(whole.value("rewards/chosen") ==
        Approx(whole.value("rewards/margins") + whole.value("rewards/rejected")).margin(1e-14));
  CHECK(std::isnan(whole.value("no such metric")));
  SECTION("tokens: what is known is reported, masked tokens are not") {
    auto batch = some_tokens();
    batch[0].entropy = 2;
    batch[1].entropy = 4;
    batch[1].correct = 1;
    batch[2].correct = 0;
    plumb::metric_list found;
    plumb::collect_metrics(plumb::sft{}, batch, found);
    CHECK(found.find("logps/mean")->weight == 5);
    CHECK(found.value("entropy") == 3);
    CHECK(found.value("mean_token_accuracy") == 0.5);
    CHECK(found.find("kl") == nullptr);
  }
  SECTION("sequences: desirable rows are the chosen ones; an objective's own metrics follow") {
    std::vector<plumb::sequence_record<>> rows(2);
    rows[0] = {.logp = -3, .ref = -4};
    rows[1] = {.logp = -3, .ref = -1, .desirable = false};
    plumb::metric_list found;
    plumb::collect_metrics(centred{}, rows, found);
    CHECK(found.value("rewards/chosen") == 1);
    CHECK(found.value("rewards/rejected") == -2);
    plumb::metric_list own;
    plumb::collect_metrics(forgetful{}, list, own);
    CHECK(own.find("gap")->weight == 5);
    CHECK(own.find("rewards/chosen") == nullptr);
  }
}

TEST_CASE("parameters by name") {
  plumb::dpo d;
  plumb::set_parameter(d, "beta", "0.05");
  CHECK(d.beta == 0.05);
  const auto list = plumb::parameters(d);
  REQUIRE(list.size() == 2);
  CHECK(list[0].name == "beta");
  CHECK(list[0].value == "0.05");
  CHECK(list[1].value == "0");
  CHECK(plumb::describe_range(list[1].range) == "a finite number of at least 0 and below 0.5");
  CHECK(plumb::parameters(plumb::sft_chosen{}).empty());
  CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(d, "lable_smoothing", "0"),
                "unknown parameter 'lable_smoothing'; did you mean 'label_smoothing'?");
  for (const char* bad : {"0", "-1", "nan", "inf", "", "0.1x", " 0.1", "1e999", "true"})
    CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(d, "beta", bad),
                  "dpo.beta: expected a finite number above 0, found");
  CHECK(d.beta == 0.05);  // a refused value changes nothing
  for (const char* bad : {"0.5", "-0.1", "1"})
    CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(d, "label_smoothing", bad), "below 0.5");
  plumb::sft_chosen s;
  CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(s, "label_smoothing", "0.1"), "there is none");
  centred c;
  plumb::set_parameter(c, "squared", "false");
  CHECK_FALSE(c.squared);
  CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(c, "squared", "1"), "expected true or false, found '1'");
  CHECK_NOTHROW(plumb::check_parameters(plumb::dpo{}));
  CHECK_MESSAGE(errc::bad_argument, plumb::check_parameters(plumb::dpo{.beta = -1}), "dpo.beta");
  CHECK(plumb::at_least(0).contains(0));
  CHECK_FALSE(plumb::above(0).contains(0));
  CHECK(plumb::between(0, 1).contains(1));
  CHECK_FALSE(plumb::between(0, 1).contains(plumb::missing));
  CHECK(plumb::describe_range(plumb::between(0, 1)) == "a finite number of at least 0 and at most 1");
  CHECK(plumb::describe_range(plumb::any_number()) == "a finite number");
  CHECK(plumb::describe_range({.upper = 2}) == "a finite number below 2");
}

TEST_CASE("objectives add up") {
  const auto list = some_pairs(4);
  const auto sum = plumb::dpo{.beta = 0.2} + 0.25 * plumb::sft_chosen{} + plumb::dpo{.beta = 1} * 2;
  CHECK(std::string(sum.name) == "dpo + sft_chosen + dpo");
  CHECK(sum.needs == (need::logp | need::reference | need::tokens));
  const auto a = plumb::evaluate(plumb::dpo{.beta = 0.2}, list);
  const auto b = plumb::evaluate(plumb::sft_chosen{}, list);
  const auto c = plumb::evaluate(plumb::dpo{.beta = 1}, list);
  const auto all = plumb::evaluate(sum, list);
  CHECK(all.total == Approx(a.total + 0.25 * b.total + 2 * c.total).epsilon(1e-14));
  for (std::size_t i = 0; i < all.slopes.size(); ++i)
    CHECK(all.slopes[i] == Approx(a.slopes[i] + 0.25 * b.slopes[i] + 2 * c.slopes[i]).epsilon(1e-13).margin(1e-300));
  CHECK(sum.reward(list[1].chosen) == plumb::dpo{.beta = 0.2}.reward(list[1].chosen));  // the first part's
  SECTION("parts with constants of the batch") {
    using plumb::operator*;  // `centred` lives outside the library's namespace
    using plumb::operator+;
    std::vector<plumb::sequence_record<>> rows(3);
    for (std::size_t i = 0; i < 3; ++i) rows[i] = {.logp = -1.0 * static_cast<double>(i * i), .ref = -1};
    const auto both = plumb::evaluate(0.5 * centred{} + 2 * centred{.scale = 3}, rows);
    CHECK(both.total == Approx(6.5 * plumb::evaluate(centred{}, rows).total));
  }
}

TEST_CASE("an objective chosen at run time equals the static one") {
  using any = plumb::any_objective<level::pair>;
  const auto list = some_pairs(6);
  const auto fixed = plumb::dpo{.beta = 0.2} + 0.25 * plumb::sft_chosen{};
  any chosen = plumb::dpo{.beta = 0.2};
  chosen += 0.25 * any(plumb::sft_chosen{});
  CHECK(chosen.name() == "dpo + 0.25*sft_chosen");
  CHECK(chosen.needs() == fixed.needs);
  const auto check_equal = [&](const plumb::evaluation& x, const plumb::evaluation& y) {
    CHECK(x.total == Approx(y.total).epsilon(1e-14));
    CHECK(x.slots == y.slots);
    for (std::size_t i = 0; i < y.losses.size(); ++i) CHECK(x.losses[i] == Approx(y.losses[i]).epsilon(1e-13));
    for (std::size_t i = 0; i < y.slopes.size(); ++i)
      CHECK(x.slopes[i] == Approx(y.slopes[i]).epsilon(1e-13).margin(1e-300));
  };
  check_equal(chosen.evaluate(list), plumb::evaluate(fixed, list));
  check_equal(chosen.evaluate(list, reduction::mean().over(24)),
              plumb::evaluate(fixed, list, reduction::mean().over(24)));
  SECTION("a single term is bit for bit the static one") {
    const auto x = any(plumb::dpo{}).evaluate(list);
    const auto y = plumb::evaluate(plumb::dpo{}, list);
    CHECK(x.losses == y.losses);
    CHECK(x.slopes == y.slopes);
    CHECK(x.total == y.total);
  }
  SECTION("metrics are the first term's") {
    plumb::metric_list x, y;
    chosen.collect_metrics(list, x);
    plumb::collect_metrics(plumb::dpo{.beta = 0.2}, list, y);
    CHECK(x.size() == y.size());
    for (const auto& m : y) {
      CHECK(x.value(m.name) == Approx(m.value()));
      CHECK(x.find(m.name)->weight == m.weight);
    }
  }
  SECTION("a copy is a value of its own") {
    any copy = chosen;
    copy.set_parameter("beta", "3");
    CHECK(chosen.parameters()[0].value == "0.2");
    CHECK(copy.parameters()[0].value == "3");
    chosen = copy;
    CHECK(chosen.parameters()[0].value == "3");
  }
  SECTION("terms that reduce differently keep their ways, also over a split step") {
    using any_token = plumb::any_objective<level::token>;
    any_token two = any_token(plumb::sft{}) + 0.5 * any_token(per_reply{});
    const auto batch = some_tokens();
    CHECK(two.window_units(batch) == std::vector<double>{5, 2});
    const auto whole = two.evaluate(batch);
    CHECK(whole.total ==
          Approx(plumb::evaluate(plumb::sft{}, batch).total + 0.5 * plumb::evaluate(per_reply{}, batch).total));
    const std::vector<double> windows{10, 4};
    CHECK(two.evaluate(batch, windows).total == Approx(whole.total / 2));
    CHECK_MESSAGE(errc::bad_argument, two.evaluate(batch, std::vector<double>{10}), "expected 2 windows, found 1");
  }
  SECTION("parameters of later terms carry their name") {
    any two = any(plumb::dpo{}) + any(plumb::dpo{});
    two.set_parameter("dpo.beta", "0.7");
    CHECK(two.parameters()[0].value == "0.1");
    CHECK(two.parameters()[2].name == "dpo.beta");
    CHECK(two.parameters()[2].value == "0.7");
    CHECK_MESSAGE(errc::bad_argument, two.set_parameter("bta", "1"), "did you mean 'beta'");
  }
  SECTION("what is out of range does not get in") {
    CHECK_MESSAGE(errc::bad_argument, any(plumb::dpo{.beta = 0}),
                  "dpo.beta: expected a finite number above 0, found 0");
    CHECK_MESSAGE(errc::bad_argument, plumb::missing * chosen, "expected a finite weight");
  }
}

/// The visit over all objectives is compiled once, here.
static std::string name_of_found(std::string_view name) {
  return plumb::visit_objective(name, [](const auto& o) { return std::string(o.name); });
}

TEST_CASE("objectives by name") {
  CHECK(name_of_found("dpo") == "dpo");
  std::string all;
  plumb::all_objectives::for_each([&](const auto& o) {
    all += std::string(o.name) + " ";
    const std::string paper = o.paper;  // on arXiv, or older than it
    CHECK((paper.find("arXiv:") != std::string::npos || paper.find(" 19") != std::string::npos));
    CHECK_NOTHROW(plumb::check_parameters(o));
    CHECK(plumb::undeclared_field(o).empty());
    CHECK(name_of_found(o.name) == o.name);
  });
  for (const char* name : {"sft ", "dpo ", "sft_chosen ", "kto ", "orpo ", "reward "})
    CHECK(all.find(name) != std::string::npos);
  CHECK_MESSAGE(errc::not_found, plumb::make_objective<level::pair>("dpoo"),
                "unknown objective 'dpoo'; did you mean 'dpo'?");
  CHECK_MESSAGE(errc::bad_argument, plumb::make_objective<level::pair>("sft"),
                "expected an objective on pair records, found one on token records");
  const auto sum = plumb::parse_objective<level::pair>(" dpo+ 2e-1 *sft_chosen + 1E+1*dpo ");
  CHECK(sum.name() == "dpo + 0.2*sft_chosen + 10*dpo");
  auto method = plumb::make_objective<level::pair>("dpo");
  plumb::set_option(method, "also", "0.2*sft_chosen");
  plumb::set_option(method, "beta", "0.3");
  CHECK(method.name() == "dpo + 0.2*sft_chosen");
  CHECK(method.parameters()[0].value == "0.3");
  CHECK_MESSAGE(errc::bad_argument, plumb::set_option(method, "also", "0.2x*sft_chosen"),
                "expected weight*name, such as 0.2*sft_chosen, found '0.2x*sft_chosen'");
  for (const char* bad : {"", "+", "dpo +", "0.2*"})
    CHECK_MESSAGE(errc::not_found, plumb::parse_objective<level::pair>(bad), "unknown objective ''");
  using mine = plumb::objective_list<plumb::dpo, forgetful>;
  CHECK(plumb::make_objective_in<mine, level::pair>("forgetful").needs() == need::logp);
}
