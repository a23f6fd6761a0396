// SPDX-License-Identifier: BSL-1.0
// Files from strangers: weights, GGUF, tokenizers, templates, rows. What is done to them is in hostile.hpp; folders of models
// and adapters are test_hostile_models.cpp's.
#include <plumb/data/mixture.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/read_labelled.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_trees.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/text/chat_template.hpp>
#include <plumb/text/train_bpe.hpp>

#include "hostile.hpp"

using namespace plumb_test;

TEST_CASE("changed weights are refused or load", "[hostile][safetensors]") {
  const plumb_test::temporary_folder folder;
  const std::vector<float> numbers(24, 0.5f);
  const std::vector<tensor_data> tensors{{"a.weight", dtype::f32, {4, 6}, std::as_bytes(std::span(numbers))},
                                         {"b", dtype::bf16, {3, 2}, std::as_bytes(std::span(numbers)).first(12)},
                                         {"c", dtype::f16, {5}, std::as_bytes(std::span(numbers)).first(10)}};
  const auto path = folder / "model.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}});
  attack_file("safetensors", path, [&] {
    const auto file = safetensors_file::open(path);
    for (const auto& each : file.tensors()) {
      if (each.elements > 1000) FAIL("more elements than the file has bytes");
      std::vector<float> out(static_cast<std::size_t>(each.elements));
      file.read(each.name, std::span(out));
    }
  });
  const auto model = copied(folder, "tiny_llama_sharded");
  attack_file("index", model / "model.safetensors.index.json", [&] { use(load_model<cpu>(model, {.threads = 1})); });
}

TEST_CASE("changed GGUF files are refused or load", "[hostile][gguf]") {
  const plumb_test::temporary_folder folder;
  std::filesystem::copy_file(golden / "gguf" / "formats.gguf", folder / "formats.gguf");
  attack_file("GGUF formats", folder / "formats.gguf", [&] {
    const auto file = gguf_file::open(folder / "formats.gguf");
    for (const auto& each : file.metadata())
      if (each.value.is_array()) (void)each.value.list();
    for (const auto& each : file.tensors()) {
      std::vector<float> out(static_cast<std::size_t>(each.elements));
      file.read(each, out);
    }
  });
  model_config config;
  config.hidden_size = 8, config.intermediate_size = 8, config.layers = 1, config.heads = config.kv_heads = 1;
  config.head_width = 8, config.vocabulary = 280, config.max_positions = 64;
  const std::vector<std::string> texts{"the theme of the thesis", "hello hello help"};
  const auto words = train_bpe(texts, 270, {"<s>", "</s>"});
  save_model(make_model<cpu>(config, words), folder / "model");
  write_gguf_model(*open_model_files(folder / "model"), folder / "model.gguf", ggml_type::q8_0);
  attack_file("GGUF model", folder / "model.gguf", [&] {
    const auto model = load_model<cpu>(folder / "model.gguf", {.threads = 1});
    use(model);
    if (model.has_tokenizer()) use(model.tokenizer());
  });
  for (const std::string family : {"falcon", "granite", "mpt"}) {  // rows in groups, factors, distances
    const auto path = folder / (family + ".gguf");
    write_gguf_model(*open_model_files(golden / "families" / family), path, ggml_type::f16);
    attack_file("GGUF " + family, path, [&] { use(load_model<cpu>(path, {.threads = 1})); });
  }
}

TEST_CASE("changed tokenizers are refused or load", "[hostile][tokenizer]") {
  const std::vector<std::string> texts{"the theme of the thesis", "hello hello help"};
  attack("BPE", train_bpe(texts, 300, {"<s>", "</s>"}).json(),
         [](const std::string& s) { use(tokenizer::from_json(s)); });
  const auto pieces = json::parse_file(golden / "tokenizer_pieces.json").as_object()["base"];
  attack("BPE of pieces", json::dump(pieces), [](const std::string& s) { use(tokenizer::from_json(s)); });
  for (const char* name : {"tokenizer_files/unigram.json", "tokenizer_files/word_piece.json"})
    attack(name, plumb_test::read_file(golden / name), [](const std::string& s) { use(tokenizer::from_json(s)); });
  const plumb_test::temporary_folder folder;
  for (const char* name : {"bpe.model", "unigram_bytes.model", "small.tiktoken"}) {
    std::filesystem::copy_file(golden / "tokenizer_files" / name, folder / name);
    attack_file(name, folder / name, [&] { use(tokenizer::load(folder / name)); });
  }
}

