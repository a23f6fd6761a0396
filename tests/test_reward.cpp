// SPDX-License-Identifier: BSL-1.0
// Reward models and critics: the score head's numbers and slopes, its objectives, training, files, and bad input.
#include <plumb/plumb.hpp>

#include <plumb/backend/reference.hpp>
#include <plumb/data/read_labelled.hpp>
#include <plumb/models/describe_adapter.hpp>
#include <plumb/models/score_head.hpp>
#include <plumb/objective/plackett_luce.hpp>
#include <plumb/objective/ppo.hpp>
#include <plumb/objective/process_reward.hpp>
#include <plumb/objective/reward.hpp>
#include <plumb/objective/reward_regression.hpp>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

#include <cmath>

using namespace plumb;

namespace reward_test {

/// Value and policy at once, as ppo has them.
struct value_and_policy {
  static constexpr const char* name = "value_and_policy";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::logp | need::value | need::entropy;
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return 0.5 * square(r.value - 0.3) - r.logp + 0.1 * r.entropy;
  }
};

/// Every use of both heads on pairs.
struct scored_likelihood {
  static constexpr const char* name = "scored_likelihood";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = need::logp | need::reward;
  template <class Real>
  constexpr Real operator()(const pair_record<Real>& r) const {
    return -log_sigmoid(r.chosen.reward - r.rejected.reward) - 0.1 * r.chosen.logp;
  }
};

model_config tiny() {
  model_config c;
  c.vocabulary = 11;
  c.hidden_size = 8;
  c.intermediate_size = 12;
  c.layers = 2;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_width = 4;
  c.max_positions = 32;
  c.tied_head = true;
  return c;
}

template <class B>
policy<B, double> judge(const language_model<B, double>& model, bool all = false) {
  lora_options options;
  options.rank = 2;
  options.targets = {"q_proj", "down_proj"};
  auto p = all ? train_all(model) : attach_lora(model, options);
  for (std::size_t k = 0; !all && k < p.trainable().size(); ++k) {  // away from the neutral start
    auto& value = p.trainable()[k].parameter->value;
    auto numbers = value.host();
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] += 0.3 * std::sin(1.0 + static_cast<double>(i + 7 * k));
    value.assign(numbers);
  }
  attach_score_head(p);
  return p;
}

language_model<reference, double> tiny_model(std::uint64_t seed = 0) {
  return make_model<reference, double>(tiny(), std::nullopt, {.seed = seed, .embedding = 0.7});
}

std::vector<example> pairs() {
  std::vector<example> out(2);
  out[0].prompt = {1, 2};
  out[0].replies = {{{3, 4, 5, 6}}, {{7, 8}}};
  out[0].margin = 0.25;
  out[1].prompt = {1, 9, 2};
  out[1].replies = {{{10}}, {{2, 3, 0}}};
  return out;
}

/// The same rows, each with a prompt of its own: nothing is shared.
std::vector<example> singles(const std::vector<example>& rows) {
  std::vector<example> out;
  for (const example& e : rows)
    for (const reply& r : e.replies) {
      example& one = out.emplace_back();
      one.prompt = e.prompt;
      one.replies = {r};
    }
  return out;
}

struct outcome {
  double loss = 0;
  std::vector<std::vector<double>> gradients;
  batch_scores scores;
};

template <class B, class T, class Objective>
outcome differentiate(const policy<B, T>& p, const Objective& method, const std::vector<example>& data) {
  scorer<B, T> engine(p.model());
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
  typename scorer<B, T>::request asked{.learn = true,
                                       .head = {.entropy_gradient = has(Objective::needs, need::entropy)}};
  ask_score_head(asked, p, Objective::needs);
  training_batch batch;
  batch.assign(std::span<const example>(data));
  outcome out;
  out.scores = engine.run(batch, asked);
  const auto part = evaluate(method, make_records<Objective::level>(batch, out.scores));
  std::vector<T> slopes;
  spread_slopes<Objective::level>(batch, part.slopes, slopes, out.scores.rows);
  engine.learn(slopes);
  out.loss = part.total;
  for (const auto& each : p.trainable()) {
    const auto host = each.parameter->gradient.host();
    out.gradients.emplace_back(host.begin(), host.end());
  }
  return out;
}

