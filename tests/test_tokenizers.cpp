// SPDX-License-Identifier: BSL-1.0
// Tests of tokenizers that come in other files than a byte-level tokenizer.json: SentencePiece models, tiktoken files,
// GGUF vocabularies, tokenizer.json of the kinds Unigram and WordPiece; golden ids from the packages that define them.
#include <ctime>
#include <random>
#include <set>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

#include <plumb/io/json.hpp>
#include <plumb/text/tokenizer.hpp>

namespace fs = std::filesystem;
namespace json = plumb::json;
using plumb::token_id;
using plumb_test::failure;
using plumb_test::temporary_folder;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

fs::path golden(const std::string& name) { return plumb_test::repository() / "tests/golden/tokenizer_files" / name; }

const json::object& expected() {
  static const json::value parsed = json::parse_file(golden("expected.json"));
  return parsed.get_object();
}

/// The golden ids of all texts, compared but for the texts in `known`, which differ for a reason that the test states.
void check_ids(const std::string& name, const std::set<std::string>& known = {}) {
  const auto words = plumb::tokenizer::load(golden(name));
  const auto texts = json::get<std::vector<std::string>>(expected(), "texts", "expected");
  const auto about =
      json::get<json::object>(json::get<json::object>(expected(), "files", "expected"), name, "expected");
  const auto ids = json::get<json::array>(about, "ids", "expected");
  REQUIRE(ids.size() == texts.size());
  std::size_t compared = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (known.contains(texts[i])) continue;
    INFO(name << ": " << json::dump(json::value(texts[i].c_str())));
    CHECK(words.encode(texts[i], false) == json::as<std::vector<token_id>>(ids[i], "ids", "expected"));
    ++compared;
  }
  CHECK(compared > 150);
}

/// What decoding gives, against the golden texts.
void check_texts(const std::string& name, bool skip_special = false, const std::set<std::string>& known = {}) {
  const auto words = plumb::tokenizer::load(golden(name));
  const auto about =
      json::get<json::object>(json::get<json::object>(expected(), "files", "expected"), name, "expected");
  const auto ids = json::get<json::array>(about, "ids", "expected");
  const auto texts = json::get<json::array>(about, "texts", "expected");
  const auto sources = json::get<json::array>(expected(), "texts", "expected");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (known.contains(json::as<std::string>(sources[i], "texts", "expected"))) continue;
    INFO(name << ": " << json::dump(ids[i]));
    CHECK(words.decode(json::as<std::vector<token_id>>(ids[i], "ids", "expected"), skip_special) ==
          json::as<std::string>(texts[i], "texts", "expected"));
  }
}

// Sanitizers and builds without optimisation run much slower; the test is about growth, not about the machine.
constexpr double slowness = 5;

