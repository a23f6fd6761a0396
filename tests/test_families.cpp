// SPDX-License-Identifier: BSL-1.0
// Every family of models against transformers: logits, loss, all gradients, greedy text, and files written again.
#include <plumb/models/model_files.hpp>

#include "failures.hpp"
#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

const std::filesystem::path families = golden / "families";

/// What transformers computed for one family.
struct expectation {
  ids_list ids, greedy;              // no greedy text: the angles depend on its length
  std::vector<double> short_logits;  // [12, vocabulary], of a path within the model's first training
  std::vector<double> logits;        // [tokens, vocabulary]
  index_t from = 0;                  // the reply's first token
  double loss = 0;
  load_options how{};
};

expectation read_expectation(const std::string& family) {
  static const json::value all = json::parse_file(golden / "families.json");
  const auto& o = all.as_object().at(family).as_object();
  expectation out;
  out.ids = json::get<ids_list>(o, "ids", family);
  out.greedy = json::get_or<ids_list>(o, "greedy", {}, family);
  const auto numbers = [&](const char* key, std::vector<double>& to) {
    if (const json::value* rows = json::find(o, key))
      for (const auto& row : rows->as_array())
        for (const double x : json::as<std::vector<double>>(row, key, family)) to.push_back(x);
  };
  numbers("logits", out.logits), numbers("short", out.short_logits);
  out.how.positions = json::get_or<index_t>(o, "positions", 0, family);
  out.from = json::get<index_t>(o, "from", family), out.loss = json::get<double>(o, "loss", family);
  return out;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(families))
    out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("families compute what transformers computes", "[model][golden]") {
  REQUIRE(names().size() >= 37);
  for (const std::string& family : names()) {
    CAPTURE(family);
    const auto expected = read_expectation(family);
    auto p = train_all(load_model<cpu, double>(families / family, expected.how));
    CHECK(distance(logits_of(p.model(), expected.ids), expected.logits) < 4e-6);
    example e;
    e.prompt.assign(expected.ids.begin(), expected.ids.begin() + expected.from);
    e.replies.push_back({{expected.ids.begin() + expected.from, expected.ids.end()}});
    CHECK(run_gradients(p, sft{}, std::vector{e}) == Approx(expected.loss).epsilon(1e-6));
    CHECK(worst_gradient(p, join("families/", family, "/grads.safetensors").c_str(), "") < 2e-5);
    const auto gradients = gradients_of(p);
    CHECK(run_gradients(p, sft{}, std::vector{e}, std::size_t{64} << 20, false, true) ==
          run_gradients(p, sft{}, std::vector{e}));
    CHECK(gradients_of(p) == gradients);  // of the last: as before
    (void)run_gradients(p, sft{}, std::vector{e}, std::size_t{64} << 20, false, true);
    CHECK(gradients_of(p) == gradients);  // blocks that ran again: the same bits

    const auto single = load_model<cpu>(families / family, expected.how);
    CHECK(distance(logits_of(single, expected.ids), expected.logits) < 1e-5);
    if (expected.greedy.empty()) {
      const ids_list few{expected.ids.begin(), expected.ids.begin() + 12};
      CHECK(distance(logits_of(load_model<cpu, double>(families / family), few), expected.short_logits) < 4e-6);
      CHECK(distance(logits_of(single, few), expected.short_logits) >
            1e-3);  // negative control: the long path's angles
      continue;
    }
    // Through the cache, in company of another prompt, to the first end of text.
    const std::vector<ids_list> prompts{{1, 7, 9, 11}, {expected.ids.begin(), expected.ids.begin() + 5}};
    const auto replies =
        generate(single, std::span<const ids_list>(prompts), {.max_tokens = 64, .sampling = {.temperature = 0}});
    auto greedy = expected.greedy;
    const auto end = std::find(greedy.begin(), greedy.end(), 2);
    if (end != greedy.end()) greedy.erase(end + 1, greedy.end());
    CHECK(replies[1][0].tokens == greedy);
  }
}

