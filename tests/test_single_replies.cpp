// SPDX-License-Identifier: BSL-1.0
// Training on single replies: kto's baseline and bco's running mean against torch, splits, resumption, what is refused.
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/plumb.hpp>
#include <plumb/rollout/embed.hpp>
#include <plumb/rollout/logistic_regression.hpp>
#include <plumb/text/train_bpe.hpp>
#include <plumb/train/density_ratio.hpp>

#include "catch.hpp"
#include "failures.hpp"
#include "random_tensor.hpp"
#include "support.hpp"
#include "training_cases.hpp"

using namespace plumb;
using Catch::Matchers::Contains;
using plumb_test::distance;
using plumb_test::message_of;
using plumb_test::some_tokens;
using plumb_test::stop_after;
using plumb_test::values;

namespace {

using B = cpu;
const std::filesystem::path golden = plumb_test::repository() / "tests" / "golden";

std::vector<example> some_replies(index_t count) {
  std::vector<example> out;
  for (index_t i = 0; i < count; ++i) {
    const auto key = static_cast<std::uint64_t>(i);
    out.push_back({.prompt = some_tokens(5, 10 * key + 1),
                   .replies = {{some_tokens(3 + i % 3, 10 * key + 2)}},
                   .desirable = i % 3 != 1,
                   .place = join("replies:", i + 1)});
  }
  return out;
}

policy<B> fresh(double dropout = 0) {
  return attach_lora(load_model<B>(golden / "tiny_llama", {.threads = 1}), {.rank = 3, .dropout = dropout, .seed = 4});
}

fit_options some_steps() {
  fit_options o;
  o.rate = 1e-2;
  o.steps = 8;
  o.batch = 2;
  o.accumulate = 2;
  o.seed = 9;
  o.log_every = 1;
  return o;
}

}  // namespace

TEST_CASE("references of rows and their mismatched ones are those that each gets alone", "[single]") {
  const auto model = fresh().model();
  run_rows together{.data = some_replies(7)};
  together.data[1].replies[0].reference = -3;  // given
  together.data[4].kl = 0.25;                  // has no mismatched row
  together.mismatch(7);
  run_rows apart = together;
  scorer<B, float> engine(model);
  for (std::vector<example>* list : {&apart.data, &apart.mismatched.rows}) score_references(engine, std::span(*list));
  score_mismatched_references(engine, std::span(together.data), together.mismatched);
  CHECK(together.data[1].replies[0].reference == -3);
  CHECK(std::isnan(together.mismatched.rows[1].replies[0].reference));  // left to those that follow
  CHECK(std::isnan(together.data[4].replies[0].reference));
  provide_references(engine, together, {}, {});
  for (std::size_t i = 0; i < 7; ++i)
    CHECK(together.data[i].replies[0].reference == apart.data[i].replies[0].reference);
  REQUIRE(together.mismatched.rows.size() == 6);
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(together.mismatched.rows[i].replies[0].reference == apart.mismatched.rows[i].replies[0].reference);
}