double seconds(const plumb::tokenizer& words, const std::string& text) {
  const std::clock_t start = std::clock();  // of the processor: machines may be busy
  (void)words.encode(text, false);
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

TEST_CASE("SentencePiece models give the ids of sentencepiece", "[tokenizers]") {
  for (const char* name : {"unigram.model", "unigram_bytes.model", "bpe_bytes.model", "bpe.model"}) check_ids(name);
  for (const char* name : {"unigram_bytes.model", "bpe_bytes.model"})
    check_texts(name, false, {"\u2581already \u2581\u2581 there"});  // sentencepiece drops the text's own first space
}

TEST_CASE("the golden comparison can fail", "[tokenizers]") {
  const auto files = json::get<json::object>(expected(), "files", "expected");
  const auto of = [&](const char* name) { return json::get<json::object>(files, name, "expected").at("ids"); };
  CHECK(of("bpe.model") != of("bpe_bytes.model"));
  CHECK(of("word_piece.json") != of("word_piece_cased.json"));  // letters' case makes a difference
}

TEST_CASE("tiktoken files give the ids of tiktoken", "[tokenizers]") {
  check_ids("small.tiktoken");
  check_texts("small.tiktoken");
}

TEST_CASE("Unigram in a tokenizer.json gives the ids of tokenizers", "[tokenizers]") {
  check_ids("unigram.json");
  const auto words = plumb::tokenizer::load(golden("unigram.json"));
  const auto ids = words.encode("The loss", true);
  CHECK(ids.front() == 1);
  CHECK(ids.back() == 2);
}

TEST_CASE("WordPiece in a tokenizer.json gives the ids of tokenizers", "[tokenizers]") {
  check_ids("word_piece.json");
  check_ids("word_piece_cased.json");
  check_texts("word_piece.json", true);
  check_texts("word_piece_cased.json", true);
  const auto words = plumb::tokenizer::load(golden("word_piece.json"));
  const auto ids = words.encode("The loss", true);
  CHECK(words.token(ids.front()) == "[CLS]");
  CHECK(words.token(ids.back()) == "[SEP]");
}

TEST_CASE("the time of every kind of tokenizer is proportional to the text", "[tokenizers]") {
  for (const char* name : {"unigram.model", "unigram_bytes.model", "bpe_bytes.model", "bpe.model", "small.tiktoken",
                           "unigram.json", "word_piece.json"}) {
    const auto words = plumb::tokenizer::load(golden(name));
    for (const char* unit : {"a", " ", "\u2581", ".", "\u4e2d", "e\u0301", "\x01", "\n", "7", "\xff", "\U0001f642"}) {
      std::string text;
      while (text.size() < 1000000) text += unit;
      INFO(name << ": 1 MB of \"" << unit << "\"");
      CHECK(seconds(words, text) < 2 * slowness);
    }
  }
}

TEST_CASE("vocabulary files with damage are refused, never trusted", "[tokenizers]") {
  const temporary_folder folder;
  const auto loading = [&](const std::string& name, const std::string& content) {
    plumb_test::write_file(folder / name, content);
    return failure([&] { (void)plumb::tokenizer::load(folder / name); });
  };
  CHECK(has(loading("a.model", ""), "no pieces"));
  CHECK(has(loading("a.model", std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")), "damaged"));
  CHECK(has(loading("a.tiktoken", "QQ== 0\nQg==\n"), "a.tiktoken:2"));
  CHECK(has(loading("a.tiktoken", "QQ== 0\nQg== 0\n"), "two tokens have rank 0"));
  CHECK(has(loading("a.tiktoken", "QQ== 0\nQg== 4000000000\n"), "bad_file"));
  CHECK(has(loading("a.tiktoken", "QQ== 0\nQQ== 5000000\n"), "bad_file"));
  CHECK(has(loading("a.tiktoken", "QQ== 0\nQQ== 1\n"), "two ranks"));
  const auto model = [&](const std::string& text) { return loading("tokenizer.json", "{\"model\":{" + text + "}}"); };
  CHECK(has(model(R"("type":"Unigram","vocab":[["a",0.5],["b"]])"), "[piece, score]"));
  CHECK(has(model(R"("type":"Unigram","vocab":[["a",0.5]],"unk_id":7)"), "no piece 7"));
  CHECK(has(model(R"("type":"Unigram","vocab":{})"), "needs \"vocab\""));
  CHECK(has(model(R"("type":"WordPiece","vocab":{"a":0})"), "unk_token"));
  CHECK(has(model(R"("type":"WordPiece")"), "needs \"vocab\""));
  CHECK(has(model(R"("type":"WordLevel","vocab":{})"), "not supported"));
  CHECK(has(
      loading(
          "tokenizer.json",
          R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"/////w=="},"model":{"type":"Unigram","vocab":[["a",1]]}})"),
      "cut off or damaged"));
  CHECK(has(
      loading(
          "tokenizer.json",
          R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"?"},"model":{"type":"Unigram","vocab":[["a",1]]}})"),
      "base64"));

  // Whatever changes in the files: an error, or a tokenizer that works.
  std::mt19937 random(2);
  for (const char* name : {"unigram_bytes.model", "bpe.model", "small.tiktoken"}) {
    const std::string whole = plumb_test::read_file(golden(name));
    for (int i = 0; i < 400; ++i) {
      std::string changed = whole.substr(0, i % 2 == 0 ? whole.size() : random() % whole.size());
      for (int k = 0; k < 3 && !changed.empty(); ++k) {
        const std::size_t at = random() % std::min<std::size_t>(changed.size(), k == 0 ? 64 : changed.size());
        if (random() % 2 == 0)
          changed[at] = static_cast<char>(random());
        else
          changed.insert(at, std::string(random() % 9, static_cast<char>(random())));
      }
      plumb_test::write_file(folder / name, changed);
      (void)failure([&] {
        const auto words = plumb::tokenizer::load(folder / name);
        (void)words.decode(words.encode("The policy, e\u0301 \u4e2d\n<|turn|>"));
      });
    }
  }
  const std::string table = plumb_test::read_file(golden("unigram.model"));  // with a compiled table: change that
  for (int i = 0; i < 100; ++i) {
    std::string changed = table;
    for (int k = 0; k < 50; ++k) changed[table.size() - 1 - random() % 230000] = static_cast<char>(random());
    plumb_test::write_file(folder / "x.model", changed);
    (void)failure([&] {
      const auto words = plumb::tokenizer::load(folder / "x.model");
      (void)words.encode("Ａｂｃ ｶﾞ ㎏ ① e\u0301 The policy");
    });
  }
}

