// SPDX-License-Identifier: BSL-1.0
// The objectives on pairs and on single replies: golden values, torch's values and slopes, what they are at policy =
// reference, invariances, extremes, parameters, and where plumb differs from its peers on purpose.
#include <plumb/objective/all.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <plumb/io/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "catch.hpp"
#include "failures.hpp"
#include "objective_golden.hpp"
#include "support.hpp"

namespace {

using plumb::errc;
using plumb::f_divergence;
using plumb::level;
using plumb::ln2;
using pairs = std::vector<plumb::pair_record<>>;
using singles = std::vector<plumb::sequence_record<>>;

/// What the head can add to a reply, for the objectives that ask for it.
void add_rows(plumb::pair_record<>& r) {
  for (auto* side : {&r.chosen, &r.rejected}) {
    side->confidence = -0.1, side->sequential_kl = 0.5;
    side->tail = side->ref_tail = 0;
  }
}
/// The record of the formulas' golden values: log-ratios 0.5 and -0.8 over 5 and 8 tokens.
plumb::pair_record<> golden_pair() {
  plumb::pair_record<> r;
  r.chosen = {.logp = -12, .reward = 1.2, .ref = -12.5, .tokens = 5};
  r.rejected = {.logp = -15, .reward = 0.7, .ref = -14.2, .tokens = 8};
  add_rows(r);
  return r;
}
singles golden_singles() {
  return {{.logp = -12, .ref = -12.5, .kl = 0.3, .desirable = true},
          {.logp = -15, .ref = -14.2, .kl = 0.3, .desirable = false}};
}

template <class O>
double loss(const O& objective, const plumb::pair_record<>& r) {
  return plumb::evaluate(objective, pairs{r}).total;
}
/// Loss of a pair with these log-ratios, of replies with one token each.
template <class O>
double loss_of_ratios(const O& objective, double lw, double ll) {
  plumb::pair_record<> r;
  r.chosen = {.logp = lw - 20, .ref = -20, .tokens = 1};
  r.rejected = {.logp = ll - 20, .ref = -20, .tokens = 1};
  return loss(objective, r);
}
double loss_of_single(const auto& objective, double ratio, bool desirable, double kl = 0) {
  return plumb::evaluate(objective, singles{{.logp = ratio - 9, .ref = -9, .kl = kl, .desirable = desirable}}).total;
}

/// Two parameters of which one is of use with a value of the other alone.
struct picky {
  static constexpr const char* name = "picky";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  enum class shape { round, square };
  static constexpr const char* words[] = {"round", "square"};
  shape form = shape::round;
  double side = 1;

  static constexpr void describe(auto& self, auto& about) {
    about("form", self.form, "which", plumb::one_of(words));
    about("side", self.side, "of a square", plumb::above(0));
  }
  constexpr const char* conflict() const {
    return side == 1 || form == shape::square ? nullptr : "only squares have a side";
  }
  template <class Real>
  constexpr Real operator()(const plumb::pair_record<Real>& r) const {
    return side * r.chosen.logp;
  }
};

}  // namespace