/// The largest |analytic − numeric| / max(1e-2, size) over a few numbers of every trainable tensor.
template <class B, class Objective>
double worst_slope(const policy<B, double>& p, const Objective& method, const std::vector<example>& data,
                   double tamper = 0) {
  const outcome analytic = differentiate(p, method, data);
  double worst = 0;
  for (std::size_t k = 0; k < p.trainable().size(); ++k) {
    auto& value = p.trainable()[k].parameter->value;
    const std::vector<double> original = value.host();
    for (std::size_t i = 0; i < original.size(); i += 1 + original.size() / 5) {
      const auto at = [&](double x) {
        auto moved = original;
        moved[i] = x;
        value.assign(moved);
        return differentiate(p, method, data).loss;
      };
      const double h = 1e-5, numeric = (at(original[i] + h) - at(original[i] - h)) / (2 * h);
      worst = std::max(worst,
                       std::abs(analytic.gradients[k][i] * (1 + tamper) - numeric) / std::max(1e-2, std::abs(numeric)));
    }
    value.assign(original);
  }
  return worst;
}

/// A reward on every token, so that each row of the score head matters.
struct token_reward {
  static constexpr const char* name = "token_reward";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::reward;
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return square(r.reward - 0.7);
  }
};

double last(const fit_result& r, const char* name) { return r.log.back().find(name).value_or(missing); }

fit_options few_steps(index_t steps) {
  fit_options o;
  o.steps = steps;
  o.batch = 2;
  o.rate = 0.02;
  o.seed = 5;
  o.log_every = 1;
  return o;
}

}  // namespace reward_test
using namespace reward_test;

TEST_CASE("slopes of the score head agree with finite differences", "[reward]") {
  const bool all = GENERATE(false, true);
  const auto model = tiny_model();
  const auto p = judge(model, all);
  CHECK(p.trainable().back().name == "score.weight");
  const auto right = [&](const auto& method) {
    INFO(std::remove_cvref_t<decltype(method)>::name);
    CHECK(worst_slope(p, method, pairs()) < 1e-6);
    CHECK(worst_slope(p, method, pairs(), 0.01) > 1e-3);  // a gradient one per cent off is found
  };
  right(reward{.centre = 0.1});
  right(plackett_luce{});
  right(scored_likelihood{});
  right(token_reward{});
  right(value_and_policy{});
  // Policy and critic on one network, as ppo trains them on sampled replies.
  auto sampled = singles(pairs());
  for (reply& r : sampled[0].replies) {
    r.old = {-2.5, -1.5, -3, -2};
    r.advantages = {0.5, -0.25, 1, -1};
    r.returns = {0.1, 0.2, 0.3, 1};
    r.old_values = {0.3, 0.1, 0.5, 0.4};
  }
  sampled.resize(1);
  const ppo method{.clip = 0.9, .value_clip = 5, .value_weight = 0.5, .entropy_weight = 0.1};
  CHECK(worst_slope(p, method, sampled) < 1e-6);
  CHECK(worst_slope(p, method, sampled, 0.01) > 1e-3);
}

TEST_CASE("ranking two replies is preferring one; ranking three goes through every score", "[reward]") {
  const auto model = tiny_model();
  const auto p = judge(model);
  const auto two = differentiate(p, plackett_luce{}, pairs()), pair = differentiate(p, reward{}, pairs());
  auto rows = pairs();
  rows[0].margin = 0;
  CHECK(two.loss == Approx(differentiate(p, reward{}, rows).loss).epsilon(1e-13));
  CHECK(two.loss != Approx(pair.loss).epsilon(1e-6));  // which reads the margin
  rows[0].replies.push_back({{9, 1, 5}});
  CHECK(worst_slope(p, plackett_luce{}, rows) < 1e-6);
  CHECK(worst_slope(p, plackett_luce{}, rows, 0.01) > 1e-3);
  auto q = judge(model);
  const auto result = fit(q, plackett_luce{}, rows, few_steps(60));
  CHECK(result.loss < 0.3);
  CHECK(result.loss < result.log.front().find("loss").value_or(0));
}

TEST_CASE("a score is that of the reply's last token, whatever stands beside it", "[reward]") {
  const auto model = tiny_model();
  const auto p = judge(model);
  const auto rows = pairs();
  const auto shared = differentiate(p, token_reward{}, rows);
  const auto apart = differentiate(p, token_reward{}, singles(rows));
  CHECK(shared.loss == Approx(apart.loss).epsilon(1e-14));
  for (std::size_t k = 0; k < shared.gradients.size(); ++k)
    for (std::size_t i = 0; i < shared.gradients[k].size(); ++i)
      CHECK(shared.gradients[k][i] == Approx(apart.gradients[k][i]).epsilon(1e-10).margin(1e-13));
  // The value of a token is the reward of the one before it: the same row, the same number.
  const auto critic = differentiate(p, value_and_policy{}, rows);
  std::size_t first = 0;
  for (const example& e : rows)
    for (const reply& r : e.replies) {
      for (std::size_t i = 1; i < r.tokens.size(); ++i)
        CHECK(critic.scores.value[first + i] == shared.scores.reward[first + i - 1]);
      first += r.tokens.size();
    }
  // Replies of one prompt start from the same value; another reply's tokens change nothing.
  CHECK(critic.scores.value[0] == critic.scores.value[4]);
  CHECK(shared.scores.reward[3] != shared.scores.reward[5]);
  auto other = rows;
  other[0].replies[1].tokens = {9, 9, 9};
  CHECK(differentiate(p, token_reward{}, other).scores.reward[3] == shared.scores.reward[3]);
  // Records take the last one.
  training_batch batch;
  batch.assign(std::span<const example>(rows));
  const auto records = make_records<level::pair>(batch, shared.scores);
  CHECK(records[0].chosen.reward == shared.scores.reward[3]);
  CHECK(records[0].rejected.reward == shared.scores.reward[5]);
  CHECK(records[1].chosen.reward == shared.scores.reward[6]);
  CHECK(std::isnan(records[0].chosen.logp));  // a reward model makes no log-probabilities
  CHECK(shared.scores.logp.empty());
  CHECK_FALSE(critic.scores.logp.empty());
}

