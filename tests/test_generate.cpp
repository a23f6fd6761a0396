// SPDX-License-Identifier: BSL-1.0
// Making replies: beam search and penalties against transformers, streaming, streams that do not depend on the batch.
#include <numeric>

#include <plumb/rollout/beam_search.hpp>
#include <plumb/text/train_bpe.hpp>

#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

/// The tiny model of a family, with other tokens that end a reply.
template <class T = float>
language_model<cpu, T> tiny(const std::string& family, const std::vector<token_id>& eos,
                            const load_options& options = {}) {
  temporary_folder folder;
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(golden / "families" / family / file, folder / file);
  auto config = read_config(folder.path());
  config.eos = eos;
  write_config(config, folder.path());
  return load_model<cpu, T>(folder.path(), options);
}

const std::vector<ids_list> three_prompts{{1, 5, 9}, {1, 2, 3, 4, 7}, {1, 60}};

}  // namespace

TEST_CASE("beam search and penalties find what transformers finds", "[rollout][golden]") {
  const auto document = read_golden("generation.json");
  for (const auto& each : document.as_object().at("cases").as_array()) {
    const auto& c = each.as_object();
    const auto family = json::get<std::string>(c, "family", "golden");
    const auto eos = json::get<ids_list>(c, "eos", "golden");
    const auto prompt = json::get<ids_list>(c, "prompt", "golden");
    const auto model = tiny(family, eos);
    CAPTURE(family, json::dump(each));
    std::vector<ids_list> expected;
    for (const auto& row : c.at("replies").as_array()) expected.push_back(json::as<ids_list>(row, "replies", "golden"));
    const auto max_tokens = json::get<index_t>(c, "max_tokens", "golden");
    if (!c.contains("beams")) {
      const auto penalty = json::get<double>(c, "repetition_penalty", "golden");
      const auto replies =
          generate(model, std::span(&prompt, 1),
                   {.max_tokens = max_tokens, .sampling = {.temperature = 0, .repetition_penalty = penalty}});
      CHECK(replies[0][0].tokens == expected[0]);
      continue;
    }
    const beam_options options{.beams = json::get<index_t>(c, "beams", "golden"),
                               .replies = json::get<index_t>(c, "beams", "golden"),
                               .max_tokens = max_tokens,
                               .length_penalty = json::get<double>(c, "length_penalty", "golden")};
    const auto replies = beam_search(model, std::span(&prompt, 1), options)[0];
    REQUIRE(replies.size() == expected.size());
    const auto scores = json::get<std::vector<double>>(c, "scores", "golden");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(replies[i].tokens == expected[i]);
      double sum = 0;
      for (const double x : replies[i].logp) sum += x;
      CHECK(sum / std::pow(static_cast<double>(replies[i].tokens.size()), options.length_penalty) ==
            Approx(scores[i]).epsilon(1e-4));
    }
  }
}

TEST_CASE("one beam is greedy, and more beams are never less probable at length penalty 0", "[rollout]") {
  const auto model = tiny("qwen3", {2});
  const auto greedy = generate(model, std::span(three_prompts), {.max_tokens = 10, .sampling = {.temperature = 0}});
  const auto one = beam_search(model, std::span(three_prompts), {.beams = 1, .max_tokens = 10});
  const auto sum = [](const generated& r) {
    double out = 0;
    for (const double x : r.logp) out += x;
    return out;
  };
  const auto six =
      beam_search(model, std::span(three_prompts), {.beams = 6, .replies = 2, .max_tokens = 10, .length_penalty = 0});
  for (std::size_t i = 0; i < three_prompts.size(); ++i) {
    CHECK(one[i][0].tokens == greedy[i][0].tokens);
    CHECK(sum(six[i][0]) >= sum(greedy[i][0]) - 1e-5);
    CHECK(sum(six[i][0]) >= sum(six[i][1]));
    // The log-probabilities are the model's.
    scored_tokens s{three_prompts[i], static_cast<index_t>(three_prompts[i].size())};
    s.ids.insert(s.ids.end(), six[i][0].tokens.begin(), six[i][0].tokens.end());
    const auto scores = score(model, std::span(&s, 1));
    for (std::size_t k = 0; k < six[i][0].logp.size(); ++k)
      CHECK(scores[0].logp[k] == Approx(six[i][0].logp[k]).margin(1e-5));
  }
}