TEST_CASE("golden values of the objectives on pairs") {
  const auto r = golden_pair();
  const auto is = [&](const auto& objective, double expected) {
    INFO(objective.name);
    CHECK(std::abs(loss(objective, r) - expected) < 1e-9);
  };
  is(plumb::robust_dpo{.label_smoothing = 0.1}, 0.614008194681691);
  is(plumb::hinge{}, 0.87);
  is(plumb::ipo{}, 23.04);
  is(plumb::ipo{.per_token = false}, 13.69);
  is(plumb::exo{.label_smoothing = 0.1}, 0.44162426983998);
  is(plumb::nca{}, 1.35466295567872);
  is(plumb::bco_pair{}, 1.32240661533088);
  is(plumb::sppo{}, 37.89);
  is(plumb::apo_zero{}, 0.967513263360208);
  is(plumb::apo_down{}, 0.980043090096892);
  is(plumb::discopop{}, 0.860960355904745);
  is(plumb::dpo_norm{.beta = 0.1}, 0.683197179726634);
  is(plumb::f_dpo{.divergence = f_divergence::forward_kl}, 0.615469587706414);
  is(plumb::f_dpo{.divergence = f_divergence::js}, 0.658903176088765);
  is(plumb::f_dpo{.divergence = f_divergence::alpha}, 0.624384653584774);
  is(plumb::cpo{.weight = 0}, 0.554355244468527);
  is(plumb::simpo{}, 2.17109745120806);
  is(plumb::orpo{}, 12.0 / 5 + 0.103514818199259);
  CHECK(plumb::orpo::log_odds_ratio(r) == Approx(-0.596373808833352).epsilon(1e-12));
  CHECK(loss(plumb::reward{.centre = 0.01}, r) == Approx(0.510176984180107).epsilon(1e-12));
  auto with_margin = r;
  with_margin.margin = 0.3;
  CHECK(loss(plumb::reward{}, with_margin) == Approx(0.598138869381592).epsilon(1e-12));
  CHECK(loss(plumb::dpo{}, with_margin) == loss(plumb::dpo{}, r));  // control: others take no margin
}

TEST_CASE("golden values of the objectives on single replies") {
  const auto rows = golden_singles();
  const auto kto = plumb::evaluate(plumb::kto{}, rows);
  CHECK(std::abs(kto.losses[0] - 0.49500016666) < 1e-9);
  CHECK(std::abs(kto.losses[1] - 0.472527695655406) < 1e-9);
  const auto bco = plumb::evaluate(plumb::bco{}, rows);  // δ = -0.015
  CHECK(std::abs(bco.losses[0] - 0.661175212614119) < 1e-9);
  CHECK(std::abs(bco.losses[1] - 0.661175212614119) < 1e-9);
  const auto apo = plumb::evaluate(plumb::apo_zero_unpaired{}, rows);
  CHECK(apo.losses[0] + apo.losses[1] == Approx(loss(plumb::apo_zero{}, golden_pair())).epsilon(1e-14));
}

TEST_CASE("values, slopes and metrics of pairs and singles equal torch's") {
  const auto file = plumb_test::repository() / "tests/golden/objectives_pairs.json";
  const auto golden = plumb::json::parse(plumb_test::read_file(file), file.string());
  const auto& lists = golden.as_object().at("records").as_object();
  const plumb_test::closeness allowed{
      .total = {1e-12}, .losses = {1e-11, 1e-15}, .slopes = {1e-10, 1e-16}, .metrics = {1e-11}};
  for (const auto& each : golden.as_object().at("cases").as_array()) {
    const auto& c = each.as_object();
    const auto& rows = lists.at(c.at("records").as_string()).as_array();
    REQUIRE(c.contains("metrics"));
    if (c.at("level").as_string() == "pair")
      plumb_test::compare_case<level::pair>(c, rows, allowed);
    else
      plumb_test::compare_case<level::sequence>(c, rows, allowed);
  }
}

TEST_CASE("no objective is without a golden line") {
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(plumb_test::repository() / "tests/golden")) {
    if (!entry.path().filename().string().starts_with("objectives")) continue;
    const auto text = plumb_test::read_file(entry.path());
    const std::string key = "\"objective\":\"";
    for (auto at = text.find(key); at != std::string::npos; at = text.find(key, at + 1))
      seen.insert(text.substr(at + key.size(), text.find('"', at + key.size()) - at - key.size()));
  }
  CHECK(seen.size() > 20);
  for (const auto name : plumb::all_objectives::names) {
    CAPTURE(std::string(name));
    const bool in_head_fixture = name == std::string_view("distill");  // its rows are in head.json: test_head.cpp
    CHECK((in_head_fixture || seen.contains(std::string(name))));
  }
}

