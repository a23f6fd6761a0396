// SPDX-License-Identifier: BSL-1.0
// Encoders (BERT, RoBERTa) against transformers: states, scores, gradients; reward training, files, and what is refused.
#include <plumb/backend/reference.hpp>
#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/attach_lora.hpp>
#include <plumb/models/score_head_files.hpp>
#include <plumb/objective/process_reward.hpp>
#include <plumb/objective/reward.hpp>
#include <plumb/rollout/embed.hpp>
#include <plumb/rollout/objective_sums.hpp>
#include <plumb/train/step.hpp>

#include "failures.hpp"
#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

/// What transformers computed for one encoder.
struct expectation {
  std::vector<ids_list> texts;
  std::vector<index_t> prompts;  // of texts 0 and 1, and of texts 2 and 3: how many ids they begin with alike
  std::vector<std::vector<double>> hidden;
  std::vector<double> scores;
  double loss = 0;

  explicit expectation(const std::string& family) {
    static const json::value all = read_golden("encoders.json");
    const auto& o = all.as_object().at(family).as_object();
    for (const auto& ids : o.at("texts").as_array()) texts.push_back(json::as<ids_list>(ids, "texts", family));
    prompts = json::get<std::vector<index_t>>(o, "prompts", family);
    for (const auto& rows : o.at("hidden").as_array()) {
      auto& numbers = hidden.emplace_back();
      for (const auto& row : rows.as_array())
        for (const double x : json::as<std::vector<double>>(row, "hidden", family)) numbers.push_back(x);
    }
    scores = json::get<std::vector<double>>(o, "scores", family);
    loss = json::get<double>(o, "loss", family);
  }
  [[nodiscard]] std::vector<scored_tokens> replies() const {
    std::vector<scored_tokens> out;
    for (std::size_t i = 0; i < texts.size(); ++i) out.push_back({texts[i], prompts[i / 2]});
    return out;
  }
  /// The two pairs, prompts apart: the texts are put together again for an encoder.
  [[nodiscard]] std::vector<example> pairs() const {
    std::vector<example> out(2);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto middle = texts[i].begin() + static_cast<std::ptrdiff_t>(prompts[i / 2]);
      out[i / 2].prompt.assign(texts[i].begin(), middle);
      out[i / 2].replies.emplace_back().tokens.assign(middle, texts[i].end());
    }
    return out;
  }
};

const std::filesystem::path encoders = golden / "encoders";

template <class B, class T>
policy<B, T> judge(const std::filesystem::path& folder) {
  auto out = train_all(load_model<B, T>(folder));
  load_score_head(out, folder);
  return out;
}

/// The states of all texts, of one batch.
template <class B, class T>
std::vector<T> states_of(const language_model<B, T>& model, const std::vector<ids_list>& texts) {
  forest f;
  for (const auto& ids : texts) f.add(ids);
  batch_layout layout;
  f.lay_out(layout);
  tape<B, T> t(model.device());
  t.set_recording(false);
  pass<B, T> p{t, upload(t, layout)};
  const auto h = model.network().hidden(p);
  std::vector<T> out(static_cast<std::size_t>(h.value.size()));
  B::download(t.device(), h.value.data, out.data(), h.value.size());
  return out;
}

template <class Objective, class B, class T>
double learn(policy<B, T>& p, const Objective& method, const std::vector<example>& data) {
  scorer<B, T> engine(p.model());
  std::vector<const example*> pointers;
  for (const auto& e : data) pointers.push_back(&e);
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);  // gradients zero
  typename scorer<B, T>::request asked{.learn = true};
  ask_score_head(asked, p, Objective::needs);
  step_context context;
  metric_list metrics;
  return run_step<B, T>(engine, method, Objective::needs, pointers, split_by_count(pointers, 2), asked, context,
                        metrics)
      .loss;
}

