// SPDX-License-Identifier: BSL-1.0
// Adapter folders: the pattern matcher, PEFT's fixtures on the reference backend, saving, merging, and bad input.
#include "catch.hpp"
#include "failures.hpp"

#include <plumb/backend/reference.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/models/describe_adapter.hpp>

#include "support.hpp"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

using namespace plumb;
namespace fs = std::filesystem;

namespace {

/// Logits of every position, [ids, vocabulary].
template <class T>
std::vector<T> logits(const language_model<reference, T>& model, const std::vector<token_id>& ids,
                      bool adapters = true) {
  tape<reference, T> t(model.device());
  t.set_recording(false);
  forest f;
  f.add(ids);
  batch_layout layout;
  f.lay_out(layout);
  pass<reference, T> p{t, upload(t, layout), nullptr, adapters};
  const auto z = model.network().logits(p, model.network().hidden(p));
  std::vector<T> out(static_cast<std::size_t>(z.value.size()));
  reference::download(t.device(), z.value.data, out.data(), z.value.size());
  return out;
}

template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

fs::path golden(std::string_view name) { return plumb_test::repository() / "tests" / "golden" / name; }

json::object golden_json(std::string_view name) { return json::parse_file(golden(name)).as_object(); }

/// tests/golden/tiny_llama with a tokenizer beside it.
struct tiny_model {
  plumb_test::temporary_folder folder;
  tiny_model() {
    for (const char* file : {"config.json", "model.safetensors"})
      fs::copy_file(golden("tiny_llama") / file, folder / file);
    plumb_test::write_file(
        folder / "tokenizer.json",
        R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,)"
        R"("pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,)"
        R"("unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,)"
        R"("byte_fallback":false,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})");
  }
  template <class T>
  language_model<reference, T> load() const {
    return load_model<reference, T>(folder.path());
  }
};

/// A copy of an adapter's folder whose configuration and tensors a test may damage.
struct adapter_copy {
  plumb_test::temporary_folder folder;
  explicit adapter_copy(std::string_view name) {
    for (const auto& file : fs::directory_iterator(golden(name)))
      fs::copy_file(file, folder / file.path().filename().string());
  }
  void set(std::string_view key, const json::value& value) const {
    auto c = json::parse_file(folder / "adapter_config.json").as_object();
    c[key] = value;
    plumb_test::write_file(folder / "adapter_config.json", json::dump(c, 2));
  }
  /// Reads all tensors as float, lets `change` edit them, writes them back.
  struct stored {
    std::string name;
    std::vector<index_t> shape;
    std::vector<float> numbers;
  };
  void edit(const std::function<void(std::vector<stored>&)>& change) const {
    std::vector<stored> all;
    {
      const auto files = weight_files::open(folder.path(), "adapter_model");
      for (const auto& key : files.names()) {
        all.push_back({key, files.shape(key), std::vector<float>(static_cast<std::size_t>(files.info(key).elements))});
        files.read(key, std::span<float>(all.back().numbers));
      }
    }
    change(all);
    std::vector<tensor_data> out;
    for (const auto& t : all) out.push_back(as_tensor(t.name, t.shape, std::span<const float>(t.numbers)));
    write_safetensors(folder / "adapter_model.safetensors", out, {{"format", "pt"}});
  }
};

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& file : fs::directory_iterator(folder)) out.push_back(file.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

const std::string q0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

}  // namespace