TEST_CASE("policy equals reference") {
  for (const double b : {0.1, 2.0}) {
    const auto at_start = [](const auto& objective) { return loss_of_ratios(objective, 0, 0); };
    CHECK(at_start(plumb::robust_dpo{.beta = b, .label_smoothing = 0.2}) == Approx(ln2).epsilon(1e-15));
    CHECK(at_start(plumb::ipo{.beta = b}) == Approx(1 / (4 * b * b)));
    CHECK(at_start(plumb::hinge{.beta = b}) == 1);
    CHECK(at_start(plumb::nca{.beta = b}) == Approx(2 * ln2));
    CHECK(at_start(plumb::bco_pair{.beta = b}) == Approx(2 * ln2));
    CHECK(at_start(plumb::sppo{.beta = b}) == Approx(1 / (2 * b * b)));
    CHECK(at_start(plumb::apo_zero{.beta = b}) == 1);
    CHECK(at_start(plumb::apo_down{.beta = b}) == 1);
    CHECK(at_start(plumb::dpo_norm{.beta = b}) == Approx(ln2));
    CHECK(at_start(plumb::discopop{.beta = b}) == Approx((1 + ln2) / 2));
    CHECK(at_start(plumb::exo{.beta = b, .label_smoothing = 0.1}) == Approx(-ln2 - 0.5 * std::log(0.09)));
    for (const auto d : {f_divergence::reverse_kl, f_divergence::forward_kl, f_divergence::js, f_divergence::alpha})
      CHECK(at_start(plumb::f_dpo{.beta = b, .divergence = d}) == Approx(ln2));
    CHECK(loss_of_single(plumb::kto{.beta = b, .desirable = 3}, 0, true) == 1.5);
    CHECK(loss_of_single(plumb::kto{.beta = b, .undesirable = 0.5}, 0, false) == 0.25);
    CHECK(loss_of_single(plumb::apo_zero_unpaired{.beta = b}, 0, true) == 0.5);
    CHECK(loss_of_single(plumb::bco{.beta = b}, 0, false) == Approx(ln2));
  }
}

TEST_CASE("one objective is another in the limit") {
  for (const double lw : {-30.0, -0.7, 0.0, 1.5, 12.0}) {
    for (const double ll : {-11.0, 0.0, 0.4, 25.0}) {
      const auto same = [&](const auto& a, const auto& b) {
        CHECK(loss_of_ratios(a, lw, ll) == Approx(loss_of_ratios(b, lw, ll)).epsilon(1e-9));
      };
      same(plumb::robust_dpo{}, plumb::dpo{});  // ε = 0
      same(plumb::f_dpo{}, plumb::dpo{});
      same(plumb::f_dpo{.divergence = f_divergence::alpha, .alpha = 1}, plumb::dpo{});
      same(plumb::f_dpo{.divergence = f_divergence::alpha, .alpha = 1 + 1e-13}, plumb::dpo{});  // no jump, no noise
      same(plumb::f_dpo{.divergence = f_divergence::alpha, .alpha = 0},
           plumb::f_dpo{.divergence = f_divergence::forward_kl});
      same(plumb::dpo_norm{.beta = 0.3}, plumb::dpo{.beta = 0.3});  // one token each
      same(plumb::ipo{}, plumb::ipo{.per_token = false});
      same(plumb::alpha_po{.alpha = 0}, plumb::simpo{});
      same(plumb::alpha_po{.alpha = 1e-14}, plumb::simpo{});
      same(plumb::simpo{.beta = 0.1, .gamma = 0}, plumb::cpo{.weight = 0});
      same(plumb::cpo{.beta = 0.7, .label_smoothing = 0.2, .weight = 0.3},
           plumb::cpo{.beta = 0.7, .label_smoothing = 0.2, .weight = 0} + 0.3 * plumb::sft_chosen{});
      // Over labels swapped with probability ε, the robust loss is the plain one on the true labels.
      const plumb::robust_dpo robust{.label_smoothing = 0.2};
      CHECK(0.8 * loss_of_ratios(robust, lw, ll) + 0.2 * loss_of_ratios(robust, ll, lw) ==
            Approx(loss_of_ratios(plumb::dpo{}, lw, ll)).epsilon(1e-12));
      CHECK(loss_of_ratios(plumb::dpo{}, lw, ll) < loss_of_ratios(plumb::bco_pair{}, lw, ll));  // its bound
      CHECK(loss_of_ratios(plumb::exo{.label_smoothing = 0.3}, lw, ll) >= 0);                   // a KL divergence
    }
  }
  const auto r = golden_pair();
  CHECK(loss(plumb::dpo_norm{.beta = 0.1}, r) != Approx(loss(plumb::dpo{}, r)));  // control: lengths 5 and 8
  CHECK(loss(plumb::ipo{}, r) != Approx(loss(plumb::ipo{.per_token = false}, r)));
  CHECK(loss(plumb::alpha_po{}, r) != Approx(loss(plumb::simpo{}, r)));
}