TEST_CASE("mismatched rows beside a step are scored as they are alone", "[single]") {
  const auto rows_of = [](const policy<B>& p) {
    run_rows rows{.data = some_replies(7)};
    rows.data[2].prompt = rows.data[1].prompt;  // shared
    rows.data[3].prompt.clear();                // nothing to go on from
    rows.data[4].kl = 0.25;
    rows.data[5].replies[0].weight = 0;
    rows.mismatch(7);
    scorer<B, float> engine(p.model());
    provide_references(engine, rows, {}, {});
    return rows;
  };
  const auto stirred = [](policy<B> p) {
    std::uint64_t key = 3;
    for (const auto& each : p.trainable()) {
      const auto extent = each.parameter->value.extent();
      each.parameter->value.assign(
          plumb_test::random_tensor<B, float>(each.parameter->value.device(), extent, key++, -0.3, 0.3).host());
    }
    return p;
  };
  using request = scorer<B, float>::request;
  const auto step = [](const policy<B>& p, const run_rows& rows, const request& asked, step_context context) {
    for (const auto& each : p.trainable())
      each.parameter->gradient.assign(
          std::vector<float>(static_cast<std::size_t>(each.parameter->gradient.size()), 0.f));
    scorer<B, float> engine(p.model());
    metric_list metrics;
    const auto pointers = pointers_to(rows.data);
    const auto result = run_step<B, float>(engine, kto{}, objective_needs(kto{}), pointers, split_by_count(pointers, 7),
                                           asked, context, metrics);
    std::vector<std::vector<float>> gradients;
    for (const auto& each : p.trainable()) gradients.push_back(each.parameter->gradient.host());
    return std::tuple(context.baseline, result.loss, gradients);
  };
  const auto check = [&](const policy<B>& bare, request asked) {
    const run_rows rows = rows_of(bare);
    const auto p = stirred(bare);
    scorer<B, float> engine(p.model());
    const double alone = measure_baseline(engine, rows.mismatched, rows.data, pointers_to(rows.data));
    CHECK(std::abs(alone) > 1e-2);
    for (const bool learn : {false, true}) {
      asked.learn = learn;
      const auto [baseline, loss, gradients] =
          step(p, rows, asked, {.mismatched = &rows.mismatched, .data = rows.data});
      CHECK(baseline == Approx(alone).epsilon(1e-6));
      const auto [given, same_loss, same_gradients] = step(p, rows, asked, {.baseline = baseline});
      CHECK(loss == same_loss);
      CHECK(gradients == same_gradients);
    }
    auto others = rows;  // what comes before a prompt's last token is heard
    others.data[0].prompt[0] += 1, others.mismatched.rows[0].prompt[0] += 1;
    const auto moved = step(p, others, asked, {.mismatched = &others.mismatched, .data = others.data});
    CHECK(std::abs(std::get<0>(moved) - alone) > 1e-5);
  };
  SECTION("one pass and what goes on from it") { check(fresh(), {}); }
  SECTION("with dropout, which does not reach them") { check(fresh(0.4), {.key = 7}); }
  SECTION("with noise, which does not either") { check(fresh(), {.key = 7, .noise = 5}); }
  SECTION("on three threads, all weights") {
    check(train_all(load_model<B>(golden / "tiny_llama", {.threads = 3})), {});
  }
  SECTION("behind virtual tokens") {
    check(attach_prompt(load_model<B>(golden / "tiny_llama", {.threads = 1}), {.count = 3}), {});
  }
  SECTION("rows that all bring their own") {
    const auto p = fresh();
    auto rows = rows_of(p);
    for (std::size_t i = 0; i < 7; ++i) rows.mismatched.row_of[i] = mismatched_rows::none, rows.data[i].kl = 0.5;
    CHECK(std::get<0>(step(p, rows, {}, {.mismatched = &rows.mismatched, .data = rows.data})) == 0.5);
  }
  SECTION("a prompt of another batch") {
    const auto data = some_replies(3);
    const auto pointers = pointers_to(data);
    training_batch batch;
    batch.assign(std::span(pointers).first(2));
    scorer<B, float> engine(fresh().model());
    CHECK_MESSAGE(errc::bad_argument, engine.run(batch, {.beside = std::span(pointers).last(1)}),
                  "replies:3: its prompt is not among those of the batch");
  }
}

