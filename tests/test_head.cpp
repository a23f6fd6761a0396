// SPDX-License-Identifier: BSL-1.0
// What the head gives beside log p: values against plain sums, gradients against finite differences, chunks, backends.
#include <plumb/io/json.hpp>
#include <plumb/plumb.hpp>

#include <plumb/backend/reference.hpp>
#include <plumb/objective/distill.hpp>
#include <plumb/objective/eaft.hpp>
#include <plumb/objective/ld_dpo.hpp>
#include <plumb/objective/tdpo.hpp>
#include <plumb/objective/tpo.hpp>
#include <plumb/objective/wpo.hpp>

#include "catch.hpp"
#include "support.hpp"

using namespace plumb;
using Catch::Matchers::Contains;

namespace head_test {

/// Expected negative log of a word under p, scaled by itself: an own statistic.
struct sharp_words {
  static constexpr bool compares = false;
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    return exp(logp) * logp * logp;
  }
};
struct own_statistic {
  static constexpr const char* name = "own_statistic";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::statistic;
  using row_statistic = sharp_words;
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return 0.3 * r.statistic - r.logp;
  }
};

/// asft without its detached weight, which finite differences would not see.
struct anchored {
  static constexpr const char* name = "anchored";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::sequential_kl;
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return 0.7 * r.sequential_kl - r.logp;
  }
};

model_config tiny(bool tied) {
  model_config c;
  c.vocabulary = 11;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.layers = 1;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_width = 4;
  c.max_positions = 32;
  c.tied_head = tied;
  return c;
}

std::vector<example> rows() {
  std::vector<example> out(2);
  out[0].prompt = {1, 2};
  out[0].replies = {{{3, 4, 5, 6}}, {{7, 8}}};
  out[1].prompt = {1, 9, 2};
  out[1].replies = {{{10}}, {{2, 3, 0}}};
  return out;
}

struct outcome {
  double loss = 0;
  std::vector<std::vector<double>> gradients;
};

template <class B, class Objective>
outcome differentiate(const policy<B, double>& p, const Objective& method, std::vector<example> data,
                      const language_model<B, double>* taught = nullptr, std::size_t memory = 1 << 20) {
  if constexpr (row_objective<Objective>) {
    return differentiate(p, row_loss<Objective>{method}, std::move(data), taught, memory);
  } else {
    scorer<B, double> engine(p.model());
    const need needs = objective_needs(method);
    if (has(needs, need::reference)) score_references(engine, std::span(data), {}, 2048, true);
    for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
    const objective_sums<B, double, Objective> extra(method, needs, p.network().vocabulary());
    typename scorer<B, double>::request asked{
        .learn = true, .head = extra.options({.memory = memory}), .sums = extra.sums()};
    asked.other = taught;
    asked.teacher_words = bring_teacher_words(data, p.network().vocabulary());
    training_batch batch;
    batch.assign(std::span<const example>(data));
    const auto scores = engine.run(batch, asked);
    const auto records = make_records<Objective::level>(batch, scores);
    const auto part = [&] {
      if constexpr (requires { method.evaluate(records); })  // one chosen at run time
        return method.evaluate(records);
      else
        return evaluate(method, records);
    }();
    std::vector<double> slopes;
    spread_slopes<Objective::level>(batch, part.slopes, slopes, scores.rows);
    engine.learn(slopes);
    outcome out{part.total, {}};
    for (const auto& each : p.trainable()) out.gradients.push_back(each.parameter->gradient.host());
    return out;
  }
}

/// The largest |analytic − numeric| / max(1e-3, size) over a few numbers of every trainable tensor.
template <class B, class Objective>
double worst_slope(const policy<B, double>& p, const Objective& method, const std::vector<example>& data,
                   const language_model<B, double>* taught = nullptr, double tamper = 0) {
  const outcome analytic = differentiate(p, method, data, taught);
  double worst = 0;
  for (std::size_t k = 0; k < p.trainable().size(); ++k) {
    auto& value = p.trainable()[k].parameter->value;
    const std::vector<double> original = value.host();
    for (std::size_t i = 0; i < original.size(); i += 1 + original.size() / 5) {
      const auto at = [&](double x) {
        auto moved = original;
        moved[i] = x;
        value.assign(moved);
        return differentiate(p, method, data, taught).loss;
      };
      const double h = 1e-5, numeric = (at(original[i] + h) - at(original[i] - h)) / (2 * h);
      const double found = analytic.gradients[k][i] * (1 + tamper);
      worst = std::max(worst, std::abs(found - numeric) / std::max(1e-2, std::abs(numeric)));
    }
    value.assign(original);
  }
  return worst;
}