TEST_CASE("what does not matter does not matter") {
  plumb::all_objectives::for_each([](const auto& o) {
    using O = std::remove_cvref_t<decltype(o)>;
    CAPTURE(std::string(O::name));
    if constexpr (O::level == level::pair) {
      pairs list;
      for (int i = 0; i < 5; ++i) {
        auto r = golden_pair();
        r.chosen.logp -= i;
        r.rejected.reward -= 0.3 * i;
        list.push_back(r);
      }
      const auto before = plumb::evaluate(o, list);
      pairs reversed(list.rbegin(), list.rend());
      CHECK(plumb::evaluate(o, reversed).total == Approx(before.total).epsilon(1e-14));  // the order of pairs
      if constexpr (plumb::has(O::needs, plumb::need::reference)) {
        for (auto& r : list) {  // a shift of policy and reference alike
          for (auto* side : {&r.chosen, &r.rejected}) {
            side->logp -= 32;
            side->ref -= 32;
          }
        }
        if constexpr (!std::is_same_v<O, plumb::xpo>)  // its bonus is a log-probability, not a ratio
          CHECK(plumb::evaluate(o, list).total == Approx(before.total).epsilon(1e-12));
      } else if constexpr (plumb::has(O::needs, plumb::need::logp)) {
        for (auto& r : list) r.chosen.ref = r.rejected.ref = plumb::missing;  // no reference is looked at
        CHECK(plumb::evaluate(o, list).total == before.total);
      }
    }
  });
}

TEST_CASE("extremes stay finite") {  // evaluate throws otherwise
  plumb::all_objectives::for_each([](const auto& o) {
    using O = std::remove_cvref_t<decltype(o)>;
    CAPTURE(std::string(O::name));
    for (const double a : {-1e4, -1.0, 0.0, 1e4}) {
      for (const double b : {-1e4, 0.0, 1e4}) {
        if constexpr (O::level == level::pair) {
          plumb::pair_record<> r;  // log-ratios of ±1e4 need references of -1e4: log-probs are never above 0
          r.chosen = {.logp = std::min(a, 0.0), .reward = a, .ref = -std::max(a, 0.0), .tokens = 1};
          r.rejected = {.logp = std::min(b, 0.0), .reward = b, .ref = -std::max(b, 0.0), .tokens = 1};
          add_rows(r);
          CHECK(std::isfinite(loss(o, r)));
        } else if constexpr (O::level == level::sequence) {
          for (const bool liked : {true, false}) {
            const plumb::sequence_record<> r{.logp = std::min(a, 0.0),
                                             .reward = a,
                                             .ref = -std::max(a, 0.0),
                                             .old = -std::max(a, 0.0),
                                             .advantage = b,
                                             .kl = b,
                                             .target = b,
                                             .desirable = liked};
            CHECK(std::isfinite(plumb::evaluate(o, singles{r}).total));
          }
        }
      }
    }
  });
  CHECK(plumb::undeclared_field(plumb::kto{}).empty());
}