TEST_CASE("losses, baselines and LoRA gradients of single replies follow torch", "[single][golden]") {
  const auto model_folder = plumb_test::shared_data("stories260k/hf");
  if (!model_folder) return;
  const auto document = json::parse_file(golden / "stories_single_replies.json");
  const auto& all = document.as_object();
  const auto gradients = safetensors_file::open(golden / "stories_single_replies.safetensors");
  const auto follow = [&]<class T>(T, const std::string& name, const auto& method, index_t batch, double tolerance) {
    CAPTURE(name, sizeof(T), batch);
    const auto& expected = all.at(name).as_object();
    auto p = load_adapter(load_model<B, T>(*model_folder, {.threads = 1}), golden / "stories_adapter");
    for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
    run_rows rows;
    for (const auto& row : expected.at("rows").as_array()) rows.data.push_back(parse_unpaired(row, name, nullptr));
    scorer<B, T> engine(p.model());
    const need needs = objective_needs(method);
    std::vector<const example*> pointers;
    for (const example& e : rows.data) pointers.push_back(&e);
    step_context context{.follow_ratios = true};
    score_references(engine, std::span(rows.data));
    if (has(needs, need::divergence)) {
      rows.mismatch(6);
      score_references(engine, std::span(rows.mismatched.rows));
      context.baseline = measure_baseline(engine, rows.mismatched, rows.data, pointers);
      CHECK(context.baseline == Approx(json::get<double>(expected, "kl", name)).epsilon(1e-5));
    }
    metric_list metrics;
    const auto result = run_step<B, T>(engine, method, needs, pointers, split_by_count(pointers, batch),
                                       {.learn = true}, context, metrics);
    CHECK(std::abs(result.loss - json::get<double>(expected, "loss_f64", name)) < (sizeof(T) == 8 ? 1e-12 : 1e-6));
    for (const auto& each : p.trainable()) {
      const std::string key = name + "/base_model.model." + each.name;
      std::vector<float> reference(static_cast<std::size_t>(each.parameter->value.size()));
      gradients.read(key, std::span<float>(reference));
      CHECK(distance(each.parameter->gradient.host(), reference) < tolerance);
    }
    if (has(needs, need::mean_ratio)) {
      double mean = 0;
      for (const double s : json::get<std::vector<double>>(expected, "log_ratios", name)) mean += s / 6;
      CHECK(context.ratios.value() == Approx(mean).epsilon(1e-5));
      CHECK(context.ratios.count == 6);
    }
  };
  const kto baseline{.beta = 0.2, .undesirable = 1.25};
  for (const index_t batch : {6, 4, 1}) {
    follow(float{}, "kto", baseline, batch, 1e-5);
    follow(float{}, "bco", bco{.beta = 0.2}, batch, 1e-5);
  }
  follow(float{}, "kto_given", baseline, 6, 1e-5);
  follow(float{}, "kto_low", baseline, 3, 1e-5);
  follow(float{}, "apo_zero_unpaired", apo_zero_unpaired{.beta = 0.2}, 2, 1e-5);
  follow(double{}, "kto", baseline, 4, 1e-6);
  follow(double{}, "bco", bco{.beta = 0.2}, 2, 1e-6);
}

TEST_CASE("a mismatched reply is the one before, or the nearest that differs", "[single]") {
  auto data = some_replies(5);
  data[2].replies[0].tokens = data[1].replies[0].tokens;
  data[4].kl = 0.25;
  const auto found = mismatch(data);
  REQUIRE(found.rows.size() == 4);
  CHECK(found.row_of == std::vector<std::size_t>{0, 1, 2, 3, mismatched_rows::none});
  CHECK(found.rows[0].prompt == data[0].prompt);
  CHECK(found.rows[0].replies[0].tokens == data[4].replies[0].tokens);
  CHECK(found.rows[2].replies[0].tokens == data[0].replies[0].tokens);  // not its own words again
  for (auto& e : data) e.replies[0].tokens = {1, 2}, e.kl = missing;
  CHECK_THAT(message_of([&] { (void)mismatch(data); }), Contains("replies:1") && Contains("apo_zero_unpaired"));
}

TEST_CASE("splitting a step of single replies does not change it", "[single]") {
  const auto run = [](const auto& method, index_t batch, index_t accumulate) {
    auto p = fresh();
    auto options = some_steps();
    options.batch = batch, options.accumulate = accumulate, options.steps = 4;
    const auto result = fit(p, method, some_replies(12), options);
    return std::pair(result.log, values(p));
  };
  const auto compare = [&](const auto& method, const char* metric) {
    const auto [log, whole] = run(method, 4, 1);
    CHECK(log.back().find(metric).value() != 0);  // the baseline and the mean do take part
    for (const auto& [batch, accumulate] : {std::pair<index_t, index_t>{2, 2}, {1, 4}}) {
      const auto [other_log, other] = run(method, batch, accumulate);
      for (std::size_t i = 0; i < log.size(); ++i) {
        CHECK(other_log[i].find("loss").value() == Approx(log[i].find("loss").value()).epsilon(1e-4));
        CHECK(other_log[i].find(metric).value() == Approx(log[i].find(metric).value()).epsilon(1e-2).margin(1e-6));
        CHECK(other_log[i].find("num_tokens") == log[i].find("num_tokens"));
      }
      for (std::size_t i = 0; i < whole.size(); ++i) CHECK(distance(other[i], whole[i]) < 5e-3);
    }
  };
  compare(kto{}, "kl");
  compare(bco{}, "delta");
}