/// A policy whose adapter is not at its neutral start.
template <class B>
policy<B, double> adapted(const language_model<B, double>& model, std::vector<std::string> targets) {
  lora_options options;
  options.rank = 2;
  options.targets = std::move(targets);
  auto p = attach_lora(model, options);
  for (std::size_t k = 0; k < p.trainable().size(); ++k) {
    auto& value = p.trainable()[k].parameter->value;
    auto numbers = value.host();
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] += 0.3 * std::sin(1.0 + static_cast<double>(i + 7 * k));
    value.assign(numbers);
  }
  return p;
}

double first_loss(const fit_result& r) { return r.log.front().find("loss").value_or(missing); }

template <class F>
void for_each_method(F&& f) {
  f(sft{});
  f(sft{.label_smoothing = 0.2, .z_loss = 0.05});
  f(own_statistic{});
  f(anchored{});
  for (const auto how : {distill_divergence::forward_kl, distill_divergence::reverse_kl, distill_divergence::jsd})
    for (const int words : {0, 3})
      for (const bool tail : {true, false})
        if (words > 0 || tail) f(distill{.divergence = how, .temperature = 1.7, .top_k = words, .tail = tail});
  f(tdpo{.form = tdpo_form::tdpo1});
  f(ld_dpo{.alpha = 0.3});
}

}  // namespace head_test
using namespace head_test;

TEST_CASE("row sums are what they say, with their slopes, on reference and cpu", "[head]") {
  const std::vector<double> z{0.3, -1.2, 2.0, 0.7, -0.4}, o{1.0, 0.1, -0.5, 0.2, 0.9};
  const auto log_softmax = [](std::vector<double> x, double sharpness) {
    double total = 0;
    for (const double v : x) total += std::exp(sharpness * v);
    for (double& v : x) v = sharpness * v - std::log(total);
    return x;
  };
  const double t = 1.7;
  const auto s = log_softmax(z, 1 / t), q = log_softmax(o, 1 / t);
  double expected = 0;
  for (std::size_t k = 0; k < z.size(); ++k) expected += std::exp(q[k]) * (q[k] - s[k]);
  const distill method{.divergence = distill_divergence::forward_kl, .temperature = t};
  const auto found = evaluate_row(method, z, o);
  CHECK(found.loss == Approx(expected).epsilon(1e-13));
  for (std::size_t k = 0; k < z.size(); ++k)
    CHECK(found.slopes[k] == Approx((std::exp(s[k]) - std::exp(q[k])) / t).epsilon(1e-12));
  const auto on = [&]<class B>(B) {
    typename B::device d;
    double value = 0;
    std::vector<double> slope{2.0}, dz(5, 0.5);
    const view<const double> a(z.data(), {1, 5}), b(o.data(), {1, 5});
    B::template row_sums<double>(d, a, b, 1 / t, method, &value);
    CHECK(value == Approx(expected).epsilon(1e-13));
    B::template row_sum_gradients<double>(d, a, b, 1 / t, method, slope.data(), view<double>(dz.data(), {1, 5}));
    for (std::size_t k = 0; k < 5; ++k) CHECK(dz[k] == Approx(0.5 + 2 * found.slopes[k]).epsilon(1e-12));
  };
  on(reference{});
  on(cpu{});
}

TEST_CASE("generalised Jensen-Shannon divergences of GKD", "[head]") {
  const std::vector<double> teacher{std::log(.7), std::log(.2), std::log(.1)};
  const std::vector<double> student{std::log(.2), std::log(.3), std::log(.5)};
  const auto loss = [&](double beta) { return evaluate_row(distill{.beta = beta}, student, teacher).loss; };
  CHECK(loss(0) == Approx(.634897265082).epsilon(1e-11));
  CHECK(loss(.1) == Approx(.0558908287775).epsilon(1e-11));
  CHECK(loss(.5) == Approx(.151358111572).epsilon(1e-11));
  CHECK(loss(1) == Approx(.67580589495).epsilon(1e-11));
  CHECK(evaluate_row(distill{}, teacher, teacher).loss == Approx(0).margin(1e-15));
  const double never = -std::numeric_limits<double>::infinity();  // a word that the teacher never says
  const std::vector<double> sure{0, never, never};
  CHECK(std::isfinite(evaluate_row(distill{}, student, sure).loss));
  CHECK(evaluate_row(distill{.divergence = distill_divergence::forward_kl}, student, sure).loss ==
        Approx(-std::log(.2)).epsilon(1e-12));
}