namespace reward_test {

const auto golden = plumb_test::repository() / "tests" / "golden";

/// The rows of the golden file: pairs, rated replies, or labelled steps.
struct golden_rows {
  std::vector<example> pairs, rated, steps, critic;
  json::value document = json::parse_file(golden / "stories_reward.json");

  golden_rows() {
    const auto& o = document.as_object();
    const auto numbers = [](const json::value& list) {
      std::vector<double> out;
      for (const auto& x : list.as_array()) out.push_back(x.is_null() ? missing : x.to_number<double>());
      return out;
    };
    const auto ratings = numbers(o.at("ratings"));
    std::size_t i = 0;
    for (const auto& pair : o.at("pairs").as_array()) {
      const auto& from = pair.as_object();
      example e;
      e.prompt = json::get<std::vector<token_id>>(from, "prompt_ids", "golden");
      const auto ids = [&](const char* key) { return json::get<std::vector<token_id>>(from, key, "golden"); };
      for (const char* which : {"chosen_ids", "rejected_ids"}) {
        example& one = rated.emplace_back();
        one.prompt = e.prompt;
        one.replies = {{ids(which)}};
        one.replies[0].targets = {ratings[2 * i + (which[0] == 'c' ? 0 : 1)]};
      }
      for (std::vector<example>* list : {&steps, &critic}) {
        example& one = list->emplace_back();
        one.prompt = e.prompt;
        one.replies = {{ids("chosen_ids")}};
      }
      steps.back().replies[0].targets = numbers(o.at("labels").as_array()[i]);
      critic.back().replies[0].returns = numbers(o.at("returns").as_array()[i]);
      e.replies = {{ids("chosen_ids")}, {ids("rejected_ids")}};
      e.margin = json::get<double>(from, "margin", "golden");
      pairs.push_back(std::move(e));
      ++i;
    }
  }
};

/// Half the squared error of a critic.
struct critic_error {
  static constexpr const char* name = "critic_error";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::value;
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return 0.5 * square(r.value - r.ret);
  }
};

}  // namespace reward_test

TEST_CASE("scores, losses and gradients are those of transformers and PEFT", "[reward]") {
  using T = double;  // float: test_program.py
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto model = load_model<cpu, T>(*folder);
  const auto p = load_adapter(model, golden / "stories_reward");
  REQUIRE(p.score_head());
  const golden_rows rows;
  const auto& o = rows.document.as_object();
  const auto file = safetensors_file::open(golden / "stories_reward_grads.safetensors");
  const double tolerance = 1e-9;
  const auto same = [&](const char* name, const auto& method, const std::vector<example>& data) {
    INFO(name);
    const outcome found = differentiate(p, method, data);
    CHECK(found.loss == Approx(o.at("losses").as_object().at(name).to_number<double>()).epsilon(tolerance));
    for (std::size_t k = 0; k < p.trainable().size(); ++k) {
      const std::string key = join(name, ":base_model.model.", p.trainable()[k].name);
      INFO(key);
      std::vector<double> expected(found.gradients[k].size());
      file.read(key, std::span<double>(expected));
      double most = 0, worst = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        most = std::max(most, std::abs(expected[i]));
        worst = std::max(worst, std::abs(expected[i] - found.gradients[k][i]));
      }
      CHECK(most > 0);
      CHECK(worst < tolerance * most);
    }
    return found;
  };
  same("bt", reward{.centre = 0.01}, rows.pairs);
  same("regression", reward_regression{}, rows.rated);
  same("process", process_reward{}, rows.steps);
  same("value", critic_error{}, rows.critic);

  training_batch batch;
  batch.assign(std::span<const example>(rows.pairs));
  typename scorer<cpu, T>::request asked;
  ask_score_head(asked, p, need::reward);
  scorer<cpu, T> engine(model);
  const auto records = make_records<level::pair>(batch, engine.run(batch, asked));
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto& score = o.at("scores").as_array()[i].as_object();
    CHECK(records[i].chosen.reward == Approx(score.at("chosen").to_number<double>()).margin(1e-5));
    CHECK(records[i].rejected.reward == Approx(score.at("rejected").to_number<double>()).margin(1e-5));
  }
}

