// SPDX-License-Identifier: BSL-1.0
// Models whose maps are packed: bitsandbytes' checkpoints, GGUF blocks as stored, and what trains, merges and samples on them.
#include <cmath>

#include "catch.hpp"
#include "failures.hpp"
#include "model_cases.hpp"

#include <plumb/backend/reference.hpp>
#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/attach_lora.hpp>
#include <plumb/models/attach_prompt.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/rollout/generate.hpp>

namespace {

using namespace plumb;
using plumb_test::logits_of;

const std::vector<token_id> ids{1, 17, 3, 40, 22, 5, 9, 31, 2};

std::filesystem::path folder(const std::string& kind) { return plumb_test::golden / "packed" / kind; }

std::vector<double> expected(const std::string& name) {
  const auto file = safetensors_file::open(plumb_test::golden / "packed" / "results.safetensors");
  const auto* const info = file.find(name);
  REQUIRE(info != nullptr);
  std::vector<double> out(static_cast<std::size_t>(info->elements));
  file.read(name, std::span<double>(out));
  return out;
}

example golden_example() {
  example e;
  e.prompt = {ids.begin(), ids.begin() + 3};
  e.replies.push_back({std::vector<token_id>(ids.begin() + 3, ids.end())});
  return e;
}

/// How often a table of tokens or a head is kept in few bits; a table that is the head counts for both.
int packed_words(const language_model<cpu>& model) {
  int count = 0;
  model.network().for_each_weight([&](const std::string& name, weight_ptr<cpu, float>& w) {
    count += detail::is_word_map(name) && w->packed ? 1 : 0;
  });
  return count;
}

}  // namespace

TEMPLATE_TEST_CASE("bitsandbytes' checkpoints are read as they are, and agree with torch on the same weights",
                   "[packed]", reference, cpu) {
  using B = TestType;
  for (const std::string kind : {"nf4", "int8"}) {
    CAPTURE(kind);
    const auto packed = load_model<B>(folder(kind), {.threads = 2, .storage = weight_storage::stored});
    const auto plain = load_model<B>(folder(kind), {.threads = 2});
    CHECK(packed.weight_bytes() < plain.weight_bytes() / 2);
    CHECK(packed.parameter_count() == plain.parameter_count());
    const auto z = logits_of(packed, ids);
    CHECK(plumb_test::distance(z, expected(kind + ".logits")) < 1e-5);
    CHECK((z == logits_of(plain, ids)));
    // Asking for the format that is there changes nothing.
    const auto same = kind == "nf4" ? weight_storage::nf4 : weight_storage::int8;
    CHECK((z == logits_of(load_model<B>(folder(kind), {.threads = 1, .storage = same}), ids)));
    CHECK((z != logits_of(load_model<B>(folder(kind), {.threads = 1, .storage = weight_storage::bf16}), ids)));

    auto p = load_adapter(packed, folder("adapter"));
    CHECK(plumb_test::distance(logits_of(packed, ids), expected(kind + ".adapted")) < 1e-5);
    CHECK(plumb_test::run_gradients(p, sft{}, {golden_example()}) == Approx(expected(kind + ".loss")[0]).epsilon(1e-5));
    double worst = 0;
    for (const auto& each : p.trainable())
      worst = std::max(worst, plumb_test::distance(each.parameter->gradient.host(),
                                                   expected(kind + ".base_model.model." + each.name)));
    CHECK(worst < 2e-5);
  }
}

TEST_CASE("checkpoints of bitsandbytes are converted by the numbers they stand for", "[packed]") {
  const plumb_test::temporary_folder out;
  for (const std::string kind : {"nf4", "int8"}) {
    write_model_folder(*open_model_files(folder(kind)), out.path() / kind, dtype::f32);
    CHECK((logits_of(load_model<cpu>(out.path() / kind), ids) == logits_of(load_model<cpu>(folder(kind)), ids)));
  }
}

