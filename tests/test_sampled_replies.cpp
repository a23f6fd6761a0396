// SPDX-License-Identifier: BSL-1.0
// Training on sampled replies with advantages and on rankings: golden values, splits, resumption, readers.
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/objective/dpo_pl.hpp>
#include <plumb/objective/grpo.hpp>
#include <plumb/objective/ppo.hpp>
#include <plumb/plumb.hpp>
#include <plumb/text/train_bpe.hpp>

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

/// `each` replies to every prompt, with one advantage per reply.
std::vector<example> some_rollouts(index_t prompts, index_t each) {
  std::vector<example> out;
  for (index_t i = 0; i < prompts; ++i) {
    example e{.prompt = some_tokens(5, static_cast<std::uint64_t>(10 * i + 1)), .place = join("rollouts:", i + 1)};
    for (index_t k = 0; k < each; ++k) {
      reply r{.tokens = some_tokens(3 + (i + k) % 3, static_cast<std::uint64_t>(100 * i + k + 7))};
      r.advantages = {static_cast<double>(k) - 0.5 * static_cast<double>(each - 1)};
      e.replies.push_back(std::move(r));
    }
    out.push_back(std::move(e));
  }
  return out;
}

policy<B> start(bool adapter, double dropout = 0) {
  auto model = load_model<B>(golden / "tiny_llama", {.threads = 1});
  return adapter ? attach_lora(model, {.rank = 3, .dropout = dropout, .seed = 4}) : train_all(model);
}

fit_options some_steps() {
  fit_options o;
  o.rate = 1e-2;
  o.steps = 6;
  o.batch = 2;
  o.accumulate = 2;
  o.seed = 9;
  o.log_every = 1;
  return o;
}

}  // namespace

TEST_CASE("losses and LoRA gradients of sampled and ranked replies follow torch", "[sampled][golden]") {
  const auto model_folder = plumb_test::shared_data("stories260k/hf");
  if (!model_folder) return;
  const auto document = json::parse_file(golden / "stories_sampled_replies.json");
  const auto& all = document.as_object();
  const auto gradients = safetensors_file::open(golden / "stories_sampled_replies.safetensors");
  const auto follow = [&](const std::string& name, const auto& method, index_t batch, auto parse) {
    CAPTURE(name, batch);
    using O = std::remove_cvref_t<decltype(method)>;
    const auto& expected = all.at(name).as_object();
    auto p = load_adapter(load_model<B>(*model_folder, {.threads = 1}), golden / "stories_adapter");
    for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
    std::vector<example> rows;
    for (const auto& row : expected.at("rows").as_array()) rows.push_back(parse(row, name, nullptr, read_options{}));
    scorer<B, float> engine(p.model());
    score_references(engine, std::span(rows), {}, 2048, O::level == level::token);
    std::vector<const example*> pointers;
    for (const example& e : rows) pointers.push_back(&e);
    step_context context;
    metric_list metrics;
    const auto result = run_step<B, float>(engine, method, objective_needs(method), pointers,
                                           split_by_count(pointers, batch), {.learn = true}, context, metrics);
    CHECK(std::abs(result.loss - json::get<double>(expected, "loss", name)) < 2e-6);
    for (const auto& each : p.trainable()) {
      std::vector<float> reference(static_cast<std::size_t>(each.parameter->value.size()));
      gradients.read(name + "/base_model.model." + each.name, std::span<float>(reference));
      CHECK(distance(each.parameter->gradient.host(), reference) < 2e-5);
    }
  };
  const grpo with_reference{.clip_high = 0.28, .kl_weight = 0.3};
  for (const index_t batch : {3, 1}) {
    follow("grpo_fresh", with_reference, batch, parse_sampled);
    follow("grpo", with_reference, batch, parse_sampled);
    follow("ppo", ppo{.value_weight = 0}, batch, parse_sampled);
    follow("dpo_pl", dpo_pl{.beta = 0.2}, batch, parse_ranked);
  }
}

TEST_CASE("a policy learns from advantages: what was better becomes more likely", "[sampled]") {
  auto p = start(true);
  const auto result = fit(p, grpo{.kl_weight = 0.02}, some_rollouts(4, 4), some_steps());
  CHECK(result.log.front().find("kl").value() == Approx(0).margin(1e-6));
  scorer<B, float> engine(p.model());
  auto data = some_rollouts(4, 4);
  training_batch batch;
  batch.assign(std::span<const example>(data));
  const auto before = make_records<level::sequence>(batch, engine.run(batch, {.adapters = false}));
  const auto after = make_records<level::sequence>(batch, engine.run(batch, {}));
  double gain = 0;  // Σ A (log π − log π_0)
  for (std::size_t i = 0; i < after.size(); ++i)
    gain += data[i / 4].replies[i % 4].advantages[0] * (after[i].logp - before[i].logp);
  CHECK(gain > 1);
}

TEST_CASE("runs on sampled and ranked replies resume bit for bit, with an adapter and without", "[sampled][resume]") {
  const auto check = [](bool adapter, const auto& method, const std::vector<example>& data) {
    plumb_test::temporary_folder folder;
    auto options = some_steps();
    options.eval_data = {data.begin(), data.begin() + 2};
    auto whole = start(adapter, 0.1), first = start(adapter, 0.1), second = start(adapter, 0.1);
    const auto expected = fit(whole, method, data, options);
    options.folder = folder.path();
    options.resume = true;
    fit(first, method, data, options, stop_after{2});
    const auto rest = fit(second, method, data, options);
    CHECK(values(second) == values(whole));
    CHECK(rest.log.back().values == expected.log.back().values);
  };
  check(true, grpo{.kl_weight = 0.1}, some_rollouts(5, 3));
  check(false, grpo{.kl_weight = 0.1}, some_rollouts(5, 3));  // references token by token, of weights long gone
  check(true, dpo_pl{}, some_rollouts(5, 3));
}

