// SPDX-License-Identifier: BSL-1.0
// Files from strangers: folders of models, packed checkpoints, adapters, judges, a run's checkpoints, chat templates of a
// folder. What is done to them is in hostile.hpp.
#include <plumb/io/bitsandbytes.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/models/score_head_files.hpp>
#include <plumb/rollout/embed.hpp>
#include <plumb/text/chat_template.hpp>
#include <plumb/train/run_state.hpp>

#include "failures.hpp"
#include "hostile.hpp"

using namespace plumb_test;

namespace {

/// A model's folder, config.json and the header of its weights, read with their numbers stored in any way.
void attack_folder(const temporary_folder& folder, const std::string& name,
                   weight_storage storage = weight_storage::plain) {
  const auto model = copied(folder, name);
  const auto load = [&] { use(load_model<cpu>(model, {.threads = 1, .storage = storage})); };
  attack_file(name + "/config.json", model / "config.json", load);
  attack_header(name, model / "model.safetensors", load);
}

}  // namespace

TEST_CASE("changed configurations are refused or load", "[hostile][config]") {
  const temporary_folder folder;
  const auto sharded = copied(folder, "tiny_llama_sharded");
  attack_file("config.json", sharded / "config.json", [&] { use(load_model<cpu>(sharded, {.threads = 1})); });
  std::filesystem::create_directories(folder / "families");
  for (const char* name : {"families/llama_yarn", "families/gemma3", "families/cohere2", "families/smollm3",
                           "families/granite", "families/mpt", "families/falcon_40b", "families/phi3_longrope"}) {
    const auto model = copied(folder, name);
    attack_file(name, model / "config.json", [&] { use(load_model<cpu>(model, {.threads = 1})); });
  }
}

TEST_CASE("changed mixtures of experts are refused or load", "[hostile][config]") {
  const temporary_folder folder;
  std::filesystem::create_directories(folder / "families");
  for (const char* name : {"families/mixtral", "families/qwen2_moe", "families/qwen3_moe", "families/olmoe"})
    attack_folder(folder, name);
}

TEST_CASE("changed packed checkpoints are refused or load", "[hostile][packed]") {
  const temporary_folder folder;
  std::filesystem::create_directories(folder / "packed");
  for (const char* name : {"packed/nf4", "packed/int8"}) attack_folder(folder, name, weight_storage::stored);
  // One weight of each kind, with everything that stands beside it.
  std::vector<float> numbers(15 * 77);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 13) - 6.5f;
  const auto path = folder / "weights.safetensors";
  for (const packed_format format : {packed_format::four_bits, packed_format::int8}) {
    const auto m = pack(numbers, {15, 77}, format);
    write_safetensors(path, as_bitsandbytes("a.weight", m.what)->tensors);
    attack_file(format == packed_format::int8 ? "a weight in int8" : "a weight in nf4", path, [&] {
      const auto files = weight_files::open(path);
      if (!bitsandbytes_format(files, "a.weight")) throw error(errc::not_found, "a.weight", "plain");
      const auto read = read_bitsandbytes(files, "a.weight", bitsandbytes_shape(files, "a.weight"));
      if (read.what.extent().size() > 100'000) FAIL("more numbers than the file has bytes");
      std::vector<float> out(static_cast<std::size_t>(read.what.extent().size()));
      unpack(read.what, out);
    });
  }
}

TEST_CASE("changed encoders and judges are refused or load", "[hostile][config]") {
  const temporary_folder folder;
  std::filesystem::create_directories(folder / "encoders");
  for (const std::string name : {"encoders/bert", "encoders/roberta"}) {
    const auto encoder = copied(folder, name);
    const auto load = [&] {
      const auto model = load_model<cpu>(encoder, {.threads = 1});
      if (!model.config().encodes()) return use(model);
      const std::vector<std::vector<token_id>> texts{{0, 0, 0}, {0}};
      (void)embed(model, texts);
      auto judge = train_all(model);
      load_score_head(judge, encoder);
    };
    attack_file(name + "/config.json", encoder / "config.json", load);
    attack_header(name, encoder / "model.safetensors", load);
  }
}

TEST_CASE("changed adapters are refused or load", "[hostile][adapters]") {
  const temporary_folder folder;
  std::filesystem::create_directories(folder / "adapters");
  const auto llama = load_model<cpu>(golden / "tiny_llama", {.threads = 1});
  const auto biased = load_model<cpu>(golden / "tiny_llama_bias", {.threads = 1});
  const auto qwen = load_model<cpu>(golden / "families/qwen2", {.threads = 1});
  const auto gpt = load_model<cpu>(golden / "families/gpt2", {.threads = 1});
  const auto attack_adapter = [&](const std::string& name, const language_model<cpu>& base) {
    const auto adapter = copied(folder, name);
    const auto load = [&] {
      const auto p = load_adapter(base, adapter);
      use(p.model());
    };
    attack_file(name + "/adapter_config.json", adapter / "adapter_config.json", load);
    attack_header(name, adapter / "adapter_model.safetensors", load);
  };
  attack_adapter("tiny_llama_adapter", llama);
  for (const std::string name : {"dora", "pissa", "saved", "tokens", "embedding", "prefix", "prompt"})
    attack_adapter("adapters/" + name, llama);
  attack_adapter("adapters/biases_all", biased);
  for (const std::string name : {"tied_low_rank", "qwen2_prefix"}) attack_adapter("adapters/" + name, qwen);
  attack_adapter("adapters/gpt2_prompt", gpt);
}

TEST_CASE("changed checkpoints of a run are refused or read", "[hostile][train]") {
  const temporary_folder folder;
  const std::vector<float> numbers(6, 0.25f);
  run_state state;
  state.step = 12, state.objective = "dpo", state.fingerprint = 81985529216486895u, state.tokens = 512;
  state.references = {-1.5, -2.25, -0.125}, state.token_references = {-0.5, -1}, state.position = {3, 1, 4};
  const auto checkpoint = detail::write_checkpoint(
      folder / "run", {tensor_data{"parameter.a", dtype::f32, {2, 3}, std::as_bytes(std::span(numbers))}}, state);
  const auto load = [&] {
    if (detail::read_run_state(newest_checkpoint(folder / "run")).step < 0) FAIL("a step below 0");
  };
  attack_file("training_state.json", checkpoint / "training_state.json", load);
  attack_file("training_state.safetensors", checkpoint / "training_state.safetensors", load);
}

TEST_CASE("changed descriptions of a tokenizer and its template are refused or read", "[hostile][tokenizer]") {
  const temporary_folder folder;
  const auto chat = copied(folder, "chat");
  std::filesystem::copy_file(golden / "tiny_llama/config.json", chat / "config.json");
  const json::array messages{json::object{{"role", "user"}, {"content", "a"}},
                             json::object{{"role", "assistant"}, {"content", "b"}}};
  write_file(chat / "chat_template.jinja",
             "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}"
             "{{ eos_token }}{% endif %}{% endfor %}");
  const auto load = [&] {
    const auto words = tokenizer::load(chat);
    use(words);
    (void)words.bos(), (void)words.eos();
    const auto plan = chat_template::load(chat);
    (void)plan.tokens(plan.render(messages), words);
  };
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja", "tokenizer.json"})
    attack_file(name, chat / name, load);
}