TEST_CASE("a teacher's likeliest words, and all others as one", "[head][golden]") {
  const auto golden = json::parse_file(plumb_test::repository() / "tests/golden/top_words.json");
  const auto& all = golden.as_object();
  const auto student = json::get<std::vector<double>>(all, "student", "golden"),
             teacher = json::get<std::vector<double>>(all, "teacher", "golden");
  int compared = 0;
  for (const auto& entry : all.at("cases").as_array()) {
    const auto& c = entry.as_object();
    any_objective<level::token> any = row_loss<distill>{};
    for (const auto& setting : c.at("settings").as_object()) {
      const std::string text = json::dump(setting.value());
      any.set_parameter(std::string(setting.key()), text[0] == '"' ? text.substr(1, text.size() - 2) : text);
    }
    CAPTURE(json::dump(c.at("settings")));
    const auto found = evaluate_row(*any.find_row_function<distill>(), student, teacher);
    CHECK(found.loss == Approx(json::get<double>(c, "loss", "case")).epsilon(1e-12).margin(1e-14));
    const auto slopes = json::get<std::vector<double>>(c, "slopes", "case");
    for (std::size_t k = 0; k < slopes.size(); ++k)
      CHECK(found.slopes[k] == Approx(slopes[k]).epsilon(1e-10).margin(1e-14));
    ++compared;
  }
  CHECK(compared == 24);

  const distill dense{.beta = 0.3}, few{.beta = 0.3, .top_k = 2}, every{.beta = 0.3, .top_k = 100};
  CHECK(evaluate_row(every, student, teacher).loss ==
        Approx(evaluate_row(dense, student, teacher).loss).epsilon(1e-13));
  CHECK(evaluate_row(few, student, teacher).loss < evaluate_row(dense, student, teacher).loss);  // merging words loses
  CHECK(evaluate_row(few, teacher, teacher).loss == Approx(0).margin(1e-14));
  const std::vector<double> ties{1, 1, 0, 1, -5};
  std::int32_t ids[3];
  pick_top_words(ties.data(), 5, ids, 2);
  CHECK((ids[0] == 0 && ids[1] == 1));
  pick_top_words(ties.data(), 5, ids, 3);
  CHECK((ids[0] == 0 && ids[1] == 1 && ids[2] == 3));

  any_objective<level::token> method = row_loss<distill>{};
  CHECK_THROWS_AS(method.set_parameter("tail", "false"), error);  // says nothing without top_k
  method.set_parameter("top_k", "5");
  method.set_parameter("tail", "false");
}