TEST_CASE("replies do not depend on how a list of prompts is cut", "[rollout]") {
  const auto model = tiny("mistral", {2});
  generate_options options{.max_tokens = 12, .samples = 2, .sampling = {.temperature = 0.9, .seed = 3}};
  const auto whole = generate(model, std::span(three_prompts), options);
  options.first_prompt = 2;
  const auto last = generate(model, std::span(three_prompts).subspan(2), options);
  CHECK(last[0][0].tokens == whole[2][0].tokens);
  CHECK(last[0][1].tokens == whole[2][1].tokens);
  options.first_prompt = 0;
  options.cache_memory = 1;  // one prompt at a time
  const auto single = generate(model, std::span(three_prompts), options);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(single[i][1].tokens == whole[i][1].tokens);
}

TEST_CASE("a prompt that waits begins when replies that ended have left room, and gets the same reply", "[rollout]") {
  const auto model = tiny("mistral", {2});
  std::vector<ids_list> prompts;
  for (token_id i = 0; i < 8; ++i) {
    prompts.push_back({1, 5, 9});
    for (token_id k = 0; k <= i % 4; ++k) prompts.back().push_back(11 + 3 * i + k);
  }
  const auto rows_of = [&](index_t rows) {
    const auto& s = model.network().sizes();
    return 2 * sizeof(float) * static_cast<std::size_t>(rows * s.layers * s.kv_width);
  };
  generate_options o{.max_tokens = 12, .sampling = {.temperature = 0.9, .seed = 3}};
  std::vector<std::size_t> heard;  // the prompts whose tokens were drawn, one after another
  const auto run = [&] {
    heard.clear();
    return generate(model, std::span<const ids_list>(prompts), o, [&](const token_event& e) {
      heard.push_back(e.prompt);
      return e.prompt == 0 || e.reply.tokens.size() < 2;  // the first reply runs on, the others end soon
    });
  };
  const auto whole = run();
  CHECK(std::find(heard.begin(), heard.begin() + 8, 7u) != heard.begin() + 8);  // all at once
  for (const index_t rows : {20, 60, 75}) {
    o.cache_memory = rows_of(rows);
    const auto few = run();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      CHECK(few[i][0].tokens == whole[i][0].tokens);
      CHECK(few[i][0].logp == whole[i][0].logp);
    }
    const auto last_of_first = std::find(heard.rbegin(), heard.rend(), 0u).base();
    const bool joined = std::find(heard.begin(), last_of_first, 4u) != last_of_first;
    CHECK(joined == (rows > 20));                                                 // 20 rows are one prompt at a time
    CHECK(std::find(heard.begin(), heard.begin() + 3, 4u) == heard.begin() + 3);  // it did wait
  }
}

