// SPDX-License-Identifier: BSL-1.0
// Virtual tokens: prompt tuning and prefix tuning against PEFT, in training, in sampling, in files.
#include "failures.hpp"
#include "model_cases.hpp"

#include <plumb/autograd/gradcheck.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/models/describe_adapter.hpp>
#include <plumb/train/fit.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace plumb_test;

namespace {

struct prompt_case {
  const char* name;
  double tolerance;  ///< relative; PEFT rounds prefixes, and transformers norms outside Llama, to float32
};
constexpr prompt_case cases[] = {{"prompt", 1e-10}, {"prefix", 1e-6}, {"gpt2_prompt", 1e-5}, {"qwen2_prefix", 1e-5}};

json::object entry_of(const char* name) { return read_golden("adapters.json").as_object().at(name).as_object(); }
std::filesystem::path folder_of(std::string_view name) { return golden / "adapters" / name; }
std::filesystem::path base_of(const json::object& entry) {
  return golden / json::get<std::string>(entry, "base", "golden");
}

std::vector<double> logits_in(const json::object& entry) {
  std::vector<double> out;
  for (const auto& row : json::get<std::vector<std::vector<double>>>(entry, "logits_f64", "golden"))
    out.insert(out.end(), row.begin(), row.end());
  return out;
}

/// Pairs whose replies share their prompt.
std::vector<example> some_pairs() {
  std::vector<example> out;
  for (const ids_list& prompt : {ids_list{5, 9, 30}, ids_list{7}}) {
    example e;
    e.prompt = prompt;
    e.replies.push_back({{3, 4, 50}});
    e.replies.push_back({{33, 12}});
    out.push_back(std::move(e));
  }
  return out;
}

}  // namespace

TEST_CASE("virtual tokens compute and learn what PEFT's do") {
  const auto file = safetensors_file::open(golden / "adapters.safetensors");
  for (const prompt_case& each : cases) {
    INFO(each.name);
    const auto entry = entry_of(each.name);
    const auto ids = json::get<ids_list>(entry, "ids", "golden");
    const auto expected = logits_in(entry);
    const auto model = load_model<reference, double>(base_of(entry));
    const auto plain = logits_of(model, ids);
    auto p = load_adapter(model, folder_of(each.name));
    const auto with = logits_of(model, ids);
    CHECK(distance(with, expected) < each.tolerance);
    CHECK(distance(plain, expected) > 1e-2);       // they matter
    CHECK(logits_of(model, ids, false) == plain);  // and can be taken away
    const double loss = run_gradients(p, sft{}, golden_pairs(entry.at("pairs"), false));
    CHECK(loss == Approx(json::get<double>(entry, "sft_f64", "golden")).epsilon(each.tolerance));
    const auto* info = file.find(join(each.name, "/prompt_embeddings"));
    REQUIRE(info != nullptr);
    std::vector<double> numbers(static_cast<std::size_t>(info->elements));
    file.read(info->name, std::span<double>(numbers));
    CHECK(distance(p.trainable()[0].parameter->gradient.host(), numbers) < std::max(each.tolerance, 1e-6));
    CHECK_FAILS("unsupported", "cannot be merged", merge_adapter(p));
    attach_lora(model);  // takes them off
    CHECK(logits_of(model, ids) == plain);
    CHECK_FAILS("bad_argument", "no longer", save_adapter(p, golden / "never"));
  }
}

TEST_CASE("virtual tokens on the cpu backend: files, shared prompts, sampling") {
  for (const prompt_case& each : cases) {
    INFO(each.name);
    const auto entry = entry_of(each.name);
    const auto ids = json::get<ids_list>(entry, "ids", "golden");
    const auto model = load_model<cpu, float>(base_of(entry));
    auto p = load_adapter(model, folder_of(each.name));
    const auto with = logits_of(model, ids);
    CHECK(distance(with, logits_in(entry)) < 1e-5);

    temporary_folder again;
    save_adapter(p, again.path());
    CHECK(plumb_test::read_file(again / "adapter_model.safetensors") ==
          plumb_test::read_file(folder_of(each.name) / "adapter_model.safetensors"));
    const auto ours = json::parse_file(again / "adapter_config.json").as_object();
    const auto theirs = json::parse_file(folder_of(each.name) / "adapter_config.json").as_object();
    for (const char* key : {"peft_type", "num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads"})
      CHECK(ours.at(key) == theirs.at(key));

    // Replies that share a prompt, together and one after the other.
    const double whole = run_gradients(p, dpo{}, some_pairs());
    const auto gradient = p.trainable()[0].parameter->gradient.host();
    CHECK(run_gradients(p, dpo{}, some_pairs(), std::size_t{64} << 20, true) == Approx(whole).epsilon(1e-6));
    CHECK(distance(p.trainable()[0].parameter->gradient.host(), gradient) < 1e-5);
    CHECK(run_gradients(p, dpo{}, some_pairs(), std::size_t{64} << 20, false, true) == whole);
    CHECK(p.trainable()[0].parameter->gradient.host() == gradient);  // with blocks that run again
    CHECK(std::abs(whole - std::log(2.0)) > 1e-4);                   // the reference is the model without them

    // What the sampler says of its tokens is what the scorer says, to the bit: cached and not.
    const std::vector<ids_list> prompts{{5, 9, 30}, {7}};
    const auto replies = generate(model, std::span(prompts), {.max_tokens = 12, .samples = 2});
    const auto bare = generate(model, std::span(prompts), {.max_tokens = 12, .samples = 2, .adapters = false});
    bool differs = false;
    for (std::size_t i = 0; i < prompts.size(); ++i)
      for (std::size_t k = 0; k < replies[i].size(); ++k) {
        auto all = prompts[i];
        all.insert(all.end(), replies[i][k].tokens.begin(), replies[i][k].tokens.end());
        const scored_tokens tokens{all, static_cast<index_t>(prompts[i].size())};
        CHECK(score(model, std::span(&tokens, 1))[0].logp == replies[i][k].logp);
        differs = differs || replies[i][k].tokens != bare[i][k].tokens;
      }
    CHECK(differs);
  }
}