TEST_CASE("a family's configuration is written as it was read", "[model]") {
  for (const std::string& family : names()) {
    CAPTURE(family);
    const auto expected = read_expectation(family);
    const auto model = load_model<cpu>(families / family, expected.how);
    temporary_folder folder;
    save_model(model, folder.path());
    const auto before = model.config(), after = read_config(folder.path());
    CHECK(after.family == before.family);
    CHECK(after.rope_scaling == before.rope_scaling);
    CHECK(after.windows == before.windows);
    CHECK(after.unturned == before.unturned);
    CHECK(std::abs(after.query_scale - before.query_scale) <= 1e-12 * before.query_scale);
    CHECK(after.residual_factor == before.residual_factor);
    CHECK(after.attention_bias == before.attention_bias);
    CHECK(after.turned_width() == before.turned_width());
    CHECK(after.parallel == before.parallel);
    CHECK(after.one_norm == before.one_norm);
    CHECK(after.kv_heads == before.kv_heads);
    CHECK(after.tied_head == before.tied_head);
    CHECK(after.query_norms == before.query_norms);
    CHECK(logits_of(load_model<cpu>(folder.path(), expected.how), expected.ids) == logits_of(model, expected.ids));
    const auto copied = folder / "copied";
    write_model_folder(*open_model_files(families / family), copied, dtype::f32);
    CHECK(logits_of(load_model<cpu>(copied, expected.how), expected.ids) == logits_of(model, expected.ids));
  }
}

TEST_CASE("weight decay spares norms and biases in every family", "[model]") {
  for (const std::string& family : names()) {
    CAPTURE(family);
    const auto p = train_all(load_model<cpu>(families / family));
    const auto parameters = decaying(p);
    REQUIRE(parameters.size() == p.trainable().size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& name = p.trainable()[i].name;
      const auto module = name.substr(0, name.rfind('.'));
      const auto last = module.substr(module.rfind('.') + 1);
      const bool spared = last.find("norm") != std::string::npos || last.starts_with("ln_") || name.ends_with(".bias");
      CAPTURE(name);
      CHECK(parameters[i].decays == !spared);
    }
  }
}