TEST_CASE("the baselines of single replies") {
  singles rows = golden_singles();
  rows[0].kl = 1;
  rows[1].kl = 4;
  const auto result = plumb::evaluate(plumb::kto{}, rows);  // both rows are held against the mean, 2.5
  CHECK(result.losses[0] == Approx(plumb::sigmoid(0.1 * (2.5 - 0.5))));
  CHECK(result.losses[1] == Approx(plumb::sigmoid(0.1 * (-0.8 - 2.5))));
  rows[0].kl = -9;  // mean -2.5: the baseline is 0, as KL is never negative
  CHECK(plumb::evaluate(plumb::kto{}, rows).losses[0] == Approx(plumb::sigmoid(-0.05)));
  rows[0].kl = plumb::missing;
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::kto{}, rows), "record 0 is not finite; field 'kl' is missing");
  std::swap(rows[0], rows[1]);
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::kto{}, rows), "record 1 is not finite; field 'kl' is missing");
  rows[1].kl = plumb::missing;
  CHECK(plumb::evaluate(plumb::bco{}, rows).total > 0);  // control: bco asks for none
  rows[0].ref = plumb::missing;
  CHECK_MESSAGE(errc::not_finite, plumb::evaluate(plumb::bco{}, rows),
                "record 0 is not finite; field 'ref' is missing");
  CHECK(plumb::evaluate(plumb::kto{}, singles{}).total == 0);
  CHECK(plumb::evaluate(plumb::bco{}, singles{}).total == 0);
  // A single class is a batch like any other.
  const singles liked{{.logp = -1, .ref = -2}, {.logp = -3, .ref = -2}};
  CHECK(plumb::evaluate(plumb::bco{}, liked).total > 0);
}

TEST_CASE("certainty does not break the odds ratio") {
  auto r = golden_pair();
  r.chosen.logp = 0;  // probability 1: infinite odds, which TRL's formula turns into NaN slopes
  auto result = plumb::evaluate(plumb::orpo{}, pairs{r});
  CHECK(result.slope(0, 0) == Approx(-1.0 / 5));  // what remains is the likelihood
  r.chosen.logp = -12;
  r.rejected.logp = 0;
  result = plumb::evaluate(plumb::orpo{}, pairs{r});
  CHECK(result.total == Approx(2.4 + 0.1 * (-plumb::orpo::log_odds_ratio(r))).epsilon(1e-9));
  CHECK(result.slope(0, 4) == 0);
  r.rejected.logp = -8e-9;  // -1e-9 a token: the slope is β/(1 − e^r)/n, large and exact
  CHECK(plumb::evaluate(plumb::orpo{}, pairs{r}).slope(0, 4) == Approx(0.1 / 1e-9 / 8).epsilon(1e-6));
}

TEST_CASE("where plumb differs from a peer on purpose") {
  const auto r = golden_pair();
  SECTION("the likelihood term of cpo, slic and orpo counts every pair equally, not every token") {
    auto longer = r;
    longer.chosen = {.logp = -100, .ref = -100, .tokens = 10};
    const pairs two{r, longer};
    const double with = plumb::evaluate(plumb::cpo{.weight = 1}, two).total;
    const double without = plumb::evaluate(plumb::cpo{.weight = 0}, two).total;
    CHECK(with - without == Approx((12.0 / 5 + 100.0 / 10) / 2));
    CHECK(with - without != Approx(112.0 / 15));  // control: the mean over the batch's tokens
  }
  SECTION("a hinge passes half of its slope at the kink") {
    const auto at_kink = plumb::evaluate(
        plumb::hinge{.beta = 1},
        pairs{plumb::pair_record<>{.chosen = {.logp = -1, .ref = -2}, .rejected = {.logp = -2, .ref = -2}}});
    CHECK(at_kink.total == 0);
    CHECK(at_kink.slope(0, 0) == -0.5);
  }
  SECTION("the defaults of the per-token objectives are their papers', not a sum's") {
    CHECK(plumb::simpo{}.beta == 2);
    CHECK(plumb::dpo_norm{}.beta == 5);
    CHECK(plumb::alpha_po{}.alpha == 0.25);
  }
  SECTION("forward KL is held at e^80 a side") {
    CHECK(loss_of_ratios(plumb::f_dpo{.divergence = f_divergence::forward_kl}, -500, 0) ==
          Approx(0.1 * (std::exp(80) - 1)));
  }
}