TEST_CASE("changed chat templates are refused or render", "[hostile][template]") {
  const std::string text = R"({%- macro turn(m, last=false) -%}
<|{{ m.role | upper }}|>{{ m['content'] | trim | replace('a', 'b') }}{% if last %}{{ '\n' * 3 }}{% endif %}
{%- endmacro -%}
{% set ns = namespace(n=0, names=[]) %}{% for m in messages if m.role != 'system' %}
{% if loop.first and m.role not in ['user', 'tool'] %}{{ raise_exception('user first: ' ~ m.role) }}{% endif %}
{% set ns.n = ns.n + loop.index0 * 2 %}{{ turn(m, loop.last) }}{{ m | tojson(indent=2) }}
{% generation %}{{ m.content[:20][::-1].split(' ') | join(', ') }}{% endgeneration %}{% endfor %}
{% for i in range(3) %}{{ '%03d' % i if false else i ** 2 }}{% endfor %}{{ messages | map(attribute='role') | list | length }}
{{ strftime_now('%Y-%m-%d') }}{{ ns.n // 2 }}{% if add_generation_prompt %}<|ASSISTANT|>{% endif %})";
  const json::array messages{json::object{{"role", "user"}, {"content", "a long day at sea"}},
                             json::object{{"role", "assistant"}, {"content", "was it"}}};
  // The text without the parts that this Jinja does not have would be no test, so the original must render.
  attack("template", text, [&](const std::string& s) {
    const text_template compiled(s);
    template_options o;
    o.limits.steps = 200'000;
    o.limits.bytes = std::size_t{1} << 24;
    (void)compiled.render({{"messages", messages}, {"add_generation_prompt", true}}, o);
  });
}

TEST_CASE("changed rows are refused or read", "[hostile][data]") {
  const plumb_test::temporary_folder folder;
  const std::vector<std::string> nothing;
  const auto words = train_bpe(nothing, 260, {"<s>", "</s>", "<|im_start|>", "<|im_end|>"});
  const auto chat = chat_template::named("chatml");
  const read_options o{.chat = &chat};
  const std::string lines = R"({"prompt": "ab", "chosen": "c", "rejected": "d", "margin": 0.5, "weight": 2}
{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5], "ref_chosen": -1.5}
{"instruction": "Do it", "input": "now", "output": "yes"}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": null}
{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
{"prompt": "x", "completion": "y", "label": true, "kl": 0.25, "advantage": 1.5}
{"prompt": "x", "completions": ["y", "z"], "labels": [true, null], "scores": [1, 2]}
{"prompt": "x", "completion": "y", "rating": 0.5}
{"prompt_ids": [1], "completion_ids": [2, 3], "teacher_ids": [[2, 5], [3, 4]], "teacher_logp": [[-0.5, -1.5], [-0.25, -3]], "old": [-1, -2]}
{"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [{"text": "r", "role": "assistant", "rank": 0, "replies": []}, {"text": "s", "role": "assistant", "rank": 1}]}}
)";
  const auto path = folder / "rows.jsonl";
  const auto read = [&] {
    index_t good = 0;
    json::for_each_row(path, [&](const json::value& v, const std::string& place) {
      const auto attempt = [&](auto&& parse) {
        try {
          (void)parse();
          ++good;
        } catch (const error&) {  // of another kind
        }
      };
      attempt([&] { return parse_pair(v, place, &words, o); });
      attempt([&] { return parse_demonstration(v, place, &words, o); });
      attempt([&] { return parse_unpaired(v, place, &words, o); });
      attempt([&] { return parse_ranked(v, place, &words, o); });
      attempt([&] { return parse_sampled(v, place, &words, o); });
      attempt([&] { return parse_steps(v, place, &words); });
      attempt([&] { return parse_rated(v, place, &words, o); });
      attempt([&] { return parse_tree(v, place, &words, o); });
    });
    row_mixture rows({{{{path}}}}, {.shuffle_buffer = 3});
    for (index_t i = 0; i < rows.rows(); ++i) rows.next();
    return good;
  };
  attack("JSON Lines", lines, [&](const std::string& s) {
    plumb_test::write_file(path, s);
    read();
  });
  plumb_test::write_file(path, lines);
  row_mixture mixed({{{{path}}}}, {.shuffle_buffer = 3});
  for (index_t i = 0; i < 4; ++i) mixed.next();
  mixed.put_back();
  const auto position = mixed.position();
  attack("a position in the rows", {reinterpret_cast<const char*>(position.data()), position.size() * 8},
         [&](const std::string& s) {
           std::vector<std::uint64_t> changed(s.size() / 8);
           if (!changed.empty()) std::memcpy(changed.data(), s.data(), changed.size() * 8);
           row_mixture rows({{{{path}}}}, {.shuffle_buffer = 3});
           rows.restore(changed);
           if (rows.drawn() < 0) FAIL("fewer than no rows drawn");
           for (index_t i = 0; i < rows.rows() + 3; ++i) rows.next();
         });
  std::string array = "[" + lines + "]";
  for (std::size_t at = 0; (at = array.find("}\n{", at)) != std::string::npos;) array.insert(at + 1, ",");
  attack("a JSON array", array, [&](const std::string& s) {
    plumb_test::write_file(path, s);
    read();
  });
}