TEST_CASE("bco's running mean goes on through checkpoints and evaluation leaves it alone", "[single][resume]") {
  auto whole = fresh(0.1);
  auto plain = fit(whole, bco{.beta = 0.5}, some_replies(10), some_steps());
  for (const index_t stop : {1, 3, 6}) {
    plumb_test::temporary_folder folder;
    auto options = some_steps();
    options.folder = folder.path();
    options.resume = true;
    auto first = fresh(0.1), second = fresh(0.1);
    fit(first, bco{.beta = 0.5}, some_replies(10), options, stop_after{stop});
    const auto rest = fit(second, bco{.beta = 0.5}, some_replies(10), options);
    CHECK(values(second) == values(whole));
    CHECK(rest.log.back().values == plain.log.back().values);
  }
  auto options = some_steps();
  options.eval_every = 1;
  options.eval_data = some_replies(5);
  auto judged = fresh(0.1);
  const auto with = fit(judged, bco{.beta = 0.5}, some_replies(10), options);
  CHECK(values(judged) == values(whole));
  CHECK(with.log.back().find("eval_loss").has_value());
  // Not the batch's own mean: after a few steps the two differ, and so does what is learnt.
  const auto delta = [&](std::size_t i) { return plain.log[i].find("delta").value(); };
  CHECK(delta(0) == Approx(0).margin(1e-7));
  double liked = 0;
  for (const auto& entry : plain.log) liked = std::max(liked, std::abs(entry.find("delta").value()));
  CHECK(liked > 1e-4);
}

TEST_CASE("kto resumes bit for bit, with an adapter and without", "[single][resume]") {
  for (const bool adapter : {true, false}) {
    CAPTURE(adapter);
    const auto start = [&] {
      return adapter ? fresh(0.1) : train_all(load_model<B>(golden / "tiny_llama", {.threads = 1}));
    };
    plumb_test::temporary_folder folder;
    auto options = some_steps();
    options.steps = 5;
    options.eval_data = some_replies(3);
    auto whole = start(), first = start(), second = start();
    const auto expected = fit(whole, kto{}, some_replies(7), options);
    options.folder = folder.path();
    options.resume = true;
    fit(first, kto{}, some_replies(7), options, stop_after{2});
    const auto rest = fit(second, kto{}, some_replies(7), options);
    CHECK(values(second) == values(whole));
    CHECK(rest.log.back().values == expected.log.back().values);
  }
}

TEST_CASE("preferences are taken apart for objectives on single replies", "[single]") {
  std::vector<example> pairs, apart;
  for (auto& e : some_replies(4)) {
    e.replies.push_back({some_tokens(4, static_cast<std::uint64_t>(pairs.size()) + 77)});
    e.desirable = true;
    pairs.push_back(e);
  }
  for (const bool liked : {true, false})
    for (const auto& e : pairs)
      apart.push_back(
          {.prompt = e.prompt, .replies = {e.replies[liked ? 0 : 1]}, .desirable = liked, .place = e.place});
  const auto found = unpair(pairs);
  REQUIRE(found.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(found[i].desirable == apart[i].desirable);
    CHECK(found[i].replies[0].tokens == apart[i].replies[0].tokens);
    CHECK(found[i].prompt == apart[i].prompt);
  }
  auto p = fresh(), q = fresh();
  fit(p, bco{}, pairs, some_steps());
  fit(q, bco{}, apart, some_steps());
  CHECK(values(p) == values(q));
}