TEMPLATE_TEST_CASE("words that rows bring are as good as the teacher that said them", "[head]", reference, cpu) {
  using B = TestType;
  initialisation wide, other;
  wide.embedding = other.embedding = 0.7;
  wide.gain = other.gain = 2;
  other.seed = 5;
  const auto model = make_model<B, double>(tiny(false), {}, wide);
  const auto large = make_model<B, double>(tiny(false), {}, other);
  const auto p = adapted(model, {"q_proj", "down_proj"});
  auto data = rows();
  for (auto& e : data) e.replies.resize(1);
  // What the teacher says of every token, by scoring every word in its place.
  auto taught = data;
  scorer<B, double> engine(large);
  for (example& e : taught) {
    reply& r = e.replies[0];
    std::vector<std::vector<token_id>> ids(r.tokens.size());
    std::vector<std::vector<double>> logp(r.tokens.size());
    for (std::size_t t = 0; t < r.tokens.size(); ++t)
      for (token_id v = 10; v >= 0; --v) {
        example asked{.prompt = e.prompt, .replies = {{r.tokens}}};
        asked.replies[0].tokens.resize(t + 1);
        asked.replies[0].tokens[t] = v;
        training_batch batch;
        batch.assign(std::span<const example>(&asked, 1));
        ids[t].push_back(v);
        logp[t].push_back(engine.run(batch, {}).logp[t]);
      }
    give_teacher_words(r, ids, logp, "here");
  }
  const auto compare = [&](const distill& method, index_t words) {
    CAPTURE(method.top_k, method.tail, words);
    auto named = taught;
    keep_teacher_words(named, words);
    const auto from_model = differentiate(p, method, data, &large);
    const auto from_words = differentiate(p, method, named);
    CHECK(from_words.loss == Approx(from_model.loss).epsilon(1e-9));
    for (std::size_t k = 0; k < from_model.gradients.size(); ++k)
      for (std::size_t i = 0; i < from_model.gradients[k].size(); ++i)
        CHECK(from_words.gradients[k][i] == Approx(from_model.gradients[k][i]).epsilon(1e-8).margin(1e-12));
    CHECK(std::abs(differentiate(p, sft{}, data).loss - from_words.loss) > 1e-3);
  };
  for (const auto how : {distill_divergence::forward_kl, distill_divergence::reverse_kl, distill_divergence::jsd})
    for (const bool tail : {true, false}) compare({.divergence = how, .top_k = 4, .tail = tail}, 4);
  auto ragged = taught;  // lists of different lengths: a short one is as if the others were not likely enough
  keep_teacher_words(ragged, 4);
  auto& shorter = ragged[0].replies[0].teacher;
  shorter.ids[3] = -1;
  const auto loss = [&](const std::vector<example>& of, bool tail) {
    return differentiate(p, distill{.divergence = distill_divergence::forward_kl, .top_k = 4, .tail = tail}, of).loss;
  };
  CHECK(std::isfinite(loss(ragged, true)));
  CHECK(std::isfinite(loss(ragged, false)));
  CHECK(loss(ragged, true) < loss(taught, true) + 1e-9);
}

TEMPLATE_TEST_CASE("gradients of row statistics agree with finite differences", "[head]", reference, cpu) {
  using B = TestType;
  const bool tied = GENERATE(false, true);
  initialisation wide, other;
  wide.embedding = other.embedding = 0.7;
  wide.gain = other.gain = 2;
  other.seed = 5;
  const auto model = make_model<B, double>(tiny(tied), {}, wide);
  const auto large = make_model<B, double>(tiny(tied), {}, other);
  const auto check = [&](const policy<B, double>& p, bool adapter) {
    for_each_method([&](const auto& method) {
      using O = std::remove_cvref_t<decltype(method)>;
      auto data = rows();
      if (O::level == level::token || O::level == level::row)
        for (auto& e : data) e.replies.resize(1);
      if (!adapter && O::level == level::pair) return;
      CAPTURE(O::name, adapter, tied);
      const auto* taught = O::level == level::row ? &large : nullptr;
      CHECK(worst_slope(p, method, data, taught) < 1e-6);
      CHECK(worst_slope(p, method, data, taught, 1e-3) > 1e-4);  // a wrong gradient is seen
      const auto whole = differentiate(p, method, data, taught), parts = differentiate(p, method, data, taught, 1);
      CHECK(parts.loss == Approx(whole.loss).epsilon(1e-13));
      for (std::size_t k = 0; k < whole.gradients.size(); ++k)
        for (std::size_t i = 0; i < whole.gradients[k].size(); ++i)
          CHECK(parts.gradients[k][i] == Approx(whole.gradients[k][i]).epsilon(1e-11).margin(1e-13));
    });
  };
  check(adapted(model, {"q_proj", "down_proj"}), true);
  if (!tied) check(adapted(model, {"q_proj", "lm_head"}), true);
  check(train_all(model), false);
}

