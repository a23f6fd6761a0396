// SPDX-License-Identifier: BSL-1.0
// Files from strangers: every prefix and thousands of random changes of each kind of file end in plumb::error or in a valid
// load, soon and in little memory. The numbers here are what a quick run affords; PLUMB_MUTATIONS=10000 asks for more,
// with every prefix, and is meant for a build with -fsanitize=address,undefined.
#include <plumb/backend/cpu.hpp>
#include <plumb/data/mixture.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/read_labelled.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/models/score_head_files.hpp>
#include <plumb/rollout/embed.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/text/chat_template.hpp>
#include <plumb/text/train_bpe.hpp>
#include <plumb/train/environment.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

using namespace plumb;

namespace {

const std::filesystem::path golden = plumb_test::repository() / "tests" / "golden";

/// How many random changes of each file; the environment may ask for more.
index_t mutations() {
  const char* const asked = std::getenv("PLUMB_MUTATIONS");
  return asked != nullptr ? std::atol(asked) : 1000;
}

/// A random change of some bytes; a function of the seed.
class mutator {
 public:
  explicit mutator(std::uint64_t seed) : key_(derive_key(seed, 77)) {}

  std::string operator()(std::string s) {
    for (std::uint64_t count = below(2) == 0 ? 1 : 1 + below(4); count > 0; --count) change(s);
    return s;
  }

 private:
  std::uint64_t word() {
    const std::uint64_t high = philox_word(key_, at_), low = philox_word(key_, at_ + 1);
    at_ += 2;
    return high << 32 | low;
  }
  std::uint64_t below(std::uint64_t n) { return n > 0 ? word() % n : 0; }
  std::size_t place(const std::string& s) { return static_cast<std::size_t>(below(s.size())); }
  std::size_t length(const std::string& s, std::size_t from) {
    return std::min(static_cast<std::size_t>(1 + below(std::uint64_t{1} << below(8))), s.size() - from);
  }

  void change(std::string& s) {
    if (s.empty()) return s.push_back(static_cast<char>(below(256))), void();
    const std::size_t at = place(s);
    switch (below(11)) {
      case 0: s[at] = static_cast<char>(s[at] ^ (1 << below(8))); break;
      case 1: s[at] = static_cast<char>(below(256)); break;
      case 2: s.insert(at, 1 + below(8), static_cast<char>(below(256))); break;
      case 3: s.erase(at, length(s, at)); break;
      case 4: s.insert(place(s), s.substr(at, length(s, at))); break;  // a stretch twice
      case 5: edit_decimal(s, at); break;
      case 6: edit_binary(s, at); break;
      case 7:
      case 8: edit_word(s, at); break;
      case 9: edit_decimal(s, at); break;
      default: s[at] = "\"{}[]:,\\%-.0aenu \n"[below(18)]; break;
    }
  }
  /// One of the words of a list.
  std::string one_of(std::string_view list) {
    std::uint64_t which = below(1 + static_cast<std::uint64_t>(std::count(list.begin(), list.end(), ' ')));
    for (; which > 0; --which) list.remove_prefix(list.find(' ') + 1);
    return std::string(list.substr(0, list.find(' ')));
  }
  /// The next number in digits becomes one that somebody may have forgotten.
  void edit_decimal(std::string& s, std::size_t at) {
    constexpr std::string_view numbers =
        "0 -1 1 2 3 7 255 65536 2147483647 2147483648 4294967295 4294967296 9223372036854775807 9223372036854775808 "
        "18446744073709551615 -9223372036854775808 1e308 -1e308 1e400 1e-320 0.5 null true [] {} "
        "\"\" 1152921504606846976 100000 1000000000";
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto from = std::find_if(s.begin() + static_cast<std::ptrdiff_t>(at), s.end(), digit);
    if (from == s.end()) return edit_binary(s, at);
    s.replace(from, std::find_if_not(from, s.end(), digit), one_of(numbers));
  }
  /// A word in quotation marks becomes another one of the file, or no word.
  void edit_word(std::string& s, std::size_t at) {
    const auto next = [&](std::size_t from) {
      const std::size_t begin = s.find('"', from), end = begin < s.size() ? s.find('"', begin + 1) : begin;
      return end < s.size() ? std::pair(begin, end + 1 - begin) : std::pair(std::string::npos, std::size_t{0});
    };
    const auto [begin, size] = next(at);
    if (begin == std::string::npos) return edit_binary(s, at);
    const auto [other, length_of_other] = next(place(s));
    const bool none = other == std::string::npos || below(3) == 0;
    s.replace(begin, size, none ? one_of("null [] {} 17 -1 true \"\" [[]]") : s.substr(other, length_of_other));
  }
  /// One, two, four or eight bytes become an extreme number, little-endian.
  void edit_binary(std::string& s, std::size_t at) {
    static constexpr std::uint64_t numbers[] = {0,
                                                1,
                                                2,
                                                0x7f,
                                                0x80,
                                                0xff,
                                                0xffff,
                                                0x7fffffff,
                                                0x80000000,
                                                0xffffffff,
                                                0x100000000,
                                                0x7fffffffffffffff,
                                                0x8000000000000000,
                                                0xffffffffffffffff,
                                                0x1000000000000000};
    const std::uint64_t number = below(4) == 0 ? word() : numbers[below(std::size(numbers))];
    const std::size_t width = std::min(std::size_t{1} << below(4), s.size() - at);
    std::memcpy(s.data() + at, &number, width);
  }