TEST_CASE("a reward model learns its pairs and logs scores alone", "[reward]") {
  const auto model = tiny_model();
  auto p = judge(model);
  const auto result = fit(p, reward{.centre = 0.01}, pairs(), few_steps(40));
  CHECK(result.log.front().find("loss").value_or(0) > 0.3);
  CHECK(last(result, "loss") < 0.1);
  CHECK(last(result, "accuracy") == 1);
  CHECK(last(result, "rewards/accuracies") == 1);
  CHECK(last(result, "margin") == Approx(last(result, "rewards/margins")));
  CHECK(last(result, "min_reward") < last(result, "mean_reward"));
  CHECK(last(result, "mean_reward") < last(result, "max_reward"));
  CHECK_FALSE(result.log.back().find("entropy").has_value());  // the language head did not run
  CHECK_FALSE(result.log.back().find("mean_token_accuracy").has_value());
}

TEST_CASE("the loss does not depend on how a step is split", "[reward]") {
  const auto model = tiny_model();
  const auto losses = [&](index_t batch) {
    auto p = judge(model);
    auto o = few_steps(4);
    o.batch = batch;
    o.accumulate = 2 / batch;
    return fit(p, reward{.centre = 0.1}, pairs(), o).loss;
  };
  CHECK(losses(1) == Approx(losses(2)).epsilon(1e-12));
}

TEST_CASE("an interrupted reward model goes on as if nothing had happened", "[reward]") {
  const plumb_test::temporary_folder folder;
  const auto options = [&] {
    auto o = few_steps(8);
    o.folder = folder.path();
    o.save_every = 4;
    return o;
  };
  const auto weights = [](const auto& p) { return p.score_head()->weight->value.host(); };
  const auto model = tiny_model();
  auto whole = judge(model);
  fit(whole, reward{}, pairs(), few_steps(8));
  const auto expected = weights(whole);
  auto first = judge(model);
  struct stop {
    bool on_step(const step_info& i) const { return i.step < 4; }
  };
  CHECK(fit(first, reward{}, pairs(), options(), stop{}).cancelled);
  auto second = judge(model);
  auto o = options();
  o.resume = true;
  CHECK(fit(second, reward{}, pairs(), o).steps == 8);
  CHECK(weights(second) == expected);
  CHECK(weights(judge(model)) != expected);
  auto headless = judge(model);
  detach_score_head(headless);
  CHECK_FAILS("bad_argument", "attach a reward head", fit(headless, reward{}, pairs(), o));
}

TEST_CASE("ratings and steps train", "[reward]") {
  const auto model = tiny_model();
  auto rated = pairs();
  rated = singles(rated);
  for (std::size_t i = 0; i < rated.size(); ++i) rated[i].replies[0].targets = {static_cast<double>(i)};
  auto p = judge(model);
  const auto found = fit(p, reward_regression{}, rated, few_steps(150));
  CHECK(last(found, "loss") < 0.2);
  CHECK(last(found, "absolute_error") < 0.5);

  auto solutions = singles(pairs());
  const double none = missing;
  solutions[0].replies[0].targets = {none, 1, none, 0};
  solutions[1].replies[0].targets = {0, none};
  solutions[2].replies[0].targets = {none};  // a row without any label counts nowhere
  solutions[3].replies[0].targets = {none, 1, 1};
  auto steps = judge(model);
  const auto learnt = fit(steps, process_reward{}, solutions, few_steps(60));
  CHECK(last(learnt, "loss") < 0.3);
  auto fewer = solutions;
  fewer.erase(fewer.begin() + 2);
  const auto q = judge(model);
  CHECK(differentiate(q, process_reward{}, solutions).loss ==
        Approx(differentiate(q, process_reward{}, fewer).loss).epsilon(1e-14));
  CHECK(differentiate(q, process_reward{}, fewer).loss > 0.1);
  solutions[0].replies[0].targets.clear();  // not "no label" but no labels at all: an error
  CHECK_FAILS("not_finite", "'target' is missing", fit(steps, process_reward{}, solutions, few_steps(4)));
}