TEST_CASE("patterns match whole texts as Python's re.fullmatch") {
  const auto matches = [](std::string_view regex, std::string_view text) { return pattern(regex).matches(text); };
  CHECK(matches(R"(.*\.(q|v)_proj)", "model.layers.0.self_attn.q_proj"));
  CHECK_FALSE(matches(R"(.*\.(q|v)_proj)", "model.layers.0.self_attn.k_proj"));
  CHECK_FALSE(matches("q_proj", "self_attn.q_proj"));  // whole, not a part
  CHECK_FALSE(matches("q_proj", "q_proj.weight"));
  CHECK(matches(R"(model\.layers\.(?:[0-9]|1[01])\.mlp\.[a-z_]+)", "model.layers.11.mlp.up_proj"));
  CHECK_FALSE(matches(R"(model\.layers\.(?:[0-9]|1[01])\.mlp\.[a-z_]+)", "model.layers.12.mlp.up_proj"));
  CHECK(matches("", ""));
  CHECK_FALSE(matches("", "a"));
  CHECK(matches("a|", ""));
  CHECK(matches("^(a{2,3})$", "aaa"));
  CHECK_FALSE(matches("a{2,3}", "aaaa"));
  CHECK(matches("a{,2}", ""));
  CHECK(matches("a{x}", "a{x}"));  // a brace that counts nothing stands for itself
  CHECK(matches("(a|b)*?c{0}", "abba"));
  CHECK(matches("[]^-]+", "]^-"));
  CHECK(matches(R"([^\d\s]\D)", "ab"));
  CHECK_FALSE(matches(R"([^\d\s]\D)", "1b"));
  CHECK_FALSE(matches(".", "\n"));
  CHECK_FALSE(matches("a^b", "ab"));
  CHECK(matches("(^a|b)$\n", "a\n"));  // Python's $ also holds before the last line end
  CHECK(matches(".b",
                "\xC3\xA9"
                "b"));  // one character beyond ASCII is one character
  CHECK_FALSE(matches("..b",
                      "\xC3\xA9"
                      "b"));
}

TEST_CASE("patterns refuse what they cannot do, and say where") {
  for (const char* regex : {"(?=a)", "(?!a)b", "(?P<n>a)", R"((a)\1)", R"(\bword)", "a++", "\xC3\xA9", "a{1001}"})
    CHECK_FAILS("unsupported", "position", pattern(regex));
  for (const char* regex : {"(a", "a)", "[a", "*a", "a**", "a{2}{3}", R"(a\)", "[b-a]", R"([a-\d])", "a{3,2}", "^*"})
    CHECK_FAILS("bad_argument", "position", pattern(regex));
}