TEST_CASE("weights of rows count in the loss, however a step is split", "[single]") {
  auto data = some_replies(4);
  const double weights[] = {2, 0.5, 1, 0};
  for (std::size_t i = 0; i < 4; ++i) data[i].replies[0].weight = weights[i];
  for (const index_t batch : {4, 1}) {
    auto p = fresh();
    auto options = some_steps();
    options.steps = 1, options.batch = batch, options.accumulate = 4 / batch;
    CHECK(fit(p, apo_zero_unpaired{}, data, options).loss == Approx(0.5 * 3.5 / 4).epsilon(1e-6));
  }
}

TEST_CASE("rows with labels in every form, and what is refused", "[single][data][bad input]") {
  const std::vector<std::string> nothing;
  const auto words = train_bpe(nothing, 257, {"<|eos|>"});
  plumb_test::temporary_folder folder;
  const auto read = [&](std::string_view text) {
    plumb_test::write_file(folder / "rows.jsonl", text);
    return read_unpaired(folder / "rows.jsonl", words);
  };
  const auto rows = read(R"({"prompt": "ab", "completion": "c", "label": true, "kl": 0.5}
{"prompt_ids": [1], "completion_ids": [2, 3], "desirable": false, "ref": -3.5, "weight": 0.5}
{"prompt": "ab", "chosen": "good", "rejected": "bad"}
)");
  REQUIRE(rows.size() == 4);
  CHECK((rows[0].desirable && rows[0].kl == 0.5 && std::isnan(rows[1].kl)));
  CHECK((!rows[1].desirable && rows[1].replies[0].reference == -3.5 && rows[1].replies[0].weight == 0.5));
  CHECK((rows[2].desirable && !rows[3].desirable));
  CHECK(rows[3].place.ends_with(":3"));
  const auto complaint = [&](std::string_view text) { return message_of([&] { (void)read(text); }); };
  CHECK_THAT(complaint(R"({"prompt": "a", "completion": "b"})"), Contains(":1") && Contains("label"));
  CHECK_THAT(complaint(R"({"prompt": "a", "completion": "b", "label": "yes"})"),
             Contains("label") && Contains("true or false"));
  CHECK_THAT(complaint(R"({"prompt": "a", "completion": "b", "label": true, "desirable": true})"), Contains("both"));
  CHECK_THAT(complaint(R"({"prompt": "a", "completion": "b", "label": true, "weight": -1})"), Contains("weight"));
  CHECK_THAT(complaint(R"({"prompt": "a", "chosen": "b", "rejected": "b"})"), Contains("same"));

  auto p = fresh();
  auto options = some_steps();
  options.batch = options.accumulate = 1;
  CHECK_THAT(message_of([&] { fit(p, kto{}, some_replies(3), options); }), Contains("batch") && Contains("accumulate"));
  auto given = some_replies(3);
  for (auto& e : given) e.kl = 0.1;
  CHECK(fit(p, kto{}, given, options).steps == 8);
  CHECK_THAT(message_of([&] { fit(p, kto{}, some_replies(1), some_steps()); }), Contains("replies:1"));
}

TEST_CASE("logistic regression and density ratios follow scikit-learn", "[single][golden]") {
  const auto document = json::parse_file(golden / "density_ratio.json");
  for (const auto& entry : document.as_object().at("cases").as_array()) {
    const auto& c = entry.as_object();
    const auto name = json::get<std::string>(c, "name", "case");
    CAPTURE(name);
    const auto numbers = [&](const char* key) { return json::get<std::vector<double>>(c, key, name); };
    const auto vectors = numbers("vectors"), weights = numbers("weights"), probabilities = numbers("probabilities"),
               ratios = numbers("ratios");
    const auto width = json::get<index_t>(c, "width", name);
    const double strength = json::get<double>(c, "strength", name);
    std::vector<bool> liked;
    for (const double y : numbers("liked")) liked.push_back(y == 1);
    const auto found = fit_logistic(vectors, width, liked, strength);
    CHECK(distance(found.weights, weights) < 1e-8);
    CHECK(std::abs(found.bias - json::get<double>(c, "bias", name)) < 1e-8);
    CHECK(distance(fit_logistic(vectors, width, liked, strength / 2).weights, weights) > 1e-4);  // negative control
    const auto size = static_cast<std::size_t>(width);
    for (std::size_t i = 0; i < liked.size(); ++i)
      CHECK(std::abs(found.probability(std::span(vectors).subspan(i * size, size)) - probabilities[i]) < 1e-8);
    if (strength != 1) continue;
    const density_ratio ratio(vectors, width, liked);
    for (std::size_t i = 0; i < liked.size(); ++i)
      CHECK(ratio(std::span(vectors).subspan(i * size, size)) == Approx(ratios[i]).epsilon(1e-7));
  }
  const std::vector<double> two{1, 2, 3, 4}, broken{1, 2, 3, std::nan("")};
  CHECK_MESSAGE(errc::bad_argument, fit_logistic(two, 2, {true, true}), "vectors of both kinds");
  CHECK_MESSAGE(errc::bad_argument, fit_logistic(two, 3, {true, false}), "expected 2 vectors of 3 numbers");
  CHECK_MESSAGE(errc::bad_argument, fit_logistic(two, 0, {true, false}), "expected 2 vectors of 0 numbers");
  CHECK_MESSAGE(errc::bad_argument, fit_logistic(broken, 2, {true, false}), "vectors");
  CHECK_MESSAGE(errc::bad_argument, fit_logistic(two, 2, {true, false}, 0), "strength");
  CHECK_MESSAGE(errc::bad_argument, density_ratio(two, 2, {true, false}, {.lowest = 2, .highest = 1}), "lowest");
}