TEST_CASE("a new score head is a function of its seed, small, and asked for once", "[reward]") {
  const auto model = tiny_model();
  const auto made = [&](const score_options& o) {
    auto p = attach_lora(model, {.rank = 2});
    attach_score_head(p, o);
    return p.score_head()->weight->value.host();
  };
  CHECK(made({.seed = 3}) == made({.seed = 3}));
  CHECK(made({.seed = 3}) != made({.seed = 4}));
  CHECK(made({.seed = 3, .deviation = 0}) == std::vector<double>(8, 0.0));
  for (const double x : made({.seed = 3})) CHECK(std::abs(x) < 5 / std::sqrt(9.0));
  CHECK(made({.seed = 3, .deviation = 2})[0] == Approx(6 * made({.seed = 3})[0]));  // 2 / (1/√9)
  CHECK_FAILS("bad_argument", "finite", made({.deviation = std::numeric_limits<double>::infinity()}));
  auto p = attach_lora(model, {.rank = 2});
  const auto adapter = p.trainable_count();
  attach_score_head(p);
  CHECK(p.trainable_count() == adapter + 8);
  CHECK_FAILS("bad_argument", "one already", attach_score_head(p));
  detach_score_head(p);
  CHECK(p.trainable_count() == adapter);
  CHECK_FALSE(p.score_head());
  detach_score_head(p);

  scorer<reference, double> engine(model);
  training_batch batch;
  const auto rows = pairs();
  batch.assign(std::span<const example>(rows));
  CHECK_FAILS("bad_argument", "attach one", engine.run(batch, {.rewards = true}));
}

TEST_CASE("a reward model's adapter comes back from its folder", "[reward]") {
  const plumb_test::temporary_folder folder;
  const auto model = tiny_model();
  auto p = judge(model);
  fit(p, reward{}, pairs(), few_steps(3));
  const double before = differentiate(p, reward{}, pairs()).loss;
  save_adapter(p, folder / "a");
  const auto config = json::parse_file(folder / "a" / "adapter_config.json");
  CHECK(json::dump(config.as_object().at("modules_to_save")) == "[\"score\"]");
  CHECK(json::dump(config.as_object().at("task_type")) == "\"SEQ_CLS\"");
  const auto again = load_adapter(model, folder / "a");
  REQUIRE(again.score_head());
  CHECK(again.trainable_count() == p.trainable_count());
  CHECK(differentiate(again, reward{}, pairs()).loss == Approx(before).epsilon(1e-12));
  CHECK(describe_adapter(again).at("score_head") == json::value(true));

  const std::vector<scored_tokens> texts{{{1, 2, 3, 4, 5, 6}, 2}, {{1, 2, 7, 8}, 2}};
  const auto scored = score(again, texts);
  training_batch batch;
  const auto rows = pairs();
  batch.assign(std::span<const example>(rows));
  const auto records = make_records<level::pair>(batch, differentiate(again, scored_likelihood{}, rows).scores);
  CHECK(scored[0].reward == Approx(records[0].chosen.reward).epsilon(1e-12));
  CHECK(scored[1].reward == Approx(records[0].rejected.reward).epsilon(1e-12));
  CHECK(scored[0].logp.size() == 4);

  // Without its head it is an ordinary adapter.
  auto plain = load_adapter(model, folder / "a");
  detach_score_head(plain);
  save_adapter(plain, folder / "b");
  CHECK_FALSE(load_adapter(model, folder / "b").score_head());
  CHECK(json::dump(json::parse_file(folder / "b" / "adapter_config.json").as_object().at("task_type")) ==
        "\"CAUSAL_LM\"");
  CHECK(std::isnan(score(plain, texts)[0].reward));

  // What is missing, too much, or of another shape is an error.
  const auto with_config = [&](const char* from, const char* to) {
    std::filesystem::remove_all(folder / "c");
    std::filesystem::create_directory(folder / "c");
    std::filesystem::copy(folder / from / "adapter_model.safetensors", folder / "c" / "adapter_model.safetensors");
    std::filesystem::copy(folder / to / "adapter_config.json", folder / "c" / "adapter_config.json");
    return folder / "c";
  };
  CHECK_FAILS("bad_model", "missing: base_model.model.score.weight", load_adapter(model, with_config("b", "a")));
  CHECK_FAILS("bad_model", "unexpected: base_model.model.score.weight", load_adapter(model, with_config("a", "b")));
  auto other = tiny();
  other.hidden_size = 12;
  const auto wider = make_model<reference, double>(other, std::nullopt);
  CHECK_FAILS("bad_model", "expected shape", load_adapter(wider, folder / "a"));
}