TEST_CASE("wpo is dpo times a detached weight", "[head]") {
  initialisation wide;
  wide.embedding = 0.7;
  wide.gain = 2;
  const auto model = make_model<cpu, double>(tiny(false), {}, wide);
  const auto p = adapted(model, {"q_proj", "v_proj"});
  auto data = rows();
  data.resize(1);
  const auto plain = differentiate(p, dpo{}, data), weighted = differentiate(p, wpo{}, data);
  // c = mean_t(log p_t − log Σ p²), from the logits themselves
  double sum = 0;
  scorer<cpu, double> engine(model);
  for (const reply& r : data[0].replies) {
    example one;
    one.prompt = data[0].prompt;
    one.replies = {r};
    double part = 0;
    for (std::size_t t = 0; t < r.tokens.size(); ++t) {
      double squares = 0, own = 0;
      for (token_id v = 0; v < 11; ++v) {
        example asked = one;
        asked.replies[0].tokens.resize(t + 1);
        asked.replies[0].tokens[t] = v;
        training_batch batch;
        batch.assign(std::span<const example>(&asked, 1));
        const double logp = engine.run(batch, {}).logp[t];
        squares += std::exp(2 * logp);
        if (v == r.tokens[t]) own = logp;
      }
      part += own - std::log(squares);
    }
    sum += part / static_cast<double>(r.tokens.size());
  }
  CHECK(weighted.loss == Approx(std::exp(sum) * plain.loss).epsilon(1e-10));
  for (std::size_t k = 0; k < plain.gradients.size(); ++k)
    for (std::size_t i = 0; i < plain.gradients[k].size(); ++i)
      CHECK(weighted.gradients[k][i] == Approx(std::exp(sum) * plain.gradients[k][i]).epsilon(1e-9).margin(1e-14));
}

TEST_CASE("eaft weighs each token by the entropy among the likeliest words", "[head]") {
  const auto model = make_model<cpu, double>(tiny(false), {}, {.seed = 3, .gain = 3});
  const auto p = adapted(model, {"q_proj", "lm_head"});
  const auto data = rows();
  // The entropies from the log-probabilities of every word, each asked for by itself.
  scorer<cpu, double> engine(p.model());
  std::vector<double> own, entropy[2];
  for (const example& e : data)
    for (const reply& r : e.replies)
      for (std::size_t t = 0; t < r.tokens.size(); ++t) {
        std::vector<double> row;
        for (token_id v = 0; v < 11; ++v) {
          example asked{.prompt = e.prompt, .replies = {{r.tokens}}};
          asked.replies[0].tokens.resize(t + 1);
          asked.replies[0].tokens[t] = v;
          training_batch batch;
          batch.assign(std::span<const example>(&asked, 1));
          row.push_back(engine.run(batch, {.adapters = true}).logp[t]);
        }
        own.push_back(row[static_cast<std::size_t>(r.tokens[t])]);
        std::sort(row.rbegin(), row.rend());
        for (const std::size_t k : {3, 11}) {
          double total = 0, sum = 0;
          for (std::size_t i = 0; i < k; ++i) total += std::exp(row[i]);
          for (std::size_t i = 0; i < k; ++i) sum -= std::exp(row[i]) / total * (row[i] - std::log(total));
          entropy[k == 3 ? 0 : 1].push_back(sum);
        }
      }
  for (const int words : {3, 0, 11, 40}) {
    const eaft method{.alpha = 1.5, .scale = 2, .function = {words}};
    double expected = 0;
    for (std::size_t t = 0; t < own.size(); ++t)
      expected -= std::pow(entropy[words == 3 ? 0 : 1][t] / 2, 1.5) * own[t] / static_cast<double>(own.size());
    CAPTURE(words);
    const auto found = differentiate(p, method, data);
    CHECK(found.loss == Approx(expected).epsilon(1e-11));
    any_objective<level::token> any = method;
    const auto by_name = differentiate(p, any, data);
    CHECK(by_name.loss == Approx(expected).epsilon(1e-11));
    CHECK(by_name.gradients == found.gradients);
  }
  // Two terms with statistics of their own are one too many: a run makes one.
  const any_objective<level::token> two =
      any_objective<level::token>(eaft{}) + any_objective<level::token>(row_loss<distill>{});
  CHECK_THROWS_WITH(differentiate(p, two, data), Contains("two of its terms"));
}