  std::uint64_t key_, at_ = 0;
};

/// Keeps what made a test fail, where PLUMB_MUTATIONS_KEEP names a file.
void keep(const std::string& changed) {
  if (const char* const path = std::getenv("PLUMB_MUTATIONS_KEEP")) plumb_test::write_file(path, changed);
}

/// What happened to the changed files.
struct tally {
  index_t loaded = 0, refused = 0;
  double slowest = 0;
};

/// Loads prefixes and mutations of a file. Anything but a load or a plumb::error fails, with what made it.
tally attack(const std::string& what, const std::string& file, function_ref<void(const std::string&)> load) {
  tally out;
  const auto before = peak_memory_bytes();
  const auto attempt = [&](const std::string& changed, std::string_view how, std::uint64_t which) {
    const std::clock_t start = std::clock();  // of the processor: the machine may be busy
    try {
      load(changed);
      ++out.loaded;
    } catch (const error&) {
      ++out.refused;
    } catch (const std::exception& problem) {
      keep(changed);
      FAIL_CHECK(what << ", " << how << " " << which << ": not plumb::error: " << problem.what());
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 2) {
      keep(changed);
      FAIL_CHECK(what << ", " << how << " " << which << ": took " << seconds << " s");
    }
    out.slowest = std::max(out.slowest, seconds);
  };
  load(file);  // unchanged, it is good
  const index_t count = mutations();
  const std::size_t stride =
      count >= 10'000 ? 1 : std::max<std::size_t>(1, file.size() / static_cast<std::size_t>(count));
  for (std::size_t size = 0; size < file.size(); size += stride) attempt(file.substr(0, size), "prefix", size);
  for (index_t i = 0; i < count; ++i)
    attempt(mutator(static_cast<std::uint64_t>(i))(file), "mutation", static_cast<std::uint64_t>(i));
  CHECK(peak_memory_bytes() - before < (index_t{512} << 20));
  CHECK(out.refused > 0);
  if (std::getenv("PLUMB_MUTATIONS"))
    WARN(what << ": " << out.loaded << " loaded, " << out.refused << " refused, slowest " << out.slowest << " s");
  return out;
}

/// The same for files that are read from a folder.
tally attack_file(const std::string& what, const std::filesystem::path& path, function_ref<void()> load) {
  const std::string file = plumb_test::read_file(path);
  const tally out = attack(what, file, [&](const std::string& changed) {
    plumb_test::write_file(path, changed);
    load();
  });
  plumb_test::write_file(path, file);
  return out;
}

void use(const tokenizer& words) {
  const auto ids = words.encode("Hello, wörld! <s> 123\n\t\xF0\x9F\x98\x80 \xFF</s>");
  (void)words.decode(ids);
  (void)words.hash();
  for (token_id id = 0; id < std::min<index_t>(words.size(), 300); ++id) (void)words.token(id);
}

void use(const language_model<cpu>& model) {
  scored_tokens some{{1, 2, 3, 4, 5}};
  for (token_id& id : some.ids) id = static_cast<token_id>(id % model.config().vocabulary);
  (void)score(model, std::span(&some, 1));
}

std::filesystem::path copied(const plumb_test::temporary_folder& folder, std::string_view name) {
  std::filesystem::copy(golden / name, folder / name, std::filesystem::copy_options::recursive);
  return folder / name;
}

}  // namespace

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

TEST_CASE("changed configurations are refused or load", "[hostile][config]") {
  const plumb_test::temporary_folder folder;
  const auto sharded = copied(folder, "tiny_llama_sharded");
  attack_file("config.json", sharded / "config.json", [&] { use(load_model<cpu>(sharded, {.threads = 1})); });
  for (const char* name : {"families/llama_yarn", "families/gemma3", "families/cohere2", "families/smollm3",
                           "families/granite", "families/mpt", "families/falcon_40b", "families/phi3_longrope"}) {
    std::filesystem::create_directories(folder / "families");
    const auto model = copied(folder, name);
    attack_file(name, model / "config.json", [&] { use(load_model<cpu>(model, {.threads = 1})); });
  }
  std::filesystem::create_directories(folder / "encoders");
  const auto encoder = copied(folder, "encoders/bert");
  attack_file("encoders/bert", encoder / "config.json", [&] {
    const auto model = load_model<cpu>(encoder, {.threads = 1});
    if (!model.config().encodes()) return use(model);
    const std::vector<std::vector<token_id>> texts{{0, 0, 0}, {0}};
    (void)embed(model, texts);
    auto judge = train_all(model);
    load_score_head(judge, encoder);
  });
  const auto base = load_model<cpu>(golden / "tiny_llama", {.threads = 1});
  const auto adapter = copied(folder, "tiny_llama_adapter");
  attack_file("adapter_config.json", adapter / "adapter_config.json", [&] {
    const auto p = load_adapter(base, adapter);
    use(p.model());
  });
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
    });
    row_mixture rows({{{{path}}}}, {.shuffle_buffer = 3});
    for (index_t i = 0; i < rows.rows(); ++i) rows.next();
    return good;
  };
  attack("JSON Lines", lines, [&](const std::string& s) {
    plumb_test::write_file(path, s);
    read();
  });
  std::string array = "[" + lines + "]";
  for (std::size_t at = 0; (at = array.find("}\n{", at)) != std::string::npos;) array.insert(at + 1, ",");
  attack("a JSON array", array, [&](const std::string& s) {
    plumb_test::write_file(path, s);
    read();
  });
}