TEST_CASE("a merged reward model keeps its head, as a classifier with one label", "[reward]") {
  const bool all = GENERATE(false, true);
  const plumb_test::temporary_folder folder;
  const auto model = tiny_model();
  auto p = judge(model, all);
  fit(p, reward{}, pairs(), few_steps(3));
  save_merged(p, folder / "m");
  const auto config = json::parse_file(folder / "m" / "config.json");
  CHECK(json::dump(config.as_object().at("architectures")) == "[\"LlamaForSequenceClassification\"]");
  CHECK(holds_score_head(folder / "m"));
  const auto merged = load_model<reference, double>(folder / "m");
  policy<reference, double> again(merged, {}, std::nullopt);
  load_score_head(again, folder / "m");
  const std::vector<scored_tokens> texts{{{1, 2, 3, 4, 5, 6}, 2}, {{1, 2, 7, 8}, 2}};
  const auto expected = score(p, texts), found = score(again, texts);
  for (std::size_t i = 0; i < 2; ++i) CHECK(found[i].reward == Approx(expected[i].reward).epsilon(1e-12));
  save_model(model, folder / "plain");
  CHECK_FALSE(holds_score_head(folder / "plain"));
  CHECK_FALSE(holds_score_head(folder / "plain" / "config.json"));
  CHECK_FAILS("bad_model", "no score head", load_score_head(again, folder / "plain"));
}

TEST_CASE("a critic lies beside the adapter of its language model", "[reward]") {
  const plumb_test::temporary_folder folder;
  const auto model = tiny_model();
  auto p = judge(model);
  detach_score_head(p);
  attach_score_head(p, {.critic = true, .seed = 9});
  const auto expected = p.score_head()->weight->value.host();
  save_adapter(p, folder / "a");
  CHECK(json::dump(json::parse_file(folder / "a" / "adapter_config.json").as_object().at("task_type")) ==
        "\"CAUSAL_LM\"");
  CHECK_FALSE(weight_files::open(folder / "a", "adapter_model").contains("base_model.model.score.weight"));
  const auto again = load_adapter(model, folder / "a");
  REQUIRE(again.score_head());
  CHECK(again.score_head()->critic);
  CHECK(again.score_head()->weight->value.host() == expected);
  save_merged(again, folder / "m");
  CHECK_FALSE(holds_score_head(folder / "m"));
  const auto config = json::parse_file(folder / "m" / "config.json");
  CHECK(json::dump(config.as_object().at("architectures")) == "[\"LlamaForCausalLM\"]");
  auto plain = load_adapter(model, folder / "a");
  detach_score_head(plain);
  save_adapter(plain, folder / "a");  // over it
  CHECK_FALSE(load_adapter(model, folder / "a").score_head());
}

TEST_CASE("a reward model of the hub needs no language head", "[reward]") {
  const plumb_test::temporary_folder folder;
  auto shape_of = tiny();
  shape_of.tied_head = false;
  const auto model = make_model<reference, double>(shape_of, std::nullopt, {.seed = 2});
  const auto p = judge(model);
  save_merged(p, folder / "m");
  std::vector<std::vector<double>> numbers;
  std::vector<tensor_data> tensors;
  {
    const auto file = weight_files::open(folder / "m");
    for (const std::string& name : file.names()) {
      if (name == "lm_head.weight") continue;
      numbers.emplace_back(static_cast<std::size_t>(file.info(name).elements));
      file.read(name, std::span<double>(numbers.back()));
      tensors.push_back(as_tensor(name, file.shape(name), std::span<const double>(numbers.back())));
    }
  }
  write_safetensors(folder / "m" / "model.safetensors", tensors, {});
  const auto read = load_model<reference, double>(folder / "m");
  policy<reference, double> again(read, {}, std::nullopt);
  load_score_head(again, folder / "m");
  const std::vector<scored_tokens> texts{{{1, 2, 3, 4, 5, 6}, 2}};
  CHECK(score(again, texts)[0].reward == Approx(score(p, texts)[0].reward).epsilon(1e-12));
}