TEST_CASE("tdpo2 at the reference, ld_dpo at alpha one, and formulas on records", "[head]") {
  pair_record<double> r;
  r.chosen = {.logp = -3, .tail = -1, .sequential_kl = 0.4, .ref = -4, .ref_tail = -1.5};
  r.rejected = {.logp = -6, .tail = 0, .sequential_kl = 0.9, .ref = -5, .ref_tail = 0};
  const std::vector<pair_record<double>> one{r};
  const double gap = 2;
  const auto loss = [](double margin) { return std::log1p(std::exp(-0.1 * margin)); };
  CHECK(evaluate(tdpo{}, one).total == Approx(loss(gap - 0.5 * 0.5)).epsilon(1e-14));
  CHECK(evaluate(tdpo{.form = tdpo_form::tdpo1}, one).total == Approx(loss(gap - 0.5)).epsilon(1e-14));
  CHECK(evaluate(tdpo{}, one).slope(0, detail::slot_index<level::pair>("chosen", "sequential_kl")) == 0.0);
  CHECK(evaluate(ld_dpo{.alpha = 1}, one).total == Approx(loss(gap)).epsilon(1e-14));
  CHECK(evaluate(ld_dpo{.alpha = 0}, one).total == Approx(loss(gap - 0.5)).epsilon(1e-14));
  CHECK(undeclared_field(tdpo{}).empty());
  CHECK(undeclared_field(ld_dpo{}).empty());
  CHECK(undeclared_field(wpo{}).empty());
}

TEST_CASE("fit distils, trains with a reference per token, and refuses what is not there", "[head]") {
  initialisation other;
  other.seed = 9;
  other.gain = 3;
  const auto model = make_model<cpu, float>(tiny(false), {});
  const auto large = make_model<cpu, float>(tiny(false), {}, other);
  auto data = rows();
  auto p = attach_lora(model, {.rank = 8, .alpha = 32});
  const fit_options options{.rate = 0.03, .steps = 60, .log_every = 1};
  CHECK_THROWS_AS(fit(p, distill{}, data, options), error);
  CHECK_THROWS_AS(fit(p, dpo{}, data, options, teacher{large}), error);
  auto wrong = tiny(false);
  wrong.vocabulary = 12;
  const auto stranger = make_model<cpu, float>(wrong, {});
  auto single = data;
  for (auto& e : single) e.replies.resize(1);
  CHECK_THROWS_AS(fit(p, distill{}, single, options, teacher{stranger}), error);
  const auto learned = fit(p, distill{}, single, options, teacher{large});
  CHECK(learned.loss < 0.5 * first_loss(learned));
  {
    auto few = attach_lora(model, {.rank = 8, .alpha = 32});
    const auto by_model = fit(few, distill{.top_k = 2}, single, options, teacher{large});
    CHECK(by_model.loss < 0.6 * first_loss(by_model));
    auto named = attach_lora(model, {.rank = 8, .alpha = 32});
    auto words = single;
    for (example& e : words)
      for (reply& r : e.replies)
        give_teacher_words(r, std::vector<std::vector<token_id>>(r.tokens.size(), {4, 1, 7}),
                           std::vector<std::vector<double>>(r.tokens.size(), {-2.0, -0.5, -3.0}), "here");
    const auto by_words = fit(named, distill{.top_k = 2}, words, options);
    CHECK(by_words.loss < 0.3 * first_loss(by_words));
    CHECK_THROWS_WITH(fit(named, distill{}, words, options), Contains("top_k"));
    CHECK_THROWS_WITH(fit(named, distill{.top_k = 2}, words, options, teacher{large}), Contains("leave one of them"));
    words[1].replies[0].teacher = {};
    words[1].place = "words:2";
    CHECK_THROWS_WITH(fit(named, distill{.top_k = 2}, words, options), Contains("words:2"));
    words[1].replies[0].teacher = {1, {99}, {-1.0}};
    CHECK_THROWS_WITH(fit(named, distill{.top_k = 2}, words, options), Contains("words:2"));
    words.resize(1);
    words[0].replies[0].teacher.ids[0] = 11;
    CHECK_THROWS_WITH(fit(named, distill{.top_k = 2}, words, options), Contains("vocabulary of 11"));
  }
  lora_options narrow;  // not as {.rank = 4} inside the generic lambda: g++ 12 stops with an internal error
  narrow.rank = 4;
  const auto run = [&](const auto& method) {
    auto fresh = attach_lora(model, narrow);
    return fit(fresh, method, data, options);
  };
  for (const double first : {first_loss(run(tdpo{})), first_loss(run(ld_dpo{}))})
    CHECK(first == Approx(ln2).epsilon(1e-5));
  CHECK(run(tdpo{}).loss < 0.6);
  CHECK(run(ld_dpo{}).loss < 0.65);
  CHECK(std::isfinite(run(wpo{}).loss));
  auto all = train_all(model);
  CHECK_THROWS_AS(fit(all, tdpo{}, data, options), error);
}