TEST_CASE("patterns stay quick and small for hostile expressions") {
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(pattern("(a*)*b").matches(std::string(20000, 'a')));  // a backtracking matcher never ends here
  CHECK_FALSE(pattern("(a|a)*(a|aa)+c").matches(std::string(20000, 'a')));
  CHECK(pattern("(()*)*").matches(""));
  CHECK_FAILS("unsupported", "steps", pattern("((a{1000}){1000}){1000}"));
  CHECK_FAILS("unsupported", "steps", pattern("(((((a{100}){100})|b){100})*){100}"));
  CHECK_FAILS("unsupported", "nested", pattern(std::string(50000, '(')));
  CHECK_FAILS("unsupported", "longer", pattern(std::string(100000, 'a')));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("targets, layers, ranks and alphas follow PEFT's rules") {
  lora_options o;
  o.rank = 4;
  o.alpha = 8;
  o.targets = {"q_proj", "model.layers.5.mlp.up_proj"};
  o.layers = {1, 3};
  o.excludes = {"layers.3.self_attn.q_proj"};
  o.rank_pattern = {{R"(layers\.1\..*)", 2}, {"q_proj", 7}};
  o.alpha_pattern = {{"up_proj", 3}};
  const detail::lora_plan plan(o);
  CHECK(plan.takes("model.layers.1.self_attn.q_proj"));
  CHECK_FALSE(plan.takes("model.layers.2.self_attn.q_proj"));
  CHECK_FALSE(plan.takes("model.layers.3.self_attn.q_proj"));
  CHECK_FALSE(plan.takes("model.layers.1.self_attn.xq_proj"));
  CHECK(plan.takes("model.layers.5.mlp.up_proj"));           // named in full: the list of layers does not matter
  CHECK(plan.rank("model.layers.1.self_attn.q_proj") == 2);  // the first that matches
  CHECK(plan.rank("model.layers.11.self_attn.q_proj") == 7);
  CHECK(plan.rank("model.layers.5.mlp.up_proj") == 4);
  CHECK(plan.scale("model.layers.5.mlp.up_proj") == 3.0 / 4);
  CHECK(plan.scale("model.layers.11.self_attn.q_proj") == 8.0 / 7);
  o.rank_stabilised = true;
  CHECK(detail::lora_plan(o).scale("model.layers.11.self_attn.q_proj") == Approx(8 / std::sqrt(7.0)).epsilon(1e-15));

  const detail::lora_plan all{lora_options{}};
  CHECK(all.takes("model.layers.0.mlp.down_proj"));
  CHECK_FALSE(all.takes("lm_head"));
  CHECK(all.options().alpha == 32);
  CHECK_FAILS("bad_argument", "rank", detail::lora_plan(lora_options{.rank = 0}));
  CHECK_FAILS("bad_argument", "alpha", detail::lora_plan(lora_options{.alpha = -1}));
  CHECK_FAILS("bad_argument", "dropout", detail::lora_plan(lora_options{.dropout = 1}));
}

TEST_CASE("an adapter of every linear map, the head included, gives PEFT's logits in double precision") {
  const tiny_model tiny;
  const auto entry = golden_json("tiny_llama.json").at("tiny_llama_adapter").as_object();
  const auto ids = json::get<std::vector<token_id>>(entry, "ids", "golden");
  std::vector<double> expected;
  for (const auto& row : json::get<std::vector<std::vector<double>>>(entry, "logits_f64", "golden"))
    expected.insert(expected.end(), row.begin(), row.end());

  const auto exact = tiny.load<double>();
  const auto plain = logits(exact, ids);
  const auto p =
      load_adapter(exact, golden("tiny_llama_adapter"));  // it brings a copy of the head's frozen weight, too
  CHECK(distance(logits(exact, ids), expected) < 1e-10);
  CHECK(distance(logits(exact, ids, false), plain) == 0);
  CHECK(distance(plain, expected) > 0.1);  // the adapter matters
  CHECK(p.trainable().size() == 30);
  for (const auto& [name, parameter] : p.trainable()) CHECK(parameter->trainable());
  exact.network().for_each_weight([](const std::string&, auto& w) { CHECK_FALSE(w->trainable()); });

  const auto quick = tiny.load<float>();
  const auto q = load_adapter(quick, golden("tiny_llama_adapter"));
  std::vector<float> rounded(expected.begin(), expected.end());
  CHECK(distance(logits(quick, ids), rounded) < 2e-5);  // transformers' own float run differs by 1.3e-5

  const auto facts = describe_adapter(q);
  CHECK(json::get<index_t>(facts, "modules", "") == 15);
  CHECK(json::get<index_t>(facts, "r", "") == 3);
  CHECK(json::get<index_t>(facts, "trainable_parameters", "") == q.trainable_count());
  CHECK(describe_adapter(train_all(quick)).empty());
}

TEST_CASE("adapters of the real model give PEFT's logits") {
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const auto model = load_model<reference, float>(*folder);
  const auto all = golden_json("stories_lora.json");
  for (const char* name : {"stories_adapter", "stories_adapter_all", "stories_adapter_head"}) {
    INFO(name);
    const auto p = load_adapter(model, golden(name));
    for (const auto& value : all.at(name).as_array()) {
      const auto& entry = value.as_object();
      const auto ids = json::get<std::vector<token_id>>(entry, "ids", "golden");
      const auto rows = json::get<std::vector<std::vector<float>>>(entry, "logits", "golden");
      const auto positions = json::get<std::vector<std::size_t>>(entry, "positions", "golden");
      const auto ours = logits(model, ids);
      const auto vocabulary = static_cast<std::size_t>(model.config().vocabulary);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto at = ours.begin() + static_cast<std::ptrdiff_t>(positions[i] * vocabulary);
        // Logits are about 12, so float32 resolves 1e-6; see the fixtures' README for how far two float runs differ.
        CHECK(distance(std::vector<float>(at, at + static_cast<std::ptrdiff_t>(vocabulary)), rows[i]) < 3e-5);
      }
      const auto logps = json::get<std::vector<double>>(entry, "logps_f64", "golden");
      for (std::size_t t = 0; t < logps.size(); ++t) {
        double sum = 0;
        for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(static_cast<double>(ours[t * vocabulary + v]));
        CHECK(static_cast<double>(ours[t * vocabulary + static_cast<std::size_t>(ids[t + 1])]) - std::log(sum) ==
              Approx(logps[t]).margin(1e-5));
      }
    }
    // Without the rank-stabilised scale the second adapter would be weaker: the check above can fail.
    plumb_test::temporary_folder again;
    save_adapter(p, again.path());
    CHECK(plumb_test::read_file(again / "adapter_model.safetensors") ==
          plumb_test::read_file(golden(name) / "adapter_model.safetensors"));
  }
}