template <class B, class T>
std::vector<double> rewards(const policy<B, T>& p, const expectation& e) {
  std::vector<double> out;
  const auto replies = e.replies();
  for (const auto& s : score(p, std::span<const scored_tokens>(replies))) out.push_back(s.reward);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("encoders compute what transformers computes", "[encoder][golden]", cpu, reference) {
  for (const std::string family : {"bert", "roberta"}) {
    CAPTURE(family);
    const expectation e(family);
    auto p = judge<TestType, double>(encoders / family);
    std::vector<double> expected;
    for (const auto& h : e.hidden) expected.insert(expected.end(), h.begin(), h.end());
    CHECK(distance(states_of(p.model(), e.texts), expected) < 1e-6);
    CHECK(distance(states_of(load_model<TestType, float>(encoders / family), e.texts), expected) < 1e-5);
    CHECK(distance(rewards(p, e), e.scores) < 1e-6);
    CHECK(learn(p, reward{}, e.pairs()) == Approx(e.loss).epsilon(1e-6));
    CHECK(worst_gradient(p, join("encoders/", family, "/grads.safetensors").c_str(), "") < 2e-5);
    // Negative control: a later token matters to an earlier one's state.
    auto texts = e.texts;
    texts[2].back() = texts[2].back() == 5 ? 6 : 5;
    const auto changed = states_of(p.model(), texts);
    const std::size_t first = (e.texts[0].size() + e.texts[1].size()) * 24;
    double off = 0;
    for (std::size_t k = 0; k < 24; ++k) off = std::max(off, std::abs(changed[first + k] - expected[first + k]));
    CHECK(off > 1e-3);
  }
}

TEST_CASE("texts become vectors with an encoder: means and first states", "[encoder]") {
  const expectation e("bert");
  const auto model = load_model<cpu, double>(encoders / "bert");
  const auto mean = embed(model, std::span<const ids_list>(e.texts));
  const auto first = embed(model, std::span<const ids_list>(e.texts), false, 20, pooling::first);
  for (std::size_t i = 0; i < e.texts.size(); ++i)
    for (std::size_t k = 0; k < 24; ++k) {
      double sum = 0;
      for (std::size_t t = 0; t < e.texts[i].size(); ++t) sum += e.hidden[i][24 * t + k];
      CHECK(mean[24 * i + k] == Approx(sum / static_cast<double>(e.texts[i].size())).margin(1e-5));
      CHECK(first[24 * i + k] == Approx(e.hidden[i][k]).margin(1e-5));
    }
  const ids_list full(48, 7), more(49, 7);
  CHECK(embed(model, std::span(&full, 1)).size() == 24);
  CHECK_THAT(failure([&] { (void)embed(model, std::span(&more, 1)); }), Catch::Contains("48"));
  const auto decoder = load_model<cpu>(golden / "tiny_llama");
  CHECK_THAT(failure([&] { (void)embed(decoder, std::span(&full, 1), false, 2048, pooling::first); }),
             Catch::Contains("take the mean"));
}

TEST_CASE("an encoder learns to score, and its files are transformers' and PEFT's", "[encoder]") {
  const expectation e("bert");
  temporary_folder folder;
  // All weights: a folder of …ForSequenceClassification.
  auto p = judge<cpu, float>(encoders / "bert");
  save_merged(p, folder / "all");
  const auto all = json::parse_file(folder / "all" / "config.json");
  CHECK(all.as_object().at("architectures").as_array().at(0).as_string() == "BertForSequenceClassification");
  CHECK(holds_score_head(folder / "all"));
  CHECK(rewards(judge<cpu, float>(folder / "all"), e) == rewards(p, e));
  // LoRA and a new head.
  const auto model = load_model<cpu>(encoders / "bert");
  lora_options how;
  how.rank = 4, how.targets = {"query", "value"};
  auto small = attach_lora(model, how);
  attach_score_head(small, {.seed = 3});
  const double before = learn(small, reward{}, e.pairs());
  for (int step = 0; step < 30; ++step) {
    (void)learn(small, reward{}, e.pairs());
    for (const auto& each : small.trainable()) {
      auto numbers = each.parameter->value.host();
      const auto slopes = each.parameter->gradient.host();
      for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] -= 0.2f * slopes[i];
      each.parameter->value.assign(numbers);
    }
  }
  CHECK(learn(small, reward{}, e.pairs()) < before / 2);
  const auto learnt = rewards(small, e);
  save_adapter(small, folder / "adapter");
  const auto files = weight_files::open(folder / "adapter", "adapter_model");
  CHECK(files.contains("base_model.model.classifier.weight"));
  CHECK(files.contains("base_model.model.classifier.bias"));
  CHECK(files.contains("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"));
  const auto again = load_adapter(load_model<cpu>(encoders / "bert"), folder / "adapter");
  CHECK(rewards(again, e) == learnt);
  save_merged(again, folder / "merged");
  CHECK(distance(rewards(judge<cpu, float>(folder / "merged"), e), learnt) < 1e-5);
}