TEST_CASE("a prompt's vector is the mean of the network's states", "[single][golden]") {
  if (const auto folder = plumb_test::shared_data("stories260k/hf")) {
    const auto document = json::parse_file(golden / "density_ratio.json");
    const auto& all = document.as_object();
    const std::vector<std::vector<token_id>> texts{json::get<std::vector<token_id>>(all, "ids", "ids")};
    const auto found = embed(load_model<B>(*folder, {.threads = 1}), texts);
    CHECK(distance(found, json::get<std::vector<double>>(all, "embedding", "embedding")) < 2e-5);
  }
  const auto p = fresh();
  const std::vector<std::vector<token_id>> texts{some_tokens(5, 1), some_tokens(1, 2), some_tokens(9, 3)};
  const auto together = embed(p.model(), texts), few = embed(p.model(), texts, false, 4);
  CHECK(together == few);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto alone = embed(p.model(), std::span(texts).subspan(i, 1));
    CHECK(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(i * alone.size())));
  }
  const std::vector<std::vector<token_id>> empty{{}}, foreign{{1, 100000}};
  CHECK_MESSAGE(errc::bad_argument, embed(p.model(), empty), "prompt 0");
  CHECK_MESSAGE(errc::bad_argument, embed(p.model(), foreign), "outside the vocabulary");
}