TEST_CASE("saving and loading an adapter keeps every bit and every option") {
  const tiny_model tiny;
  const auto model = tiny.load<float>();
  lora_options o;
  o.rank = 3;
  o.alpha = 5;
  o.dropout = 0.25;
  o.targets = {"all-linear", "lm_head"};
  o.rank_stabilised = true;
  o.excludes = {"k_proj"};
  o.rank_pattern = {{"up_proj", 2}, {R"(layers\.1\..*)", 1}};
  o.alpha_pattern = {{"q_proj", 1.5}};
  const auto p = attach_lora(model, o);
  std::uint64_t drawn = 0;
  for (const auto& [name, parameter] : p.trainable()) {  // B too: an adapter as training leaves it
    std::vector<float> numbers(static_cast<std::size_t>(parameter->value.size()));
    for (float& x : numbers) x = static_cast<float>(uniform_float(philox_word(7, drawn++)) - 0.5f);
    parameter->value.assign(numbers);
  }
  const std::vector<token_id> ids{1, 5, 9, 33, 2, 60};
  const auto before = logits(model, ids);
  plumb_test::temporary_folder folder, second;
  save_adapter(p, folder / "new" / "deep");
  CHECK(files_in(folder / "new" / "deep") ==
        std::vector<std::string>{"adapter_config.json", "adapter_model.safetensors"});

  const auto other = tiny.load<float>();
  const auto q = load_adapter(other, folder / "new" / "deep");
  CHECK(distance(logits(other, ids), before) == 0);
  REQUIRE(q.trainable().size() == p.trainable().size());
  for (std::size_t i = 0; i < q.trainable().size(); ++i) {
    CHECK(q.trainable()[i].name == p.trainable()[i].name);
    CHECK(q.trainable()[i].parameter->value.host() == p.trainable()[i].parameter->value.host());
  }
  other.network().for_each_linear([](const std::string&, auto& map) {
    if (map.adapter) CHECK(map.adapter->dropout == 0.25);
  });
  save_adapter(q, second.path());
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    if (file[8] == 'm')
      CHECK(plumb_test::read_file(second / file) == plumb_test::read_file(folder / "new" / "deep" / file));
  }
  auto one = json::parse_file(second / "adapter_config.json").as_object();
  auto two = json::parse_file(folder / "new" / "deep" / "adapter_config.json").as_object();
  CHECK(json::get<std::string>(one, "base_model_name_or_path", "") == other.source());
  one["base_model_name_or_path"] = two["base_model_name_or_path"] = "";
  CHECK(one == two);
  std::string last;
  for (const auto& member : two) {  // PEFT sorts the keys
    const std::string key(member.key().data(), member.key().size());
    CHECK(last < key);
    last = key;
  }
  CHECK(two.at("lora_alpha").is_int64());
  CHECK(json::get<double>(two.at("alpha_pattern").as_object(), "q_proj", "") == 1.5);
  CHECK(
      json::get<std::vector<std::string>>(two, "target_modules", "") ==
      std::vector<std::string>{"down_proj", "gate_proj", "k_proj", "lm_head", "o_proj", "q_proj", "up_proj", "v_proj"});

  const auto by_regex = attach_lora(model, {.rank = 2, .pattern = R"(model\.layers\.\d\.mlp\..*)"});
  save_adapter(by_regex, second.path());
  const auto r = load_adapter(other, second.path());
  CHECK(r.lora()->pattern == R"(model\.layers\.\d\.mlp\..*)");
  CHECK(r.trainable().size() == 12);
}