TEST_CASE("new virtual tokens learn, within the model's positions") {
  const auto model = load_model<cpu, float>(golden / "tiny_llama");
  const ids_list ids{5, 9, 3, 33, 2};
  const auto plain = logits_of(model, ids);
  for (const bool prefix : {false, true}) {
    prompt_options o{.count = 4, .prefix = prefix};
    if (!prefix) o.from = {8, 60, 41};
    auto p = attach_prompt(model, o);
    CHECK(model.network().sizes().positions == 252);
    CHECK(p.trainable_count() == (prefix ? 4 * 2 * 2 * 16 : 4 * 48));
    const auto first = p.trainable()[0].parameter->value.host();
    if (!prefix) {  // the tokens' embeddings, from the start again when they run out
      ids_list in_front{8, 60, 41, 8};
      in_front.insert(in_front.end(), ids.begin(), ids.end());
      const auto all = logits_of(model, in_front, false), with = logits_of(model, ids);
      CHECK(std::equal(with.begin(), with.end(), all.end() - static_cast<std::ptrdiff_t>(with.size())));
    }
    const auto result = fit(p, dpo{}, some_pairs(), {.rate = 0.05, .steps = 8, .batch = 2, .log_every = 1});
    CHECK(result.loss < result.log.front().find("loss").value() - 1e-3);
    CHECK(distance(p.trainable()[0].parameter->value.host(), first) > 1e-2);
    CHECK(logits_of(model, ids, false) == plain);
    const auto noisy =
        fit(p, sft{}, some_pairs(), {.rate = 0, .steps = 1, .neftune = 5});  // noise has the tokens' rows
    CHECK(std::isfinite(noisy.loss));
    const auto facts = describe_adapter(p);
    CHECK(json::get<index_t>(facts, "num_virtual_tokens", "") == 4);
    CHECK(json::get<index_t>(facts, "trainable_parameters", "") == p.trainable_count());
    CHECK_FAILS("bad_argument", "252", generate(model, std::vector<ids_list>{ids_list(252, 5)}, {.max_tokens = 1}));
  }
  train_all(model);
  CHECK(model.network().sizes().positions == 256);
  CHECK(logits_of(model, ids) == plain);

  CHECK_FAILS("bad_argument", "1 to 255", attach_prompt(model, {.count = 256}));
  CHECK_FAILS("bad_argument", "1 to 255", attach_prompt(model, {.count = 0}));
  CHECK_FAILS("bad_argument", "vocabulary of 97", attach_prompt(model, {.from = {97}}));
  CHECK_FAILS("bad_argument", "leave it empty", attach_prompt(model, {.prefix = true, .from = {9}}));
  CHECK_FAILS("unsupported", "Gemma", attach_prompt(load_model<cpu, float>(golden / "families" / "gemma2")));
  auto p = attach_prompt(model, {.count = 2});
  CHECK_FAILS("unsupported", "attach LoRA", attach_score_head(p));
  CHECK_FAILS("bad_argument", "reference_share",
              fit(p, dpo{}, some_pairs(), {.steps = 1, .reference_sync = 1, .reference_share = 0.5}));
}

TEST_CASE("files of virtual tokens that do not fit are refused") {
  const auto model = load_model<reference, float>(golden / "tiny_llama");
  const auto refuse = [&](const char* code, const char* words, const char* key, const json::value& value,
                          const char* from = "prefix") {
    temporary_folder copy;
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
      std::filesystem::copy_file(folder_of(from) / file, copy / file);
    auto config = json::parse_file(copy / "adapter_config.json").as_object();
    config[key] = value;
    plumb_test::write_file(copy / "adapter_config.json", json::dump(config));
    INFO(key);
    CHECK_FAILS(code, words, load_adapter(model, copy.path()));
  };
  refuse("unsupported", "prefix_projection", "prefix_projection", true);
  refuse("unsupported", "task_type", "task_type", "SEQ_CLS");
  refuse("unsupported", "modules_to_save", "modules_to_save", json::array{"norm"});
  refuse("bad_file", "at least 1", "num_virtual_tokens", 0);
  refuse("bad_argument", "below the model's positions", "num_virtual_tokens", 1000000000);
  refuse("bad_model", "expected shape [4, 64], found [3, 64]", "num_virtual_tokens", 4);
  refuse("bad_model", "expected shape [3, 48]", "peft_type", "PROMPT_TUNING");
  refuse("bad_model", "expected shape [3, 64]", "peft_type", "PREFIX_TUNING", "prompt");
  refuse("unsupported", "P_TUNING", "peft_type", "P_TUNING");
}

TEST_CASE("stacked rows have the gradient of their values") {
  const auto device = std::make_shared<cpu::device>();
  std::vector<tensor<cpu, double>> points;
  points.push_back(random_tensor<cpu, double>(device, {2, 3}, 1));
  points.push_back(random_tensor<cpu, double>(device, {4, 3}, 2));
  const auto worst = gradcheck<cpu>(device, std::span<const tensor<cpu, double>>(points), [](auto& t, auto v) {
                       return rows_from(t, stack_rows(t, v[0], v[1], 1), 1);
                     }).worst;
  CHECK(worst < 1e-6);
}