TEST_CASE("margins subtract, scale, or are left alone", "[reward]") {
  pair_record<> r;
  r.chosen.reward = 1.2;
  r.rejected.reward = 0.7;
  r.margin = -0.3;
  const auto loss = [&](const reward& method) { return evaluate(method, std::vector{r}); };
  const auto plain = [](double z) { return std::log1p(std::exp(-z)); };
  CHECK(loss({}).total == Approx(plain(0.8)).epsilon(1e-14));
  CHECK(loss({.use_margin = margin_use::scale}).total == Approx(0.3 * plain(0.5)).epsilon(1e-14));
  CHECK(loss({.use_margin = margin_use::ignore}).total == Approx(plain(0.5)).epsilon(1e-14));
  const auto scaled = loss({.centre = 0.1, .use_margin = margin_use::scale});
  const double miss = 1 / (1 + std::exp(0.5));
  CHECK(scaled.slope(0, 1) == Approx(-0.3 * miss + 0.2 * 1.9).epsilon(1e-13));
  CHECK(scaled.slope(0, 5) == Approx(0.3 * miss + 0.2 * 1.9).epsilon(1e-13));
  any_objective<level::pair> method = reward{};
  method.set_parameter("use_margin", "scale");
  CHECK(method.evaluate(std::vector{r}).total == Approx(0.3 * plain(0.5)).epsilon(1e-14));
  CHECK_FAILS("bad_argument", "use_margin", method.set_parameter("use_margin", "multiply"));
  for (const double far : {1e4, -1e4}) {
    r.chosen.reward = far;
    for (const auto use : {margin_use::subtract, margin_use::scale, margin_use::ignore})
      CHECK(std::isfinite(loss({.use_margin = use}).total));
  }
  token_record<> t;
  t.reward = -1e4;
  t.target = 1;
  CHECK(evaluate(process_reward{}, std::vector{t}).total == Approx(1e4));
  t.target = 0;
  CHECK(evaluate(process_reward{}, std::vector{t}).total == 0);
}

namespace reward_test {

/// The case's records with their scores in the slots that `fill` names; compares losses, slopes and the total.
template <class Objective, class Fill>
void compare(const json::object& c, Objective method, const std::vector<int>& slots, Fill&& fill) {
  for (const auto& member : c.at("parameters").as_object()) {
    const std::string text =
        member.value().is_string() ? std::string(member.value().as_string()) : json::dump(member.value());
    set_parameter(method, std::string(member.key()), text);
  }
  std::vector<record<Objective::level>> records;
  for (const auto& row : c.at("records").as_array()) {
    const auto scores = json::get<std::vector<double>>(row.as_object(), "scores", "golden");
    fill(row.as_object(), scores, records.emplace_back());
  }
  const auto found = evaluate(method, records);
  const auto losses = json::get<std::vector<double>>(c, "losses", "golden");
  REQUIRE(losses.size() == records.size());
  CHECK(found.total == Approx(json::get<double>(c, "total", "golden")).epsilon(1e-13));
  for (std::size_t i = 0; i < records.size(); ++i) {
    CHECK(found.losses[i] == Approx(losses[i]).epsilon(1e-13));
    const auto slopes = json::as<std::vector<double>>(c.at("slopes").as_array()[i], "slopes", "golden");
    for (std::size_t k = 0; k < slots.size(); ++k)
      CHECK(found.slope(static_cast<index_t>(i), slots[k]) == Approx(slopes[k]).epsilon(1e-12).margin(1e-15));
  }
}

}  // namespace reward_test

TEST_CASE("losses of scores and their slopes equal torch's", "[reward]") {
  const auto document = json::parse_file(golden / "objectives_rewards.json");
  int count = 0;
  for (const auto& each : document.as_object().at("cases").as_array()) {
    const auto& c = each.as_object();
    const auto name = json::get<std::string>(c, "objective", "golden");
    INFO(name);
    const auto slot = [](auto level_of, const char* part) {
      return plumb::detail::slot_index<decltype(level_of)::value>(part, "reward");
    };
    using plumb::level;
    ++count;
    if (name == "reward")
      compare(c, reward{},
              {slot(std::integral_constant<level, level::pair>(), "chosen"),
               slot(std::integral_constant<level, level::pair>(), "rejected")},
              [](const json::object& row, const std::vector<double>& s, pair_record<>& r) {
                r.chosen.reward = s[0], r.rejected.reward = s[1];
                r.margin = json::get<double>(row, "margin", "golden");
              });
    else if (name == "reward_regression")
      compare(c, reward_regression{}, {slot(std::integral_constant<level, level::sequence>(), "")},
              [](const json::object& row, const std::vector<double>& s, sequence_record<>& r) {
                r.reward = s[0], r.target = json::get<double>(row, "target", "golden");
              });
    else
      compare(c, process_reward{}, {slot(std::integral_constant<level, level::token>(), "")},
              [](const json::object& row, const std::vector<double>& s, token_record<>& r) {
                r.reward = s[0], r.target = json::get<double>(row, "target", "golden");
              });
  }
  CHECK(count == 5);
}

TEST_CASE("least and largest scores add up over micro-batches", "[reward]") {
  metric_list all, other;
  for (const double x : {0.5, -2.0, 1.0}) all.add("min_reward", x), all.add("max_reward", x);
  CHECK(all.value("min_reward") == -2);
  CHECK(all.value("max_reward") == 1);
  other.add("max_reward", 3);
  other.add("min_reward", 0);
  all.merge(other);
  CHECK(all.value("max_reward") == 3);
  CHECK(all.value("min_reward") == -2);
  metric_list from_checkpoint;
  for (const metric& m : all) from_checkpoint.add_sum(m.name, m.sum, m.weight);
  CHECK(from_checkpoint.value("min_reward") == -2);
  all.add("minimum", 1);  // an ordinary mean
  all.add("minimum", 2);
  CHECK(all.value("minimum") == 1.5);
}