TEST_CASE("a merged model computes what model and adapter did") {
  const tiny_model tiny;
  const std::vector<token_id> ids{1, 26, 10, 39, 95, 49};
  const auto model = tiny.load<double>();
  const auto plain = logits(model, ids);
  const auto p = load_adapter(model, golden("tiny_llama_adapter"));
  const auto with = logits(model, ids);
  const auto merged = merge_adapter(p);
  CHECK(distance(logits(merged, ids), with) < 1e-12);
  CHECK(distance(logits(merged, ids, false), with) < 1e-12);  // no adapter is left to switch off
  CHECK(distance(logits(model, ids, false), plain) == 0);     // the policy's own model is untouched
  plumb_test::temporary_folder folder;
  save_merged(p, folder.path());
  CHECK(distance(logits(load_model<reference, double>(folder.path()), ids), logits(merged, ids)) == 0);

  const auto later = attach_lora(model);
  CHECK_FAILS("bad_argument", "no longer", merge_adapter(p));
  CHECK(distance(logits(merge_adapter(later), ids), plain) == 0);  // B = 0: no change
  CHECK_FAILS("bad_argument", "save_model", save_adapter(train_all(model), folder / "adapter"));
  CHECK_FALSE(fs::exists(folder / "adapter"));
}

TEST_CASE("merging an adapter of a tied head unties it and leaves the embedding alone") {
  const auto folder = plumb_test::shared_data("stories260k/hf");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const std::vector<token_id> ids{1, 403, 407, 261, 378};
  const auto model = load_model<reference, float>(*folder);
  REQUIRE(model.config().tied_head);
  const auto p = load_adapter(model, golden("stories_adapter_head"));
  const auto with = logits(model, ids);
  plumb_test::temporary_folder out, tied;
  save_merged(p, out.path());
  const auto config = read_config(out.path());
  CHECK_FALSE(config.tied_head);
  const auto merged = load_model<reference, float>(out.path());
  CHECK(distance(logits(merged, ids), with) < 5e-5);
  const auto before = weight_files::open(*folder), after = weight_files::open(out.path());
  const auto numbers = [](const weight_files& files, const std::string& name) {
    std::vector<float> values(static_cast<std::size_t>(files.info(name).elements));
    files.read(name, std::span<float>(values));
    return values;
  };
  CHECK(numbers(before, "model.embed_tokens.weight") == numbers(after, "model.embed_tokens.weight"));
  CHECK(distance(numbers(after, "lm_head.weight"), numbers(after, "model.embed_tokens.weight")) > 1e-3);
  CHECK_FALSE(merge_adapter(p).config().tied_head);

  save_merged(load_adapter(model, golden("stories_adapter")), tied.path());  // without a head adapter the tie stays
  CHECK(read_config(tied.path()).tied_head);
  CHECK_FALSE(weight_files::open(tied.path()).contains("lm_head.weight"));
}