TEST_CASE("stop strings end a reply wherever tokens are cut", "[rollout]") {
  model_config config;
  config.hidden_size = config.intermediate_size = 16, config.layers = 1, config.heads = config.kv_heads = 2;
  config.head_width = 8, config.vocabulary = 280, config.max_positions = 256;
  const std::vector<std::string> texts{"the theme of the thesis", "hello hello help"};
  const auto words = train_bpe(texts, 270, {"<s>", "</s>"});
  const auto model = make_model<cpu>(config, words);
  const std::vector<ids_list> prompts{{5, 6, 7}};
  generate_options o{.max_tokens = 200, .sampling = {.seed = 4}};
  const auto plain = generate(model, std::span(prompts), o)[0][0];
  const auto letter = [&](std::size_t i) {
    const std::string text = words.decode(std::span(plain.tokens).subspan(i, 1));
    return text.size() == 1 && text[0] > ' ' && text[0] < '\x7f' ? text : std::string();
  };
  std::size_t at = 10;  // two tokens that are a letter each
  while (letter(at).empty() || letter(at + 1).empty()) REQUIRE(++at + 1 < plain.tokens.size());
  const std::string across = letter(at) + letter(at + 1);
  o.stop = {"never there, not once", across};
  const auto stopped = generate(model, std::span(prompts), o)[0][0];
  CHECK(stopped.stopped);
  CHECK(stopped.text == plain.text.substr(0, plain.text.find(across)));
  REQUIRE(stopped.tokens.size() <= at + 2);
  CHECK(std::equal(stopped.tokens.begin(), stopped.tokens.end(), plain.tokens.begin()));
  const auto shown = words.decode(stopped.tokens, true);  // the token that made it whole is the last
  CHECK(shown.find(across) != std::string::npos);
  CHECK(words.decode(std::span(stopped.tokens).first(stopped.tokens.size() - 1), true).find(across) ==
        std::string::npos);
  o.stop = {"never there, not once"};
  CHECK(generate(model, std::span(prompts), o)[0][0].tokens == plain.tokens);
  o.stop = {""};
  CHECK_THROWS_AS(generate(model, std::span(prompts), o), error);
}

TEST_CASE("top k, top p and min p keep the tokens that transformers keeps", "[rollout][golden]") {
  const auto document = read_golden("generation.json");
  const auto& all = document.as_object().at("kept").as_array();
  CHECK(all.size() > 20);
  token_drawer draw;
  for (const auto& each : all) {
    const auto& c = each.as_object();
    const auto logits = json::get<std::vector<double>>(c, "logits", "golden");
    const auto kept = json::get<ids_list>(c, "kept", "golden");
    const auto share = json::get<std::vector<double>>(c, "probabilities", "golden");
    sampling how{.temperature = json::get<double>(c, "temperature", "golden"),
                 .top_k = json::get<index_t>(c, "top_k", "golden"),
                 .top_p = json::get<double>(c, "top_p", "golden"),
                 .min_p = json::get<double>(c, "min_p", "golden"),
                 .seed = 9};
    CAPTURE(how.temperature, how.top_k, how.top_p, how.min_p);
    constexpr std::uint64_t draws = 20'000;
    std::vector<double> drawn(logits.size(), 0);
    for (std::uint64_t i = 0; i < draws; ++i)
      drawn[static_cast<std::size_t>(draw(std::span<const double>(logits), how, 3, i))] += 1.0 / draws;
    double inside = 0;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const double found = drawn[static_cast<std::size_t>(kept[i])];
      CHECK(std::abs(found - share[i]) < 5 * std::sqrt(share[i] * (1 - share[i]) / draws) + 1e-9);
      inside += found;
    }
    CHECK(inside == Approx(1));
  }
}

TEST_CASE("a listener hears every token and can end a reply", "[rollout]") {
  const auto model = tiny("qwen3", {2});
  std::vector<std::size_t> heard(three_prompts.size(), 0);
  const auto replies = generate(model, std::span(three_prompts), {.max_tokens = 10, .sampling = {.temperature = 0}},
                                [&](const token_event& e) {
                                  ++heard[e.prompt];
                                  return e.prompt != 1 || e.reply.tokens.size() < 3;
                                });
  for (std::size_t i = 0; i < heard.size(); ++i) CHECK(heard[i] == replies[i][0].tokens.size());
  CHECK(replies[1][0].tokens.size() == 3);
  CHECK(replies[1][0].stopped);
}