TEST_CASE("folders are written as bitsandbytes packs them, and keep what was packed already", "[packed]") {
  const plumb_test::temporary_folder out;
  const auto write = [&](const std::filesystem::path& from, const std::string& to, weight_storage storage) {
    write_packed_folder(*open_model_files(from), out.path() / to, storage);
    return load_model<cpu>(out.path() / to, {.threads = 1, .storage = weight_storage::stored});
  };
  for (const auto storage : {weight_storage::nf4, weight_storage::int8}) {
    const std::string kind{name(storage)};
    CAPTURE(kind);
    CHECK((logits_of(write(folder(kind), kind, storage), ids) == logits_of(load_model<cpu>(folder(kind)), ids)));
    const auto before = weight_files::open(folder(kind)), after = weight_files::open(out.path() / kind);
    for (const std::string& each : before.names()) {
      if (each.find("quant_state") != std::string::npos) continue;  // JSON, whose spaces may differ
      CAPTURE(each);
      REQUIRE(after.contains(each));
      CHECK(after.info(each).type == before.info(each).type);
      CHECK(after.shape(each) == before.shape(each));
      CHECK(std::ranges::equal(after.bytes(each), before.bytes(each)));
    }
    CHECK(after.names().size() == before.names().size());
    // Rounded while loading or rounded on disk: the same numbers. GPT-2's maps lie transposed in plain files alone.
    for (const std::string family : {"gpt2", "qwen2", "gpt_neox"}) {
      CAPTURE(family);
      const auto plain = plumb_test::golden / "families" / family;
      const auto z = logits_of(write(plain, family + kind, storage), ids);
      CHECK((z == logits_of(load_model<cpu>(plain, {.threads = 1, .storage = storage}), ids)));
      CHECK((z != logits_of(load_model<cpu>(plain, {.threads = 1}), ids)));
    }
  }
  CHECK_MESSAGE(errc::unsupported, write(folder("nf4"), "q", weight_storage::q8_0), "nf4 or int8");
  CHECK_MESSAGE(errc::unsupported, write(plumb_test::golden / "families/mixtral", "m", weight_storage::nf4), "experts");
  CHECK_MESSAGE(errc::unsupported, write(plumb_test::golden / "encoders/bert", "b", weight_storage::nf4), "bert");
}

TEST_CASE("blocks of a GGUF file are kept as they are", "[packed]") {
  const auto data = plumb_test::shared_data("stories260k");
  if (!data) SKIP("no ../shared/data beside the repository");
  const plumb_test::temporary_folder out;
  for (const auto type : {ggml_type::q8_0, ggml_type::bf16, ggml_type::f16}) {
    CAPTURE(name(type));
    const auto path = out.path() / join(name(type), ".gguf");
    write_gguf_model(*open_model_files(*data / "hf"), path, type);
    const auto plain = load_model<cpu>(path, {.threads = 1});
    const auto packed = load_model<cpu>(path, {.threads = 1, .storage = weight_storage::stored});
    CHECK(packed.weight_bytes() < plain.weight_bytes());
    CHECK(packed_words(packed) == 2);
    CHECK((logits_of(plain, ids) == logits_of(packed, ids)));
  }
}

TEST_CASE("words are looked up and scored in few bits as in plain numbers of the same bits", "[packed]") {
  const plumb_test::temporary_folder out;
  for (const std::string family : {"qwen2", "phi3"}) {  // the head is the table, or is not
    CAPTURE(family);
    const auto original = plumb_test::golden / "families" / family, rounded = out.path() / family;
    write_model_folder(*open_model_files(original), rounded, dtype::bf16);
    const auto load = [&](weight_storage storage) {
      return load_model<cpu>(rounded, {.threads = 1, .storage = storage});
    };
    CHECK(packed_words(load(weight_storage::nf4)) == 0);
    CHECK(packed_words(load(weight_storage::int8)) == 0);
    CHECK(packed_words(load(weight_storage::stored)) == 2);
    const auto packed = load(weight_storage::bf16), plain = load(weight_storage::plain);
    REQUIRE(packed_words(packed) == 2);
    CHECK((logits_of(packed, ids) == logits_of(plain, ids)));
    CHECK((logits_of(load_model<reference>(rounded, {.storage = weight_storage::bf16}), ids) ==
           logits_of(load_model<reference>(rounded), ids)));

    const std::vector<lora_options> kinds{{.rank = 4, .targets = {"embed_tokens"}},
                                          {.rank = 4, .targets = {"lm_head"}},
                                          {.rank = 4, .targets = {"lm_head"}, .dora = true},
                                          {.rank = 4, .targets = {"o_proj"}, .modules_to_save = {"embed_tokens"}},
                                          {.rank = 4, .targets = {"o_proj"}, .modules_to_save = {"lm_head"}},
                                          {.rank = 4, .targets = {"o_proj"}, .trainable_tokens = {3, 17, 60}}};
    // Loss, gradients, logits with the adapter on and logits merged.
    const auto follow = [&](const language_model<cpu>& model, const lora_options& options) {
      auto p = attach_lora(model, options);
      for (const auto& each : p.trainable())
        if (each.name.find("lora_") != std::string::npos)
          each.parameter->value = plumb_test::random_tensor<cpu, float>(model.device(), each.parameter->extent(), 3);
      std::vector<float> all{static_cast<float>(plumb_test::run_gradients(p, sft{}, {golden_example()}))};
      for (const auto& each : p.trainable()) {
        const auto gradient = each.parameter->gradient.host();
        all.insert(all.end(), gradient.begin(), gradient.end());
      }
      for (const auto& logits : {logits_of(model, ids), logits_of(merge_adapter(p), ids)})
        all.insert(all.end(), logits.begin(), logits.end());
      return all;
    };
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      CAPTURE(i);
      const auto mine = follow(packed, kinds[i]), theirs = follow(plain, kinds[i]);
      CHECK((mine == theirs));
    }
    const prompt_options prompt{.count = 3, .from = {5, 9}};
    const auto start = [&](const language_model<cpu>& model) {
      return attach_prompt(model, prompt).trainable().front().parameter->value.host();
    };
    CHECK((start(packed) == start(plain)));
  }
  STATIC_REQUIRE(word_format_of(weight_storage::q8_0) == packed_format::q8_0);
  STATIC_REQUIRE(word_format_of(weight_storage::q4_0) == packed_format::q8_0);
  // A head that would be unpacked for each token stays plain.
  const cpu::device device(1);
  const bool wide = device.instructions() > detail::instruction_set::portable;
  for (int i = 0; i <= static_cast<int>(packed_format::q6_k); ++i) {
    const auto format = static_cast<packed_format>(i);
    CAPTURE(name(format));
    const packed_matrix m{.format = format, .rows = 32, .columns = 768};
    CHECK((cpu::packed_panel_size<float>(device, m) > 0) == (wide && detail::is_read_in_order(format)));
  }
}