TEST_CASE("what a vocabulary file becomes can be saved and read again", "[tokenizers]") {
  const temporary_folder folder;
  const auto texts = json::get<std::vector<std::string>>(expected(), "texts", "expected");
  for (const char* name : {"unigram.model", "unigram_bytes.model", "bpe_bytes.model", "bpe.model", "small.tiktoken"}) {
    INFO(name);
    const auto words = plumb::tokenizer::load(golden(name));
    words.save(folder / "tokenizer.json");
    const auto again = plumb::tokenizer::load(folder / "tokenizer.json");
    std::size_t different = 0;  // merges of equal score have an order in a tokenizer.json, so a few texts may differ
    for (const std::string& text : texts) different += words.encode(text) != again.encode(text);
    CHECK(different <= (std::string_view(name).starts_with("bpe") ? 3u : 0u));
  }
}

TEST_CASE("GPT-2's vocabulary in a GGUF file gives llama.cpp's ids", "[tokenizers]") {
  const auto data = plumb_test::shared_data("tokenizers/gpt2");
  if (!data) SKIP("no ../shared/data beside the repository");
  const auto words = plumb::tokenizer::load(*data / "ggml-vocab-gpt-2.gguf");
  CHECK(words.size() == 50257);
  CHECK(words.eos() == 50256);
  std::string texts = plumb_test::read_file(*data / "ggml-vocab-gpt-2.gguf.inp");
  std::string lines = plumb_test::read_file(*data / "ggml-vocab-gpt-2.gguf.out");
  const std::string_view mark = "\n__ggml_vocab_test__\n";
  std::size_t compared = 0;
  for (std::string_view rest = texts, ids = lines;; ++compared) {
    const std::size_t end = std::min(rest.find(mark), rest.size()), line = std::min(ids.find('\n'), ids.size());
    std::string found;
    for (const token_id id : words.encode(rest.substr(0, end), false)) found += plumb::join(" ", id);
    INFO(rest.substr(0, end));
    CHECK(found == ids.substr(0, line));
    if (end == rest.size()) break;
    rest.remove_prefix(end + mark.size());
    ids.remove_prefix(std::min(line + 1, ids.size()));
  }
  CHECK(compared + 1 == 47);
}