TEST_CASE("parameters outside their range are refused, and so is what an objective does not have") {
  const auto refuses = [](const char* objective, const char* key, const char* value, const char* text) {
    CAPTURE(objective, key, value);
    plumb::visit_objective(objective, [&](auto o) {
      const auto before = plumb::parameters(o);
      CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(o, key, value), text);
      const auto after = plumb::parameters(o);
      for (std::size_t i = 0; i < before.size(); ++i) CHECK(before[i].value == after[i].value);
    });
  };
  for (const auto name : plumb::all_objectives::names) {
    plumb::visit_objective(name, [&](const auto& o) {
      for (const auto& p : plumb::parameters(o)) {
        const std::string key(p.name), range = plumb::describe_range(p.range);
        for (const char* bad : {"nan", "x"})
          refuses(o.name, key.c_str(), bad, p.range.words ? "expected" : range.c_str());
        if (p.range.words) continue;
        refuses(o.name, key.c_str(), "inf", range.c_str());
        const auto outside = [&](double end, bool included, double step) {
          if (std::isfinite(end))
            refuses(o.name, key.c_str(), plumb::join(included ? end + step : end).c_str(), "found");
        };
        outside(p.range.lower, p.range.with_lower, -1);
        outside(p.range.upper, p.range.with_upper, 1);
        CHECK(plumb::describe_range(p.range).size() > 5);
        CHECK(p.meaning.size() > 5);
      }
    });
  }
  refuses("exo", "label_smoothing", "0", "expected a finite number above 0 and below 0.5, found 0");
  refuses("discopop", "tau", "0", "above 0 and at most 1");
  refuses("discopop", "tau", "1.5", "above 0 and at most 1");
  refuses("slic", "delta", "0", "above 0");
  refuses("simpo", "gamma", "-1", "of at least 0");
  refuses("kto", "desirable", "-1", "of at least 0");
  refuses("reward", "centre", "-1", "of at least 0");
  refuses("ipo", "per_token", "1", "expected true or false, found '1'");
  refuses("f_dpo", "divergence", "jss", "expected one of reverse_kl, forward_kl, js, alpha, found 'jss'");
  refuses("f_dpo", "divergence", "2", "found '2'");
  refuses("f_dpo", "alpha", "inf", "a finite number");
  // Smoothing and length normalisation are not options of losses that have none.
  for (const char* objective : {"hinge", "ipo", "nca", "bco_pair", "sppo", "apo_zero", "apo_down", "discopop", "f_dpo",
                                "dpo_norm", "slic", "simpo", "alpha_po", "orpo", "reward", "kto", "bco"})
    refuses(objective, "label_smoothing", "0.1", "unknown parameter 'label_smoothing'");
  refuses("dpo", "per_token", "true", "unknown parameter 'per_token'");
  refuses("dpo", "divergence", "js", "unknown parameter 'divergence'");
}