TEST_CASE("needs that rows do not fill are named before training", "[sampled][bad input]") {
  auto p = start(true);
  auto data = some_rollouts(3, 2);
  data[1].replies[0].advantages.clear();
  CHECK_THAT(message_of([&] { fit(p, grpo{}, data, some_steps()); }), Contains("advantage") && Contains("add"));
  CHECK_THAT(message_of([&] { fit(p, ppo{}, some_rollouts(3, 2), some_steps()); }), Contains("value"));
  data = some_rollouts(3, 2);
  data[2].replies[1].advantages = {1, 2};
  CHECK_THAT(message_of([&] { fit(p, grpo{}, data, some_steps()); }), Contains("rollouts:3") && Contains("advantage"));
  data = some_rollouts(3, 1);
  CHECK_THAT(message_of([&] { fit(p, dpo_pl{}, data, some_steps()); }),
             Contains("rollouts:1") && Contains("two replies"));
}

TEST_CASE("sampled rows and rankings in every form", "[sampled][data][bad input]") {
  const std::vector<std::string> nothing;
  const auto words = train_bpe(nothing, 257, {"<|eos|>"});
  plumb_test::temporary_folder folder;
  const auto write = [&](std::string_view text) {
    plumb_test::write_file(folder / "rows.jsonl", text);
    return folder / "rows.jsonl";
  };
  const auto rows = read_sampled(write(R"({"prompt_ids": [1], "completion_ids": [2, 3], "advantage": 0.5, "weight": 2}
{"prompt_ids": [1], "completion_ids": [2, 3], "advantage": [1, -1], "old": [-1, -2], "ref": [-3, -4], "return": [0, 1], "value": [0.5, 0.6]}
)"),
                                 words);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].replies[0].advantages == std::vector<double>{0.5});
  CHECK(rows[0].replies[0].weight == 2);
  CHECK(rows[1].replies[0].old == std::vector<double>{-1, -2});
  CHECK(rows[1].replies[0].reference == -7);
  CHECK(rows[1].replies[0].old_values == std::vector<double>{0.5, 0.6});
  CHECK(rows[1].replies[0].returns == std::vector<double>{0, 1});
  const auto complaint = [&](std::string_view text) {
    return message_of([&] { (void)read_sampled(write(text), words); });
  };
  CHECK_THAT(complaint(R"({"prompt_ids": [1], "completion_ids": [2, 3], "old": [1]})"),
             Contains(":1") && Contains("old") && Contains("2 numbers"));
  CHECK_THAT(complaint(R"({"prompt_ids": [1], "completion_ids": [2], "value": [1], "old_value": [1]})"),
             Contains("both"));

  const auto ranked = read_ranked(write(R"({"prompt": "ab", "completions": ["best", "good", "bad"]}
{"prompt_ids": [1], "completions_ids": [[2], [3], [4]], "scores": [0.1, 0.9, 0.5], "refs": [-2, -3, -4]}
{"prompt_ids": [1], "completions_ids": [[2], [3], [4]], "ranks": [3, 1, 2]}
{"prompt": "ab", "chosen": "x", "rejected": "y"}
{"prompt": "ab", "chosen": "x", "rejected": "y", "reference": "gold"}
{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "reference_ids": [4], "refs": [-4, -2, -3]}
)"),
                                  words);
  REQUIRE(ranked.size() == 6);
  const auto order = [](const example& e) {
    std::vector<token_id> out;
    for (const reply& r : e.replies) out.push_back(r.tokens[0]);
    return out;
  };
  CHECK(ranked[0].replies.size() == 3);
  CHECK(words.decode(ranked[0].replies[2].tokens).starts_with("bad"));
  CHECK(order(ranked[1]) == std::vector<token_id>{3, 4, 2});
  CHECK(ranked[1].replies[0].reference == -3);  // references move with their replies
  CHECK(order(ranked[2]) == std::vector<token_id>{3, 4, 2});
  CHECK(ranked[3].replies.size() == 2);
  REQUIRE(ranked[4].replies.size() == 3);  // gold, chosen, rejected
  CHECK(words.decode(ranked[4].replies[0].tokens).starts_with("gold"));
  CHECK(words.decode(ranked[4].replies[2].tokens).starts_with("y"));
  CHECK(order(ranked[5]) == std::vector<token_id>{4, 2, 3});
  CHECK(ranked[5].replies[1].reference == -2);
  const auto rank_complaint = [&](std::string_view text) {
    return message_of([&] { (void)read_ranked(write(text), words); });
  };
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "completions": ["b"]})"), Contains("at least two"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "completions": ["b", "b"]})"), Contains("same"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "completions": ["b", "c"], "scores": [1]})"), Contains("scores"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "completions": ["b", "c"], "scores": [1, 2], "ranks": [1, 2]})"),
             Contains("scores") && Contains("ranks"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "chosen": "b", "rejected": "c", "reference": ""})"),
             Contains("\"reference\" is empty"));
  CHECK_THAT(rank_complaint(R"({"chosen": "b", "rejected": "c", "reference": "d"})"), Contains("\"prompt\" apart"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "chosen": "b", "rejected": "c", "reference": "b"})"), Contains("same"));
  CHECK_THAT(rank_complaint(R"({"prompt": "a", "completion": "b"})"), Contains("completions"));
}