TEST_CASE("the shared SentencePiece and tiktoken files load", "[tokenizers]") {
  const auto data = plumb_test::shared_data("tokenizers");
  if (!data) SKIP("no ../shared/data beside the repository");
  const auto pieces = plumb::tokenizer::load(*data / "sentencepiece/test_model.model");
  CHECK(pieces.size() == 1000);
  CHECK(pieces.encode("Hello world", false) == std::vector<token_id>{151, 88, 21, 887});
  const auto qwen = plumb::tokenizer::load(*data / "qwen2/qwen.tiktoken");
  CHECK(qwen.encode("Hello world<|im_end|>", false) == std::vector<token_id>{9707, 1879, 151645});
  CHECK(qwen.decode(qwen.encode("née 😀")) == "née 😀");
  CHECK(plumb::tokenizer::load(*data / "tiny-bpe/tiktoken_small.model").size() == 2000);
}

TEST_CASE("folders with older files than a tokenizer.json are read", "[tokenizers]") {
  const temporary_folder folder;
  CHECK_FALSE(plumb::tokenizer::find(folder.path()));
  CHECK(has(failure([&] { (void)plumb::tokenizer::load(folder.path()); }), "not_found"));

  // The same small vocabulary as a tiktoken file and as vocab.json and merges.txt.
  const auto small = plumb::tokenizer::load(golden("small.tiktoken"));
  const json::value parsed = json::parse(small.json());
  const auto& model = parsed.get_object().at("model").get_object();
  std::string merges = "#version: 0.2\n";
  for (const json::value& pair : model.at("merges").get_array())
    merges += json::as<std::string>(pair.get_array()[0], "a merge", "") + " " +
              json::as<std::string>(pair.get_array()[1], "a merge", "") + "\n";
  plumb_test::write_file(folder / "vocab.json", json::dump(model.at("vocab")));
  plumb_test::write_file(folder / "merges.txt", merges);
  plumb_test::write_file(
      folder / "tokenizer_config.json",
      R"({"tokenizer_class":"Qwen2Tokenizer","eos_token":"<|im_end|>","added_tokens_decoder":{"700":)"
      R"({"content":"<|im_end|>","special":true,"normalized":false}}})");
  const auto words = plumb::tokenizer::load(folder.path());
  CHECK(words.eos() == 700);
  CHECK(words.encode("x<|im_end|>").back() == 700);
  for (const char* text : {"The policy is the reference.", "e\u0301t\u00e9", " two  spaces\n"})
    CHECK(words.decode(words.encode(text)) == (text[1] == '\xcc' ? std::string("\u00e9t\u00e9") : text));
  CHECK(words.encode("policy and reference", false) == small.encode("policy and reference", false));
  plumb_test::write_file(folder / "tokenizer_config.json", R"({"tokenizer_class":"CLIPTokenizer"})");
  CHECK(has(failure([&] { (void)plumb::tokenizer::load(folder.path()); }), "CLIPTokenizer"));

  // A SentencePiece model in a folder: the configuration says what goes around a text.
  fs::copy_file(golden("bpe_bytes.model"), folder / "tokenizer.model");
  plumb_test::write_file(folder / "tokenizer_config.json",
                         R"({"tokenizer_class":"LlamaTokenizer","bos_token":{"content":"<s>"},"eos_token":"</s>"})");
  const auto pieces = plumb::tokenizer::load(folder.path()), alone = plumb::tokenizer::load(golden("bpe_bytes.model"));
  CHECK(pieces.bos() == 1);
  CHECK(pieces.eos() == 2);
  auto expected_ids = alone.encode("The policy", false);
  CHECK(pieces.encode("The policy", false) == expected_ids);
  expected_ids.insert(expected_ids.begin(), 1);
  CHECK(pieces.encode("The policy", true) == expected_ids);

  if (const auto data = plumb_test::shared_data("tokenizers/gpt2")) {
    const auto folder_of = plumb::tokenizer::load(*data),
               file = plumb::tokenizer::load(*data / "ggml-vocab-gpt-2.gguf");
    CHECK(folder_of.eos() == 50256);
    for (const char* text : {"Hello world<|endoftext|>", "don't 123", "n\u00e9e \U0001f600"})
      CHECK(folder_of.encode(text) == file.encode(text));
  }
}