TEST_CASE("smoothed sft and Jensen-Shannon on stories260k are torch's, gradients included", "[head]") {
  const auto folder = plumb_test::shared_data("stories260k");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto golden = json::parse_file(plumb_test::repository() / "tests/golden/head.json");
  const auto model = load_model<cpu, double>(*folder / "hf");
  const auto p = load_adapter(model, *folder / "lora_init");
  for (const auto& each : p.trainable()) {
    if (each.name.find("lora_B") == std::string::npos) continue;
    auto numbers = each.parameter->value.host();
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = 0.05 * std::sin(static_cast<double>(i + 1));
    each.parameter->value.assign(numbers);
  }
  std::vector<example> data;
  for (const auto& row : golden.as_object().at("rows").as_array()) {
    example e;
    e.prompt = json::get<std::vector<token_id>>(row.as_object(), "prompt", "golden");
    e.replies.push_back({json::get<std::vector<token_id>>(row.as_object(), "reply", "golden")});
    data.push_back(std::move(e));
  }
  const auto teacher_model = load_model<cpu, double>(*folder / "hf");
  const auto compare = [&](const char* name, const outcome& found) {
    const auto& expected = golden.as_object().at(name).as_object();
    CAPTURE(name);
    // transformers keeps norms and rotations in float32 whatever the model's type is, hence 1e-5
    CHECK(found.loss == Approx(expected.at("loss").as_double()).epsilon(1e-5));
    const auto& norms = expected.at("gradient_norms").as_object();
    REQUIRE(norms.size() == p.trainable().size());
    for (std::size_t k = 0; k < found.gradients.size(); ++k) {
      double squares = 0;
      for (const double x : found.gradients[k]) squares += x * x;
      CHECK(std::sqrt(squares) ==
            Approx(norms.at("base_model.model." + p.trainable()[k].name).as_double()).epsilon(1e-5));
    }
  };
  compare("sft", differentiate(p, sft{.label_smoothing = 0.1, .z_loss = 0.001}, data));
  compare("jsd", differentiate(p, distill{.temperature = 1.7, .beta = 0.3}, data, &teacher_model));
}

TEST_CASE("a stream's rows may bring a teacher's words, all of them or none", "[head][stream]") {
  /// The given rows, again and again.
  struct circle final : example_stream {
    std::vector<example> all;
    std::uint64_t at = 0;
    explicit circle(std::vector<example> given) : all(std::move(given)) {}
    example next() override { return all[at++ % all.size()]; }
    void put_back() override { --at; }
    [[nodiscard]] index_t drawn() const override { return static_cast<index_t>(at); }
    [[nodiscard]] index_t rows() const override { return static_cast<index_t>(all.size()); }
    [[nodiscard]] std::uint64_t fingerprint() const override { return 7; }
    [[nodiscard]] std::vector<std::uint64_t> position() const override { return {at}; }
    void restore(std::span<const std::uint64_t> position) override { at = position[0]; }
  };
  const auto model = make_model<cpu, float>(tiny(false), {});
  auto words = rows();
  for (example& e : words) {
    e.replies.resize(1);
    reply& r = e.replies[0];
    give_teacher_words(r, std::vector<std::vector<token_id>>(r.tokens.size(), {4, 1, 7}),
                       std::vector<std::vector<double>>(r.tokens.size(), {-2.0, -0.5, -3.0}), "here");
  }
  fit_options options{.rate = 0.03, .steps = 60, .batch = 2, .log_every = 1, .eval_data = words};
  auto p = attach_lora(model, {.rank = 8, .alpha = 32});
  circle from(words);
  const auto learnt = fit(p, distill{.top_k = 2}, from, options);
  CHECK(learnt.loss < 0.3 * first_loss(learnt));
  CHECK(learnt.log.back().find("eval_loss").value() < 0.3 * first_loss(learnt));
  words[1].replies[0].teacher = {};
  words[1].place = "words:2";
  circle broken(words);
  CHECK_THROWS_WITH(fit(p, distill{.top_k = 2}, broken, options), Contains("words:2"));
  circle pairs(rows());
  CHECK_THROWS_WITH(fit(p, tpo{}, pairs, {.steps = 1}), Contains("groups of 3 replies, found 2"));
}