TEST_CASE("parameters that are words or bools") {
  plumb::f_dpo f;
  plumb::set_parameter(f, "divergence", "forward_kl");
  CHECK(f.divergence == f_divergence::forward_kl);
  CHECK(plumb::parameters(f)[1].value == "forward_kl");
  CHECK(plumb::describe_range(plumb::parameters(f)[1].range) == "one of reverse_kl, forward_kl, js, alpha");
  for (const char* word : plumb::f_divergence_words) {
    plumb::set_parameter(f, "divergence", word);
    CHECK(plumb::parameters(f)[1].value == word);
  }
  CHECK_MESSAGE(errc::bad_argument, plumb::check_parameters(plumb::f_dpo{.divergence = static_cast<f_divergence>(9)}),
                "f_dpo.divergence: expected one of reverse_kl, forward_kl, js, alpha, found 9");
  CHECK(plumb::parameters(plumb::f_dpo{.divergence = static_cast<f_divergence>(9)})[1].value == "9");
  plumb::ipo i;
  plumb::set_parameter(i, "per_token", "false");
  CHECK_FALSE(i.per_token);
  CHECK(plumb::parameters(i)[1].value == "false");
  CHECK(plumb::describe_range(plumb::parameters(i)[1].range) == "false or true");
  picky p;
  plumb::set_parameter(p, "form", "square");
  CHECK(plumb::describe_range(plumb::parameters(p)[0].range) == "round or square");
  SECTION("a parameter that another one makes useless is refused and changes nothing") {
    plumb::set_parameter(p, "side", "2");
    CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(p, "form", "round"), "picky: only squares have a side");
    CHECK(p.form == picky::shape::square);
    picky round;
    CHECK_MESSAGE(errc::bad_argument, plumb::set_parameter(round, "side", "2"), "only squares have a side");
    CHECK(round.side == 1);
    CHECK_NOTHROW(plumb::set_parameter(round, "side", "1"));
    CHECK_MESSAGE(errc::bad_argument, plumb::any_objective<level::pair>(picky{.side = 3}), "only squares have a side");
    auto method = plumb::make_objective<level::pair>("f_dpo");
    CHECK_MESSAGE(errc::bad_argument, method.set_parameter("alpha", "0.3"), "alpha asks for divergence=alpha");
    CHECK(method.parameters()[2].value == "0.5");
    method.set_parameter("divergence", "alpha");
    method.set_parameter("alpha", "0.3");
    CHECK(method.parameters()[2].value == "0.3");
    CHECK_MESSAGE(errc::bad_argument, method.set_parameter("divergence", "js"), "alpha asks for divergence=alpha");
    CHECK_MESSAGE(errc::bad_argument,
                  plumb::check_parameters(plumb::f_dpo{.divergence = f_divergence::js, .alpha = 0.3}),
                  "f_dpo: alpha asks for divergence=alpha, set first");
    CHECK_NOTHROW(plumb::check_parameters(plumb::f_dpo{.divergence = f_divergence::alpha, .alpha = 0.3}));
  }
}

TEST_CASE("needs say what each objective reads") {
  using plumb::describe_needs;
  CHECK(describe_needs(plumb::simpo::needs) == "logp, tokens");
  CHECK(describe_needs(plumb::ipo::needs) == "logp, reference, tokens");
  CHECK(describe_needs(plumb::reward::needs) == "reward, margin");
  CHECK(describe_needs(plumb::kto::needs) == "logp, reference, desirable, divergence");
  CHECK_MESSAGE(errc::bad_argument, plumb::require_needs("reward", plumb::reward::needs, plumb::need::logp),
                "attach a reward head");
  auto r = golden_pair();
  r.chosen.tokens = plumb::missing;
  CHECK_MESSAGE(errc::not_finite, loss(plumb::simpo{}, r), "field 'chosen.tokens' is missing");
  CHECK(loss(plumb::nca{}, r) > 0);
  r.rejected.reward = plumb::missing;
  CHECK_MESSAGE(errc::not_finite, loss(plumb::reward{}, r), "field 'rejected.reward' is missing");
}

TEST_CASE("rewards of reference-free objectives are those of the policy alone") {
  pairs one{golden_pair()};
  one[0].chosen.ref = one[0].rejected.ref = plumb::missing;
  const auto margin = [&](const auto& o) {
    plumb::metric_list found;
    plumb::collect_metrics(o, std::span<const plumb::pair_record<>>(one), found);
    return found.value("rewards/margins");
  };
  CHECK(margin(plumb::simpo{}) == Approx(2 * (-12.0 / 5 + 15.0 / 8)));
  CHECK(margin(plumb::cpo{}) == Approx(0.1 * 3));
  CHECK(margin(plumb::slic{}) == 3);
  CHECK(margin(plumb::reward{}) == Approx(0.5));
  CHECK(std::isnan(margin(plumb::dpo{})));  // control
}
