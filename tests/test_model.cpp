// SPDX-License-Identifier: BSL-1.0
// A real model against transformers and PEFT: logits, log-probabilities, greedy text, losses and gradients.
#include <plumb/backend/reference.hpp>

#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

TEMPLATE_TEST_CASE("stories260k computes what transformers computes", "[model]", reference, cpu) {
  using B = TestType;
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto model = load_model<B>(*folder);
  CHECK(model.parameter_count() == 260032);
  const auto document = read_golden("stories_logits.json");
  const auto& all = document.as_object();
  for (const auto& text : all.at("texts").as_array()) {
    const auto& o = text.as_object();
    const auto ids = json::get<ids_list>(o, "ids", "golden");
    CHECK(model.tokenizer().encode(json::get<std::string>(o, "text", "golden")) == ids);
    const auto logits = logits_of(model, ids);
    const auto positions = json::get<std::vector<index_t>>(o, "positions", "golden");
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const auto row = json::as<std::vector<double>>(o.at("logits").as_array()[i], "logits", "golden");
      for (std::size_t k = 0; k < row.size(); ++k)
        CHECK(std::abs(static_cast<double>(logits[static_cast<std::size_t>(positions[i]) * row.size() + k]) - row[k]) <
              1e-4);
    }
    const scored_tokens tokens{ids, 1};
    const auto scores = score(model, std::span(&tokens, 1));
    const auto logps = json::get<std::vector<double>>(o, "logps_f64", "golden");
    REQUIRE(scores[0].logp.size() == logps.size());
    for (std::size_t i = 0; i < logps.size(); ++i) CHECK(std::abs(scores[0].logp[i] - logps[i]) < 1e-4);
  }
  std::vector<ids_list> prompts, expected;
  for (const auto& g : all.at("greedy").as_array()) {
    prompts.push_back(json::get<ids_list>(g.as_object(), "prompt_ids", "golden"));
    expected.push_back(json::get<ids_list>(g.as_object(), "completion_ids", "golden"));
  }
  const auto replies =
      generate(model, std::span<const ids_list>(prompts), {.max_tokens = 64, .sampling = {.temperature = 0}});
  for (std::size_t i = 0; i < prompts.size(); ++i) CHECK(replies[i][0].tokens == expected[i]);
}

TEMPLATE_TEST_CASE("SFT and DPO gradients of a LoRA adapter equal torch and PEFT", "[model][golden]", reference, cpu) {
  using B = TestType;
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto document = read_golden("stories_losses.json");
  const auto& all = document.as_object();
  const auto loss = [&](const char* name, const char* field) { return all.at(name).as_object().at(field).as_double(); };
  const auto pairs = golden_pairs(all.at("pairs"), true), chosen = golden_pairs(all.at("pairs"), false);

  SECTION("float64") {
    auto p = load_adapter<B, double>(load_model<B, double>(*folder), golden / "stories_adapter");
    CHECK(run_gradients(p, sft{}, chosen) == Approx(loss("sft", "loss_f64")).epsilon(1e-10));
    CHECK(worst_gradient(p, "stories_grads_sft.safetensors", "base_model.model.") < 1e-9);
    CHECK(run_gradients(p, dpo{}, pairs) == Approx(loss("dpo", "loss_f64")).epsilon(1e-10));
    CHECK(worst_gradient(p, "stories_grads_dpo.safetensors", "base_model.model.") < 1e-9);
    CHECK(run_gradients(p, dpo{.label_smoothing = 0.1}, pairs) == Approx(loss("cdpo", "loss_f64")).epsilon(1e-10));
    CHECK(worst_gradient(p, "stories_grads_cdpo.safetensors", "base_model.model.") < 1e-9);
    CHECK(worst_gradient(p, "stories_grads_dpo.safetensors", "base_model.model.") >
          1e-3);  // another loss, other gradients
  }
  SECTION("float32") {
    auto p = load_adapter<B, float>(load_model<B, float>(*folder), golden / "stories_adapter");
    CHECK(run_gradients(p, sft{}, chosen) == Approx(loss("sft", "loss_f64")).epsilon(1e-5));
    CHECK(worst_gradient(p, "stories_grads_sft.safetensors", "base_model.model.") < 1e-5);
    CHECK(run_gradients(p, dpo{}, pairs) == Approx(loss("dpo", "loss_f64")).epsilon(1e-5));
    CHECK(worst_gradient(p, "stories_grads_dpo.safetensors", "base_model.model.") < 1e-5);
  }
}

TEMPLATE_TEST_CASE("all gradients of a tiny Llama equal torch", "[model][golden]", reference, cpu) {
  using B = TestType;
  const auto document = read_golden("tiny_llama.json");
  const auto& all = document.as_object();
  for (const char* name : {"tiny_llama", "tiny_llama_bias", "tiny_llama_sharded"}) {
    CAPTURE(name);
    const auto& o = all.at(name).as_object();
    auto p = all_weights<B, double>(golden / name);
    const auto ids = json::get<ids_list>(o, "ids", "golden");
    const auto logits = logits_of(p.model(), ids);
    std::vector<double> expected;
    for (const auto& row : o.at("logits_f64").as_array())
      for (const double x : json::as<std::vector<double>>(row, "logits", "golden")) expected.push_back(x);
    CHECK(distance(logits, expected) < 1e-9);
    if (!o.contains("sft")) continue;
    const auto& sft_part = o.at("sft").as_object();
    const auto pairs = golden_pairs(o.at("pairs"), false);
    const std::string file = join(std::string_view(name), "_grads_sft.safetensors");
    const double exact = std::string_view(name) == "tiny_llama" ? 1e-6 : 1e-9;  // stored as F32 and F64
    const double loss = sft_part.at("loss_f64").as_double();
    CHECK(run_gradients(p, sft{}, pairs) == Approx(loss).epsilon(1e-10));
    CHECK(worst_gradient(p, file.c_str(), "") < exact);
    // The head in chunks of one row, and a step split into micro-batches, are the same step.
    CHECK(run_gradients(p, sft{}, pairs, 1) == Approx(loss).epsilon(1e-10));
    CHECK(worst_gradient(p, file.c_str(), "") < exact);
    CHECK(run_gradients(p, sft{}, pairs, std::size_t{1} << 20, true) == Approx(loss).epsilon(1e-10));
    CHECK(worst_gradient(p, file.c_str(), "") < exact);
  }
}