TEST_CASE("what a packed model cannot do is refused with the way out", "[packed]") {
  const auto model = load_model<cpu>(folder("nf4"), {.threads = 1, .storage = weight_storage::nf4});
  CHECK_MESSAGE(errc::unsupported, train_all(model), "train an adapter");
  // Rows of 88 numbers end inside blocks of 32.
  CHECK_MESSAGE(errc::bad_argument, load_model<cpu>(folder("nf4"), {.threads = 1, .storage = weight_storage::q8_0}),
                "down_proj");
}

TEST_CASE("adapters of every kind start, merge and save on packed weights as on their numbers", "[packed]") {
  const plumb_test::temporary_folder out;
  for (const bool dora : {false, true}) {
    lora_options options;
    options.rank = 4, options.alpha = 8, options.targets = {"q_proj", "down_proj"};
    options.dora = dora;
    std::vector<std::vector<float>> logits;
    for (const auto storage : {weight_storage::stored, weight_storage::plain}) {
      const auto model = load_model<cpu>(folder("nf4"), {.threads = 1, .storage = storage});
      auto p = attach_lora(model, options);
      for (const auto& each : p.trainable())
        if (each.name.ends_with("lora_B.weight"))
          each.parameter->value = plumb_test::random_tensor<cpu, float>(model.device(), each.parameter->extent(), 3);
      logits.push_back(logits_of(model, ids));
      const auto merged = merge_adapter(p);
      CHECK(merged.weight_bytes() == 4 * merged.parameter_count());
      CHECK(plumb_test::distance(logits_of(merged, ids), logits.front()) < 1e-4);
      logits.push_back(logits_of(merged, ids));
      save_merged(p, out.path() / (dora ? "dora" : "lora"));
      CHECK((logits_of(load_model<cpu>(out.path() / (dora ? "dora" : "lora")), ids) == logits.back()));
    }
    CHECK((logits[0] == logits[2]));
    CHECK((logits[1] == logits[3]));
  }
  // A packed model is saved as plain numbers, which read back to the same logits.
  const auto model = load_model<cpu>(folder("int8"), {.threads = 1, .storage = weight_storage::stored});
  save_model(model, out.path() / "plain");
  CHECK((logits_of(load_model<cpu>(out.path() / "plain"), ids) == logits_of(model, ids)));
}

TEST_CASE("sampling from a packed model scores its tokens as a pass over all of them does", "[packed]") {
  const std::vector<std::vector<token_id>> prompts{{1, 17, 3}, {1, 5}};
  for (const auto storage : {weight_storage::nf4, weight_storage::int8, weight_storage::bf16, weight_storage::f16}) {
    CAPTURE(name(storage));
    const auto model = load_model<cpu>(folder("nf4"), {.threads = 2, .storage = storage});
    const auto p = load_adapter(model, folder("adapter"));
    generate_options options{.max_tokens = 12, .samples = 3};
    const auto replies = generate(p, std::span(prompts), options);
    options.copy_weights = false;
    const auto uncopied = generate(p, std::span(prompts), options);
    model.keep_copies();
    const auto kept = generate(p, std::span(prompts), options);
    model.drop_copies();
    for (std::size_t i = 0; i < prompts.size(); ++i)
      for (std::size_t k = 0; k < 3; ++k) {
        const auto& reply = replies[i][k];
        CHECK(reply.tokens == uncopied[i][k].tokens);
        CHECK(reply.logp == uncopied[i][k].logp);
        CHECK(reply.logp == kept[i][k].logp);
        auto all = prompts[i];
        all.insert(all.end(), reply.tokens.begin(), reply.tokens.end());
        const auto z = logits_of(model, all);
        const std::size_t vocabulary = z.size() / all.size();
        for (std::size_t t = 0; t < reply.tokens.size(); ++t) {
          const auto row = z.begin() + static_cast<std::ptrdiff_t>((prompts[i].size() + t - 1) * vocabulary);
          double sum = 0;
          for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(row[v]));
          const double logp = static_cast<double>(row[reply.tokens[t]]) - std::log(sum);
          CHECK(reply.logp[t] == Approx(logp).margin(1e-5));
        }
      }
  }
}