TEST_CASE("configurations that mean something else than LoRA are refused by name") {
  const tiny_model tiny;
  const auto model = tiny.load<float>();
  const std::pair<const char*, const char*> cases[] = {{"lora_bias", "true"},
                                                       {"init_lora_weights", "\"pissa_niter_4\""},
                                                       {"init_lora_weights", "\"loftq\""},
                                                       {"peft_type", "\"IA3\""},
                                                       {"task_type", "\"TOKEN_CLS\""},
                                                       {"target_parameters", "[\"x\"]"},
                                                       {"trainable_token_indices", "{\"lm_head\": [1]}"},
                                                       {"layer_replication", "[[0,1]]"},
                                                       {"use_qalora", "true"},
                                                       {"target_modules", "\"(?=a)b\""}};
  for (const auto& [key, value] : cases) {
    const adapter_copy copy("tiny_llama_adapter");
    copy.set(key, json::parse(value, "test"));
    INFO(key << " " << value);
    CHECK_FAILS("unsupported", std::string(key) == "target_modules" ? "position" : key,
                load_adapter(model, copy.folder.path()));
  }
  const std::pair<const char*, const char*> wrong[] = {{"r", "\"four\""},
                                                       {"r", "3.5"},
                                                       {"r", "0"},
                                                       {"r", "100000000000"},
                                                       {"lora_alpha", "null"},
                                                       {"lora_alpha", "0"},
                                                       {"lora_alpha", "-1"},
                                                       {"lora_dropout", "2"},
                                                       {"rank_pattern", "[1]"},
                                                       {"rank_pattern", "{\"q_proj\": \"x\"}"},
                                                       {"rank_pattern", "{\"q_proj\": -1}"},
                                                       {"alpha_pattern", "{\"(\": 1}"},
                                                       {"target_modules", "7"},
                                                       {"target_modules", "[1]"},
                                                       {"use_rslora", "\"yes\""},
                                                       {"use_dora", "1"},
                                                       {"bias", "\"some\""},
                                                       {"modules_to_save", "\"lm_head\""},
                                                       {"trainable_token_indices", "[1, 1]"},
                                                       {"layers_to_transform", "\"x\""},
                                                       {"peft_type", "3"}};
  for (const auto& [key, value] : wrong) {
    const adapter_copy copy("tiny_llama_adapter");
    copy.set(key, json::parse(value, "test"));
    INFO(key << " " << value);
    const auto found = plumb_test::thrown([&] { load_adapter(model, copy.folder.path()); });
    const std::string kind(found ? name(found->code()) : "none"), message(found ? found->what() : "");
    if (std::string(value) == "null")
      CHECK(kind == "none");  // null takes PEFT's default
    else
      CHECK(kind == "bad_file");
    if (kind == "bad_file") CHECK(message.find("adapter_config.json") != std::string::npos);
  }
  const adapter_copy odd("tiny_llama_adapter");
  odd.set("a_field_of_the_future", json::parse("{\"x\": [1]}", "test"));  // harmless
  CHECK(load_adapter(model, odd.folder.path()).trainable().size() == 30);
  for (const auto& [key, value] : std::vector<std::pair<const char*, const char*>>{
           {"use_dora", "true"},                       // the file has no magnitudes
           {"modules_to_save", "[\"embed_tokens\"]"},  // nor a table
           {"modules_to_save", "[\"lm_head\"]"},       // the head has an adapter
           {"modules_to_save", "[\"nowhere\"]"},
           {"trainable_token_indices", "[1]"},
           {"trainable_token_indices", "[97]"}}) {
    const adapter_copy copy("tiny_llama_adapter");
    copy.set(key, json::parse(value, "test"));
    INFO(key << " " << value);
    CHECK_FAILS("bad_model", copy.folder.path().string(), load_adapter(model, copy.folder.path()));
  }
  odd.set("target_modules", json::parse("[\"c_attn\"]", "test"));
  CHECK_FAILS("bad_model", "q_proj", load_adapter(model, odd.folder.path()));  // says what there is instead
}