TEST_CASE("disliked replies weigh what their prompts are worth", "[single]") {
  // Prompts of two kinds, by their tokens; liked replies mostly to the first kind, disliked ones mostly to the second.
  const auto replies = [](index_t count, bool by_kind) {
    auto rows = some_replies(count);
    for (index_t i = 0; i < count; ++i) {
      example& e = rows[static_cast<std::size_t>(i)];
      const bool first = by_kind ? e.desirable == (i % 5 != 0) : i % 2 == 0;
      for (token_id& t : e.prompt) t = first ? t % 4 : 60 + t % 4;
    }
    return rows;
  };
  const auto p = fresh();
  auto rows = replies(60, true), held_out = replies(15, true);
  weigh_prompts(p.model(), rows, held_out);
  double worth[2] = {0, 0}, count[2] = {0, 0};
  for (const auto* list : {&rows, &held_out})
    for (const example& e : *list) {
      const double weight = e.replies[0].weight;
      if (e.desirable) {
        CHECK(weight == 1);
        continue;
      }
      CHECK((weight >= 0.5 && weight <= 10));
      worth[e.prompt[0] < 10 ? 0 : 1] += weight, ++count[e.prompt[0] < 10 ? 0 : 1];
    }
  CHECK((count[0] > 3 && count[1] > 3));
  CAPTURE(worth[0] / count[0], worth[1] / count[1]);
  CHECK(worth[0] / count[0] > 2 * worth[1] / count[1]);
  std::vector<example> nobody;
  auto again = replies(60, true);  // the weight of a row is multiplied
  for (example& e : again) e.replies[0].weight = 2;
  weigh_prompts(p.model(), again, nobody);
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(again[i].replies[0].weight == 2 * rows[i].replies[0].weight);

  auto mixed = replies(60, false);  // negative control: the kind of prompt says nothing
  weigh_prompts(p.model(), mixed, nobody);
  double of_kind[2] = {0, 0}, of_it[2] = {0, 0};
  for (const example& e : mixed)
    if (!e.desirable) of_kind[e.prompt[0] < 10 ? 0 : 1] += e.replies[0].weight, ++of_it[e.prompt[0] < 10 ? 0 : 1];
  CAPTURE(of_kind[0] / of_it[0], of_kind[1] / of_it[1]);
  CHECK(std::abs(std::log(of_kind[0] / of_it[0] / (of_kind[1] / of_it[1]))) < 0.5);
  auto liked = replies(6, true);
  for (example& e : liked) e.desirable = true;
  CHECK_MESSAGE(errc::bad_argument, weigh_prompts(p.model(), liked, nobody), "both kinds");
  auto bare = replies(6, true);
  bare[2].prompt.clear();
  CHECK_MESSAGE(errc::bad_data, weigh_prompts(p.model(), bare, nobody), "replies:3");

  auto plain = fresh(), weighed = fresh();  // and training hears of it
  fit(plain, bco{.beta = 0.5}, replies(60, true), some_steps());
  fit(weighed, bco{.beta = 0.5}, rows, some_steps());
  CHECK(distance(plain.trainable()[0].parameter->value.host(), weighed.trainable()[0].parameter->value.host()) > 1e-6);
}

TEST_CASE("a row's weight is in its loss and not in what the batch has in common", "[single]") {
  const auto check = [](const auto& method) {
    std::vector<sequence_record<>> rows(4);
    for (std::size_t i = 0; i < 4; ++i)
      rows[i] = {.logp = -3.0 - static_cast<double>(i),
                 .ref = -3.5,
                 .kl = 0.1 * static_cast<double>(i + 1),
                 .desirable = i % 2 == 0};
    const auto plain = evaluate(method, rows);
    auto weighted = rows;
    weighted[1].weight = 3;
    const auto heavy = evaluate(method, weighted);
    CHECK(heavy.losses == plain.losses);  // the same baseline
    CHECK(heavy.total == Approx(plain.total + 2 * plain.losses[1] / 4).epsilon(1e-12));
    CHECK(heavy.slope(1, 0) == Approx(3 * plain.slope(1, 0)).epsilon(1e-12));
    weighted[1].weight = 0;  // as if it were not there, but for the mean over the records
    auto fewer = rows;
    fewer.erase(fewer.begin() + 1);
    CHECK(evaluate(method, weighted).total == Approx(evaluate(method, fewer).total * 3 / 4).epsilon(1e-12));
    CHECK(evaluate(method, fewer).losses[0] != plain.losses[0]);  // it would have moved the baseline
  };
  check(kto{.beta = 0.3});
  check(bco{.beta = 0.3});

  auto p = fresh();
  auto rows = run_rows{.data = some_replies(5)};
  rows.data[2].replies[0].weight = 0;
  rows.data[3].replies[0].weight = 7;
  rows.mismatch(5);
  scorer<B, float> engine(p.model());
  score_references(engine, std::span(rows.mismatched.rows));
  for (example& e : rows.mismatched.rows) e.replies[0].reference += 0.5;  // log-ratios are not all 0
  const auto pointers = pointers_to(rows.data);
  std::vector<const example*> counting;
  for (const example* e : pointers)
    if (e->replies[0].weight != 0) counting.push_back(e);
  CHECK(measure_baseline(engine, rows.mismatched, rows.data, pointers) ==
        measure_baseline(engine, rows.mismatched, rows.data, counting));
  step_context context{.follow_ratios = true};
  metric_list metrics;
  score_references(engine, std::span(rows.data));
  run_step<B, float>(engine, bco{}, objective_needs(bco{}), pointers, split_by_count(pointers, 2), {}, context,
                     metrics);
  CHECK(context.ratios.count == 4);
}