TEST_CASE("BERT is read from files without a prefix, and with its first names of norms", "[encoder]") {
  const expectation e("bert");
  temporary_folder folder;
  for (const bool bare : {false, true}) {
    std::filesystem::copy_file(encoders / "bert" / "config.json", folder / "config.json",
                               std::filesystem::copy_options::overwrite_existing);
    const auto files = weight_files::open(encoders / "bert");
    std::vector<std::vector<float>> numbers;
    std::vector<tensor_data> tensors;
    for (std::string name : files.names()) {
      const auto extent = files.shape(name);
      numbers.emplace_back(static_cast<std::size_t>(files.info(name).elements));
      files.read(name, std::span<float>(numbers.back()));
      if (bare && (name.starts_with("classifier") || name.starts_with("bert.pooler"))) continue;
      if (bare && name.starts_with("bert.")) name.erase(0, 5);
      const auto rename = [&](const char* from, const char* to) {
        if (name.ends_with(from)) name.replace(name.rfind('.') + 1, std::string::npos, to);
      };
      rename("LayerNorm.weight", "gamma"), rename("LayerNorm.bias", "beta");
      tensors.push_back(as_tensor(name, extent, std::span<const float>(numbers.back())));
    }
    write_safetensors(folder / "model.safetensors", tensors, {});
    const auto model = load_model<cpu, double>(folder.path());
    CHECK(states_of(model, e.texts) == states_of(load_model<cpu, double>(encoders / "bert"), e.texts));
    CHECK(model.config().pooled == !bare);
    auto p = train_all(model);
    if (bare) CHECK_THAT(failure([&] { attach_score_head(p); }), Catch::Contains("bert.pooler.dense"));
    if (bare) CHECK_THAT(failure([&] { load_score_head(p, folder.path()); }), Catch::Contains("no score head"));
  }
}

TEST_CASE("what an encoder cannot do is refused with the reason", "[encoder]") {
  const expectation e("bert");
  const auto model = load_model<cpu, double>(encoders / "bert");
  const char* const reason = "predicts no next token";
  CHECK_THAT(failure([&] { (void)generate(model, std::span<const ids_list>(e.texts), {.max_tokens = 4}); }),
             Catch::Contains(reason));
  CHECK_THAT(failure([&] { (void)logits_of(model, e.texts[0]); }), Catch::Contains(reason));
  auto p = train_all(model);
  CHECK_THAT(failure([&] { (void)run_gradients(p, dpo{}, e.pairs()); }), Catch::Contains(reason));
  CHECK_THAT(failure([&] { (void)run_gradients(p, sft{}, e.pairs()); }), Catch::Contains(reason));
  const auto replies = e.replies();
  CHECK_THAT(failure([&] { (void)score(p, std::span<const scored_tokens>(replies)); }), Catch::Contains(reason));
  CHECK_THAT(failure([&] { attach_score_head(p, {.critic = true}); }), Catch::Contains(reason));
  load_score_head(p, encoders / "bert");
  CHECK_THAT(failure([&] { (void)learn(p, process_reward{}, e.pairs()); }), Catch::Contains("for each token"));
  // A text that continues another.
  forest f;
  f.add(e.texts[0]);
  f.add(e.texts[1], 0);
  batch_layout layout;
  f.lay_out(layout);
  tape<cpu, double> t(model.device());
  pass<cpu, double> pass_of_two{t, upload(t, layout)};
  CHECK_THAT(failure([&] { (void)model.network().hidden(pass_of_two); }), Catch::Contains("as a whole"));

  temporary_folder folder;
  const auto refused = [&](const std::string& family, const std::string& from, const std::string& to) {
    auto text = plumb_test::read_file(encoders / family / "config.json");
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
    return failure([&] { (void)read_config(folder.path()); });
  };
  CHECK_THAT(refused("bert", R"("is_decoder": false)", R"("is_decoder": true)"), Catch::Contains("as an encoder"));
  CHECK_THAT(refused("bert", R"("type_vocab_size": 2)", R"("type_vocab_size": 0)"), Catch::Contains("type_vocab_size"));
  CHECK_THAT(refused("bert", R"("hidden_size": 24)", R"("hidden_size": 25)"), Catch::Contains("a multiple"));
  for (const char* places : {"-9223372036854775808", "2", "9223372036854775807"})
    CHECK_THAT(refused("roberta", R"("max_position_embeddings": 50)", join(R"("max_position_embeddings": )", places)),
               Catch::Contains("max_position_embeddings"));
  CHECK_THAT(refused("roberta", R"("pad_token_id": 1)", R"("pad_token_id": 0)"), Catch::Contains("expected 1"));
  CHECK_THAT(
      refused("bert", R"("model_type": "bert")", R"("position_embedding_type": "relative_key", "model_type": "bert")"),
      Catch::Contains("absolute"));
}