TEST_CASE("damaged adapters are refused and the model stays as it was") {
  const tiny_model tiny;
  const auto model = tiny.load<float>();
  const std::vector<token_id> ids{1, 2, 3};
  const auto first = load_adapter(model, golden("tiny_llama_adapter"));
  const auto with = logits(model, ids);
  using list = std::vector<adapter_copy::stored>;
  const auto find = [](list& all, const std::string& name) -> adapter_copy::stored& {
    return *std::find_if(all.begin(), all.end(), [&](const auto& t) { return t.name == name; });
  };
  const auto refuse = [&](const char* code, const std::string& words, const std::function<void(list&)>& change) {
    const adapter_copy copy("tiny_llama_adapter");
    copy.edit(change);
    CHECK_FAILS(code, words, load_adapter(model, copy.folder.path()));
    CHECK(distance(logits(model, ids), with) == 0);
  };
  refuse("bad_model", "missing: " + q0,
         [&](list& all) { std::erase_if(all, [](const auto& t) { return t.name == q0; }); });
  refuse("bad_model", "unexpected: base_model.model.model.layers.7", [&](list& all) {
    all.push_back({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", {1}, {1.0f}});
  });
  refuse("bad_model", "missing", [&](list& all) {  // the prefix was lost
    for (auto& t : all) t.name = t.name.substr(17);
  });
  refuse("bad_model", "expected shape [3, 48], found [48, 3]",
         [&](list& all) { std::swap(find(all, q0).shape[0], find(all, q0).shape[1]); });
  refuse("bad_model", "expected shape", [&](list& all) {
    auto& t = find(all, q0);
    t.shape = {2, 48};
    t.numbers.resize(96);
  });
  refuse("not_finite", q0, [&](list& all) { find(all, q0).numbers[5] = std::numeric_limits<float>::quiet_NaN(); });
  refuse("not_finite", q0, [&](list& all) { find(all, q0).numbers[5] = std::numeric_limits<float>::infinity(); });
  refuse("unsupported", "base weight",
         [&](list& all) { find(all, "base_model.model.lm_head.base_layer.weight").numbers[0] += 1; });

  const adapter_copy good("tiny_llama_adapter");
  good.edit([](list&) {});  // negative control: what the tests above do, without damage
  CHECK(load_adapter(model, good.folder.path()).trainable().size() == 30);

  const adapter_copy cut("tiny_llama_adapter");
  const std::string bytes = plumb_test::read_file(cut.folder / "adapter_model.safetensors");
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{1000}, bytes.size() - 1}) {
    plumb_test::write_file(cut.folder / "adapter_model.safetensors", std::string_view(bytes).substr(0, size));
    CHECK_FAILS("bad_file", "adapter_model.safetensors", load_adapter(model, cut.folder.path()));
  }
  fs::remove(cut.folder / "adapter_model.safetensors");
  CHECK_FAILS("not_found", "adapter_model.safetensors", load_adapter(model, cut.folder.path()));
  plumb_test::write_file(cut.folder / "adapter_model.bin", "x");
  CHECK_FAILS("unsupported", "pickle", load_adapter(model, cut.folder.path()));
  plumb_test::write_file(cut.folder / "adapter_config.json", "{\"peft_type\": ");
  CHECK_FAILS("bad_file", "adapter_config.json", load_adapter(model, cut.folder.path()));
  fs::remove(cut.folder / "adapter_config.json");
  CHECK_FAILS("not_found", "adapter_config.json", load_adapter(model, cut.folder.path()));
  CHECK_FAILS("not_found", "adapter_config.json", load_adapter(model, cut.folder / "nowhere"));
}

TEST_CASE("an adapter of GPT-2 says that the model's files hold maps the other way round") {
  const plumb_test::temporary_folder folder;
  const auto model = load_model<reference>(plumb_test::repository() / "tests/golden/families/gpt2");
  lora_options how;
  how.rank = 2, how.targets = {"c_attn"};
  save_adapter(attach_lora(model, how), folder / "a");
  CHECK(read_adapter_config(folder / "a").virtual_tokens == 0);
  CHECK(plumb_test::read_file(folder / "a" / "adapter_config.json").find("\"fan_in_fan_out\": true") !=
        std::string::npos);
}

TEST_CASE("a failed save leaves what was there") {
  const tiny_model tiny;
  const auto model = tiny.load<float>();
  const auto p = attach_lora(model, {.rank = 2});
  plumb_test::temporary_folder folder;
  save_adapter(p, folder.path());
  const auto before = plumb_test::read_file(folder / "adapter_model.safetensors");
  auto& weight = p.trainable().front().parameter->value;
  auto numbers = weight.host();
  numbers[3] = std::numeric_limits<float>::quiet_NaN();
  weight.assign(numbers);
  CHECK_FAILS("not_finite", "lora_A", save_adapter(p, folder.path()));
  CHECK(plumb_test::read_file(folder / "adapter_model.safetensors") == before);
  CHECK(files_in(folder.path()).size() == 2);  // no temporary file either
  CHECK_FAILS("not_finite", "diverged", save_merged(p, folder / "merged"));
  CHECK_FALSE(fs::exists(folder / "merged"));
  CHECK_FAILS("io", "folder", save_merged(attach_lora(model), folder / "adapter_config.json" / "inside"));
  CHECK_FAILS("io", "folder", save_adapter(attach_lora(model), folder / "adapter_config.json"));
}