TEMPLATE_TEST_CASE("DPO gradients with an adapter on the head equal PEFT", "[model][golden]", reference, cpu) {
  using B = TestType;
  const auto document = read_golden("tiny_llama.json");
  const auto& o = document.as_object().at("tiny_llama_adapter").as_object();
  auto p = load_adapter<B, double>(load_model<B, double>(golden / "tiny_llama"), golden / "tiny_llama_adapter");
  const auto& part = o.at("dpo").as_object();
  const auto pairs = golden_pairs(document.as_object().at("tiny_llama").as_object().at("pairs"), true);
  for (const std::size_t memory : {std::size_t{64} << 20, std::size_t{1}}) {
    CHECK(run_gradients(p, dpo{}, pairs, memory) == Approx(part.at("loss_f64").as_double()).epsilon(1e-10));
    CHECK(worst_gradient(p, "tiny_llama_adapter_grads_dpo.safetensors", "base_model.model.") < 1e-9);
  }
}

TEMPLATE_TEST_CASE("sampled log-probs are the trainer's bits", "[model][rollout]", reference, cpu) {
  using B = TestType;
  const auto model = load_model<B>(golden / "tiny_llama");
  auto p = load_adapter<B, float>(model, golden / "tiny_llama_adapter");
  const std::vector<ids_list> prompts{{1, 5, 9}, {2}, {3, 4, 5, 6, 7, 8, 9, 10, 11}};
  const auto replies = generate(p, std::span<const ids_list>(prompts),
                                {.max_tokens = 20, .samples = 3, .sampling = {.temperature = 0.9, .seed = 5}});
  std::vector<scored_tokens> sequences;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (const auto& r : replies[i]) {
      scored_tokens s{prompts[i], static_cast<index_t>(prompts[i].size())};
      s.ids.insert(s.ids.end(), r.tokens.begin(), r.tokens.end());
      sequences.push_back(std::move(s));
    }
  const auto scores = score(model, std::span<const scored_tokens>(sequences));
  std::size_t which = 0;
  for (const auto& group : replies)
    for (const auto& r : group) CHECK(scores[which++].logp == r.logp);
  CHECK(replies[0][0].tokens != replies[0][1].tokens);
  // Alone or in company, the same reply.
  const auto alone = generate(p, std::span<const ids_list>(prompts).first(1),
                              {.max_tokens = 20, .samples = 1, .sampling = {.temperature = 0.9, .seed = 5}});
  CHECK(alone[0][0].tokens == replies[0][0].tokens);
  CHECK(alone[0][0].logp == replies[0][0].logp);
  // The reference is another model.
  const auto reference_scores = score(model, std::span<const scored_tokens>(sequences), false, false);
  CHECK(reference_scores[0].logp != scores[0].logp);
}

TEST_CASE("models that do not fit their files are refused by name", "[model][bad input]") {
  plumb_test::temporary_folder folder;
  const auto copy = [&](const char* name) {
    std::filesystem::copy_file(golden / "tiny_llama" / name, folder / name,
                               std::filesystem::copy_options::overwrite_existing);
  };
  const auto message = [&]() -> std::string {
    try {
      (void)load_model<reference>(folder.path());
    } catch (const error& e) {
      return e.what();
    }
    return "";
  };
  const auto edit = [&](const std::string& from, const std::string& to) {
    copy("config.json");
    auto text = plumb_test::read_file(folder / "config.json");
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(message(), Contains("config.json"));
  copy("config.json");
  CHECK_THAT(message(), Contains("safetensors"));
  copy("model.safetensors");
  CHECK(message().empty());
  edit("\"hidden_size\": 48", "\"hidden_size\": 50");
  CHECK_THAT(message(), Contains("expected shape") && Contains("model.embed_tokens.weight"));
  edit("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  CHECK_THAT(message(), Contains("model.layers.2") && Contains("lack"));
  edit("\"vocab_size\": 97", "\"vocab_size\": 2000000000");
  CHECK_THAT(message(), Contains("expected shape"));
  edit("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2");
  CHECK_THAT(message(), Contains("divisor"));
  edit("\"num_attention_heads\": 3", "\"num_attention_heads\": 0");
  CHECK_THAT(message(), Contains("num_attention_heads"));
  edit("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
  CHECK_THAT(message(), Contains("mamba"));
  edit("\"vocab_size\": 97", "\"vocab_size\": \"many\"");
  CHECK_THAT(message(), Contains("vocab_size") && Contains("integer"));

  copy("config.json");
  auto bytes = plumb_test::read_file(folder / "model.safetensors");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + bytes.size() - 8, &nan, 4);
  plumb_test::write_file(folder / "model.safetensors", bytes);
  CHECK_THAT(message(), Contains("NaN"));
}