TEST_CASE("copies that a model keeps give the replies of copies made in the call", "[rollout]") {
  const auto same = [](const std::vector<std::vector<generated>>& a, const std::vector<std::vector<generated>>& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
      for (std::size_t k = 0; k < a[i].size(); ++k)
        if (a[i][k].tokens != b[i][k].tokens || a[i][k].logp != b[i][k].logp) return false;
    return a.size() == b.size();
  };
  const generate_options options{.max_tokens = 12, .samples = 2},
      uncopied{.max_tokens = 12, .samples = 2, .copy_weights = false};
  const auto model = tiny<>("qwen2", {});
  const auto replies = [&](const generate_options& o) { return generate(model, std::span(three_prompts), o); };
  const auto first = replies(options);
  model.keep_copies();
  CHECK(model.copies()->up_to_date());
  CHECK(same(replies(options), first));
  CHECK(same(replies(uncopied), first));
  const beam_options beams{.beams = 3, .max_tokens = 8};
  const auto found = beam_search(model, std::span(three_prompts), beams);

  const auto adapted = attach_lora(model, {.rank = 2});  // leaves the kept weights as they are
  CHECK(model.copies()->up_to_date());
  CHECK(same(generate(adapted, std::span<const ids_list>(three_prompts), options), first));  // B is zero

  const auto all = train_all(model);
  CHECK_FALSE(model.copies()->up_to_date());
  for (const auto& each : all.trainable()) {
    auto numbers = each.parameter->value.host();
    for (float& x : numbers) x *= 1.5F;
    each.parameter->value.assign(numbers);
  }
  const auto changed = replies(options);
  CHECK_FALSE(same(changed, first));
  (void)attach_lora(model, {.rank = 2});  // frozen again: what was kept is still old
  CHECK_FALSE(model.copies()->up_to_date());
  CHECK(same(replies(options), changed));
  CHECK(same(replies(uncopied), changed));
  CHECK_FALSE(same(beam_search(model, std::span(three_prompts), beams), found));
  model.keep_copies();
  CHECK(model.copies()->up_to_date());
  CHECK(same(replies(options), changed));
  model.drop_copies();
  CHECK(!model.copies());
  CHECK(same(replies(options), changed));
}

TEST_CASE("with products in bfloat16, tokens are drawn with the log-probabilities that training gives them",
          "[rollout]") {
  const auto plain = tiny("qwen2", {}), rounded = tiny("qwen2", {}, {.products = product_precision::bfloat16});
  const auto logp_of = [](const language_model<cpu>& model, const ids_list& prompt, const ids_list& reply) {
    scored_tokens text{prompt, static_cast<index_t>(prompt.size())};
    text.ids.insert(text.ids.end(), reply.begin(), reply.end());
    return score(model, std::span(&text, 1))[0].logp;
  };
  for (const bool kept : {false, true}) {
    if (kept) rounded.keep_copies();
    const auto replies = generate(rounded, std::span(three_prompts), {.max_tokens = 12, .samples = 3});
    for (std::size_t i = 0; i < replies.size(); ++i)
      for (const generated& reply : replies[i]) {
        CHECK(logp_of(rounded, three_prompts[i], reply.tokens) == reply.logp);
        CHECK((logp_of(plain, three_prompts[i], reply.tokens) == reply.logp) == !multiplies_bfloat16_faster());
      }
  }
}

TEST_CASE("where attention rounds keys and values, a cache keeps them rounded, in half the memory", "[rollout]") {
  const auto plain = tiny("qwen2", {}), rounded = tiny("qwen2", {}, {.products = product_precision::bfloat16});
  for (const auto* model : {&plain, &rounded}) {
    const bool rounds = model == &rounded && multiplies_bfloat16_faster();
    kv_cache<cpu, float> cache;
    cache.reset(model->device(), 3, 8, 5, 2);
    CHECK(cache.layers.size() == (rounds ? 0 : 3));
    CHECK(cache.rounded_layers.size() == (rounds ? 3 : 0));
    CHECK(cached_decoder<cpu, float>(*model, false).affordable_rows(1 << 20) ==
          (rounds ? 2 : 1) * cached_decoder<cpu, float>(plain, false).affordable_rows(1 << 20));
  }
}