TEST_CASE("rated replies and labelled steps are read as they stand", "[reward]") {
  const auto rated = [](const char* text) { return parse_rated(json::parse(text, "row"), "row", nullptr); };
  const auto row = rated(R"({"prompt_ids": [1, 2], "completion_ids": [3], "rating": 2.5})");
  REQUIRE(row);
  CHECK(row->replies[0].targets == std::vector<double>{2.5});
  CHECK(rated(R"({"ids": [1, 2], "target": 4})")->replies[0].targets == std::vector<double>{4});
  CHECK_FALSE(rated(R"({"prompt_ids": [1], "completion_ids": [3], "rating": null})"));
  CHECK_FAILS("bad_data", "expected a rating", rated(R"({"prompt_ids": [1], "completion_ids": [3]})"));
  CHECK_FAILS("bad_data", "found both", rated(R"({"ids": [1], "rating": 1, "target": 1})"));
  CHECK_FAILS("bad_file", "\"rating\"", rated(R"({"ids": [1], "rating": "good"})"));

  const auto steps = [](const char* text, const step_options& o = {}) {
    return parse_steps(json::parse(text, "row"), "row", nullptr, o);
  };
  const char* const two =
      R"({"prompt_ids": [1], "completions_ids": [[2, 3], [4], [5, 6]], "labels": [true, null, 0.25]})";
  const auto labels = steps(two).replies[0].targets;
  REQUIRE(labels.size() == 5);
  CHECK(std::isnan(labels[0]));
  CHECK(labels[1] == 1);
  CHECK(std::isnan(labels[2]));
  CHECK(std::isnan(labels[3]));
  CHECK(labels[4] == 0.25);
  CHECK(steps(two).replies[0].mask == std::vector<bool>{false, true, false, false, true});
  const auto last_alone = steps(two, {.last_step_only = true}).replies[0].targets;
  CHECK(std::isnan(last_alone[1]));
  CHECK(last_alone[4] == 0.25);
  CHECK_FAILS("bad_data", "one for each of the 2 steps",
              steps(R"({"prompt_ids": [1], "completions_ids": [[2], [4]], "labels": [true]})"));
  CHECK_FAILS("bad_data", "\"labels\"", steps(R"({"prompt_ids": [1], "completions_ids": [[2], [4]]})"));
  CHECK_FAILS("bad_data", "\"labels\"", steps(R"({"prompt_ids": [1], "completions_ids": [], "labels": []})"));
  CHECK_FAILS("bad_data", "a step is empty", steps(R"({"completions_ids": [[]], "labels": [1]})"));
  CHECK_FAILS("bad_data", "from 0 to 1", steps(R"({"completions_ids": [[1]], "labels": [2]})"));
  CHECK_FAILS("bad_data", "a solution with", steps(R"({"prompt": "a", "labels": [1]})"));
  CHECK_FAILS("bad_data", "no tokenizer", steps(R"({"prompt": "a", "completions": ["b"], "labels": [1]})"));

  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) return;
  const auto words = tokenizer::load(*folder);
  const auto text = json::parse(
      R"({"prompt": "Tom had two balls.", "completions": [" He got one more.", " Now he has three."], "labels": [true, false]})",
      "row");
  const auto e = parse_steps(text, "row", &words);
  const auto whole = words.encode("Tom had two balls. He got one more.\n Now he has three.\n");
  auto joined = e.prompt;
  joined.insert(joined.end(), e.replies[0].tokens.begin(), e.replies[0].tokens.end());
  CHECK(joined == whole);
  std::vector<std::string> labelled;  // what stands up to each labelled token
  for (std::size_t i = 0; i < e.replies[0].targets.size(); ++i)
    if (!std::isnan(e.replies[0].targets[i])) {
      const auto end = joined.begin() + static_cast<std::ptrdiff_t>(e.prompt.size() + i + 1);
      labelled.push_back(words.decode(std::vector<token_id>(joined.begin(), end), true));
    }
  CHECK(labelled == std::vector<std::string>{"Tom had two balls. He got one more.\n",
                                             "Tom had two balls. He got one more.\n Now he has three.\n"});
  CHECK_FAILS("bad_data", "a step is empty",
              parse_steps(json::parse(R"({"prompt": "a", "completions": [""], "labels": [1]})", "row"), "row", &words));
}