TEST_CASE("each trait of a family matters", "[model]") {
  // Negative control: without its trait, a model is another one.
  temporary_folder folder;
  const auto far = [&](const std::string& family, const std::string& from, const std::string& to) {
    std::filesystem::copy_file(families / family / "model.safetensors", folder / "model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    auto text = plumb_test::read_file(families / family / "config.json");
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
    const auto expected = read_expectation(family);
    return distance(logits_of(load_model<cpu>(folder.path(), expected.how), expected.ids), expected.logits);
  };
  CHECK(far("mistral", "\"sliding_window\": 6", "\"sliding_window\": 7") > 1e-3);
  CHECK(far("llama_linear", "\"factor\": 4.0", "\"factor\": 5.0") > 1e-3);
  CHECK(far("llama_llama3", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 1.5") > 1e-3);
  CHECK(far("llama_yarn", "\"factor\": 4.0", "\"factor\": 8.0") > 1e-3);
  CHECK(far("qwen3", "\"model_type\": \"qwen3\"", "\"model_type\": \"llama\"") > 1e-3);
  CHECK(far("gemma", "\"hidden_activation\": \"gelu_pytorch_tanh\"", "\"hidden_activation\": \"silu\"") > 1e-3);
  CHECK(far("gemma2", "\"attn_logit_softcapping\": 5.0", "\"attn_logit_softcapping\": 6.0") > 1e-3);
  CHECK(far("gemma2", "\"final_logit_softcapping\": 3.0", "\"final_logit_softcapping\": null") > 1e-3);
  CHECK(far("gemma2", "\"query_pre_attn_scalar\": 16", "\"query_pre_attn_scalar\": 8") > 1e-3);
  CHECK(far("phi3", "\"sliding_window\": 6", "\"sliding_window\": 7") > 1e-3);
  CHECK(far("phi3", "\"partial_rotary_factor\": 0.75", "\"partial_rotary_factor\": 0.5") > 1e-3);
  CHECK(far("gpt_neox", "\"partial_rotary_factor\": 0.25", "\"partial_rotary_factor\": 0.5") > 1e-3);
  CHECK(far("gpt_neox", "\"use_parallel_residual\": true", "\"use_parallel_residual\": false") > 1e-3);
  CHECK(far("gpt_neox", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"gelu_new\"") > 1e-5);
  CHECK(far("opt", "\"activation_function\": \"relu\"", "\"activation_function\": \"gelu\"") > 1e-3);
  CHECK(far("cohere", "\"logit_scale\": 0.25", "\"logit_scale\": 0.5") > 1e-3);
  CHECK(far("cohere_plus", "\"use_qk_norm\": true", "\"use_qk_norm\": false") > 1e-3);
  CHECK(far("gptj", "\"rotary_dim\": 4", "\"rotary_dim\": 6") > 1e-3);
  CHECK(far("phi", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 1.0") > 1e-3);
  CHECK(far("mpt", "\"alibi_bias_max\": 8", "\"alibi_bias_max\": 9") > 1e-3);
  CHECK(far("phi3_longrope", "      9.0", "      8.0") > 1e-4);
  CHECK(far("llama_dynamic", "\"factor\": 2.0", "\"factor\": 3.0") > 1e-3);
  CHECK(far("cohere2", "\"sliding_attention\",\n    \"full", "\"full_attention\",\n    \"full") > 1e-3);
  CHECK(far("smollm3", "    0,\n", "    1,\n") > 1e-3);
  CHECK(far("granite", "\"residual_multiplier\": 0.7", "\"residual_multiplier\": 0.8") > 1e-3);
  CHECK(far("granite", "\"attention_multiplier\": 0.25", "\"attention_multiplier\": 0.5") > 1e-3);
  CHECK(far("granite", "\"logits_scaling\": 2.0", "\"logits_scaling\": 2.5") > 1e-3);
  CHECK(far("stablelm", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 0.25") > 1e-3);
  CHECK(far("starcoder2", "\"sliding_window\": 6", "\"sliding_window\": 7") > 1e-3);
  CHECK(far("gemma3", "\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0") > 1e-4);
}

TEST_CASE("what a family's parts do not have is refused", "[model]") {
  temporary_folder folder;
  const auto refusal = [&](const std::string& family, const std::string& from, const std::string& to) {
    auto text = plumb_test::read_file(families / family / "config.json");
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
    return failure([&] { (void)read_config(folder.path()); });
  };
  const auto refused = [&](const std::string& family, const std::string& from, const std::string& to,
                           const std::string& says) {
    CAPTURE(family, to);
    CHECK_THAT(refusal(family, from, to), Catch::Contains(says));
  };
  refused("phi3", R"("rope_type": "default")", R"("rope_type": "longrope")", "short_factor");
  refused("phi3", R"("rope_type": "default")", R"("rope_type": "linear")", "longrope");
  refused("phi3_longrope", "      1.6\n", "      1.6, 2.0\n", "4 numbers");
  refused("phi3_longrope", "      9.0\n", "      -9.0\n", "above 0");
  refused("phi3", R"("partial_rotary_factor": 0.75)", R"("partial_rotary_factor": 0.4)", "an even number");
  refused("phi3", R"("partial_rotary_factor": 0.75)", R"("partial_rotary_factor": 1.5)", "at most 1");
  refused("phi3", R"("partial_rotary_factor": 0.75)", R"("partial_rotary_factor": 0.01)", "nothing of a head");
  refused("llama_linear", R"("factor": 4.0)", R"("factor": 4.0, "partial_rotary_factor": 0.5)", "whole heads");
  refused("llama_dynamic", R"("factor": 2.0)", R"("factor": 0.5)", "at least 1");
  refused("opt", R"("do_layer_norm_before": true)", R"("do_layer_norm_before": false)", "opt-350m");
  refused("opt", R"("word_embed_proj_dim": 24)", R"("word_embed_proj_dim": 12)", "projections of the embedding");
  refused("opt", R"("layer_norm_elementwise_affine": true)", R"("layer_norm_elementwise_affine": false)", "weights");
  refused("opt", R"("activation_function": "relu")", R"("activation_function": "tanh")", "relu");
  refused("falcon", R"("alibi": false)", R"("alibi": true)", "ALiBi");
  refused("falcon", R"("num_ln_in_parallel_attn": null)", R"("num_ln_in_parallel_attn": 2)",
          "new_decoder_architecture");
  refused("falcon_40b", R"("num_kv_heads": 3)", R"("num_kv_heads": 4)", "a divisor");
  refused("falcon_40b", R"("num_attention_heads": 6)", R"("num_attention_heads": 9)", "a multiple");
  refused("cohere2", R"("logit_scale": 0.25)", R"("logit_scale": 0.25, "use_qk_norm": true)", "use_qk_norm");
  refused("cohere", R"("logit_scale": 0.25)", R"("logit_scale": 0)", "other than 0");
  refused("gptj", R"("rotary_dim": 4)", R"("rotary_dim": null, "x": 4)", "rotary_dim");
  refused("gptj", R"("rotary_dim": 4)", R"("rotary_dim": 0)", "at least 2");
  refused("gptj", R"("rotary_dim": 4)", R"("rotary_dim": 10)", "up to the head's width");
  refused("mpt", R"("clip_qkv": null)", R"("clip_qkv": 6.0)", "clip_qkv");
  refused("mpt", R"("alibi": true)", R"("alibi": false)", "alibi");
  refused("mpt", R"("alibi_bias_max": 8)", R"("alibi_bias_max": 1000)", "alibi_bias_max");
  refused("mpt", R"("attn_type": "multihead_attention")", R"("attn_type": "multiquery_attention")", "attn_type");
  refused("phi", R"("qk_layernorm": false)", R"("qk_layernorm": true)", "norms of queries and keys");
  refused("cohere2", R"("full_attention")", R"("chunked_attention")", "chunked_attention");
  refused("smollm3", R"("no_rope_layers": [)", R"("no_rope_layers": null, "x": [)", "nothing");
  refused("smollm3", R"("no_rope_layers": [
    1,)",
          R"("no_rope_layers": [)", "one for each of the 3 layers");
  refused("granite", R"("residual_multiplier": 0.7)", R"("residual_multiplier": 0)", "above 0");
  refused("granite", R"("attention_multiplier": 0.25)", R"("attention_multiplier": -1)", "above 0");
  refused("stablelm", R"("use_parallel_residual": false)", R"("use_parallel_residual": true)", "part after part");
  refused("stablelm", R"("qk_layernorm": false)", R"("qk_layernorm": true)", "norms of queries and keys");
  refused("gpt_neox", R"("intermediate_size": 32)", R"("inner": 32)", "intermediate_size");
}

TEST_CASE("dynamic scaling leaves short paths alone and depends on the longest", "[model]") {
  const auto ids = ids_list{1, 5, 9, 17, 30, 4};
  temporary_folder folder;
  const auto source = families / "llama_dynamic";
  std::filesystem::copy_file(source / "model.safetensors", folder / "model.safetensors");
  auto text = plumb_test::read_file(source / "config.json");
  const std::string word = "\"rope_type\": \"dynamic\"";
  REQUIRE(text.find(word) != std::string::npos);
  plumb_test::write_file(folder / "config.json",
                         text.replace(text.find(word), word.size(), "\"rope_type\": \"default\""));
  const auto plain = logits_of(load_model<cpu, double>(folder.path()), ids);
  CHECK(distance(logits_of(load_model<cpu, double>(source), ids), plain) < 1e-6);
  CHECK(distance(logits_of(load_model<cpu, double>(source, {.positions = 16}), ids), plain) < 1e-6);
  CHECK(distance(logits_of(load_model<cpu, double>(source, {.positions = 64}), ids), plain) > 1e-3);
}

TEST_CASE("in every family sampling and scoring agree to the bit", "[model][rollout]") {
  for (const std::string& family : names()) {
    CAPTURE(family);
    const auto model = load_model<cpu>(families / family, {.positions = 64});
    const std::vector<ids_list> prompts{{1, 5, 9, 17}, {1, 30}};
    const auto replies = generate(model, std::span<const ids_list>(prompts), {.max_tokens = 40, .samples = 2});
    for (std::size_t i = 0; i < prompts.size(); ++i)
      for (const auto& reply : replies[i]) {
        auto ids = prompts[i];
        ids.insert(ids.end(), reply.tokens.begin(), reply.tokens.end());
        const scored_tokens tokens{ids, static_cast<index_t>(prompts[i].size())};
        CHECK(score(model, std::span(&tokens, 1))[0].logp == reply.logp);
      }
  }
}