TEST_CASE("penalties lower what was there before", "[rollout]") {
  const std::vector<token_id> prompt{0, 0, 1}, reply{2, 2, 1};
  std::vector<double> z{1, -1, 2, 3};
  penalise(std::span(z), {.repetition_penalty = 2}, prompt, reply);
  CHECK(z == std::vector<double>{0.5, -2, 1, 3});
  z = {1, -1, 2, 3};
  penalise(std::span(z), {.presence_penalty = 0.5, .frequency_penalty = 0.25}, prompt, reply);
  CHECK(z == std::vector<double>{1, -1.75, 1, 3});
  const auto model = tiny("qwen2", {2});
  const generate_options plain{.max_tokens = 12, .sampling = {.temperature = 0}};
  auto varied = plain;
  varied.sampling.frequency_penalty = 1000;
  const auto a = generate(model, std::span(three_prompts), plain),
             b = generate(model, std::span(three_prompts), varied);
  CHECK(a[0][0].tokens != b[0][0].tokens);
  auto sorted = b[0][0].tokens;
  std::sort(sorted.begin(), sorted.end());
  CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());  // no token twice
}

TEST_CASE("options out of range are refused", "[rollout][bad input]") {
  const auto model = tiny("qwen2", {2});
  const auto search = [&](const beam_options& o) { return beam_search(model, std::span(three_prompts), o); };
  CHECK_THROWS_AS(search({.beams = 0}), error);
  CHECK_THROWS_AS(search({.beams = 2, .replies = 3}), error);
  CHECK_THROWS_AS(search({.max_tokens = 0}), error);
  CHECK_THROWS_AS(search({.length_penalty = std::nan("")}), error);
  const std::vector<ids_list> outside{{1, 61}}, empty{{}};
  CHECK_THROWS_AS(beam_search(model, std::span(outside)), error);
  CHECK_THROWS_AS(beam_search(model, std::span(empty)), error);
  for (const sampling& s : {sampling{.repetition_penalty = 0}, sampling{.presence_penalty = HUGE_VAL},
                            sampling{.frequency_penalty = std::nan("")}})
    CHECK_THROWS_AS(generate(model, std::span(three_prompts), {.sampling = s}), error);
}

TEST_CASE("rows of a cache: sequences get theirs side by side while there is room, and every row is given once") {
  cache_rows rows;
  rows.reset(20, 4);
  std::vector<std::int32_t> prompt;
  rows.begin(5, prompt);
  CHECK(prompt == std::vector<std::int32_t>{0, 1, 2, 3, 4});
  // Two samples of the prompt in turns, and a fork of the first.
  std::vector<std::int32_t> a{rows.after(4)}, b{rows.after(4)};
  for (int i = 0; i < 3; ++i) a.push_back(rows.after(a.back())), b.push_back(rows.after(b.back()));
  CHECK(a == std::vector<std::int32_t>{5, 6, 7, 8});
  CHECK(b == std::vector<std::int32_t>{9, 10, 11, 12});
  CHECK(rows.after(a[1]) == 13);      // the row after it is taken: a stretch of its own
  CHECK(rows.after(a.back()) == 17);  // longer than a stretch: the next, though it is shorter
  CHECK(rows.used() == 15);
  // No stretch is left: whatever is free, and all of it.
  std::vector<std::int32_t> rest;
  rows.begin(5, rest);
  std::sort(rest.begin(), rest.end());
  CHECK(rest == std::vector<std::int32_t>{14, 15, 16, 18, 19});
  CHECK(rows.used() == 20);
  // A prompt that finds less than its length in one piece goes on side by side in what it finds.
  rows.reset(60, 8);
  prompt.clear(), rest.clear();
  rows.begin(4, prompt);
  for (int i = 0; i < 5; ++i) (void)rows.after(3);
  rows.begin(18, rest);
  std::vector<std::int32_t> expected(16);
  std::iota(expected.begin(), expected.end(), 44);
  expected.insert(expected.end(), {5, 6});
  CHECK(rest == expected);
  rows.reset(3, 0);
  CHECK(rows.after(-1) == 0);
  CHECK(rows.used() == 1);
}
