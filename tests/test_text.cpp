// SPDX-License-Identifier: BSL-1.0
// Tests of text: tokenizers against Hugging Face's (tests/golden/make_tokenizers.py), malformed files, training.
#include <ctime>
#include <map>
#include <set>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

#include <plumb/core/random.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/base64.hpp>
#include <plumb/text/nfc.hpp>
#include <plumb/text/patterns.hpp>
#include <plumb/text/running_text.hpp>
#include <plumb/text/tokenizer.hpp>
#include <plumb/text/train_bpe.hpp>

namespace json = plumb::json;
using plumb::token_id;
using plumb::tokenizer;
using plumb_test::failure;
using plumb_test::temporary_folder;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A golden file's base with the entries of a patch put in; those of "model" are merged.
json::value patched(const json::value& base, const json::object& patch) {
  json::value whole = base;
  for (const auto& entry : patch) {
    if (entry.key() != "model") {
      whole.as_object()[entry.key()] = entry.value();
      continue;
    }
    for (const auto& option : entry.value().as_object())
      whole.as_object()["model"].as_object()[option.key()] = option.value();
  }
  return whole;
}

/// Checks every text of a golden file with every variant; returns how many pairs there were.
std::size_t check_golden(const std::string& name) {
  const auto path = plumb_test::repository() / "tests" / "golden" / name;
  const json::value golden = json::parse_file(path);
  const auto& top = golden.as_object();
  const auto texts = json::get<std::vector<std::string>>(top, "texts", name);
  std::size_t checked = 0;
  for (const json::value& item : top.at("variants").as_array()) {
    const auto& variant = item.as_object();
    const auto title = json::get<std::string>(variant, "name", name);
    const tokenizer t =
        tokenizer::from_json(json::dump(patched(top.at("base"), variant.at("patch").as_object())), title);
    const auto expected = json::get<std::vector<std::vector<token_id>>>(variant, "ids", name);
    const auto written = [&](const char* key, std::size_t i) {
      return json::get_or<std::string>(variant.at(key).as_object(), std::to_string(i), texts[i], name);
    };
    REQUIRE(expected.size() == texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i, ++checked) {
      INFO(name << ", " << title << ", text " << i << ": " << texts[i]);
      REQUIRE(t.encode(texts[i]) == expected[i]);
      REQUIRE(t.decode(expected[i]) == written("decoded", i));
      REQUIRE(t.decode(expected[i], true) == written("plain", i));
    }
  }
  return checked;
}

const char* const sample =
    "the cat sat on the mat, the rat sat on the hat; that's the cat's hat. 12 cats, 345 rats!\n  über Übermut größer\n";

tokenizer small() {
  const std::vector<std::string> texts{sample, "the other cat. <|bos|> the hat"};
  return plumb::train_bpe(texts, 270, {"<|bos|>", "<|eos|>"});
}

/// The small tokenizer's file, to be spoilt.
json::value small_json() { return json::parse(small().json()); }

std::string loading(const json::value& v) {
  return failure([&] { tokenizer::from_json(json::dump(v), "t.json"); });
}

double seconds(const tokenizer& t, const std::string& text) {
  const std::clock_t start = std::clock();  // of the processor: machines may be busy
  const auto ids = t.encode(text);
  REQUIRE(!ids.empty());
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

TEST_CASE("tokens equal those of Hugging Face's tokenizers", "[text]") {
  REQUIRE(check_golden("tokenizer_bytes_gpt2.json") == 7 * 37);
  REQUIRE(check_golden("tokenizer_bytes_words.json") == 7 * 37);
  REQUIRE(check_golden("tokenizer_pieces.json") == 8 * 37);
}

TEST_CASE("two thousand lines of every script are cut as the packages that define the tokenizers cut them", "[text]") {
  const auto folder = plumb_test::repository() / "tests" / "golden";
  const json::value document = json::parse_file(folder / "tokenizer_lines.json");
  const auto& top = document.as_object();
  auto lines = json::get<std::vector<std::string>>(top, "lines", "golden");
  for (const std::string& digits : json::get<std::vector<std::string>>(top, "bytes", "golden")) {  // not UTF-8
    std::string& line = lines.emplace_back();
    for (std::size_t i = 0; i < digits.size(); i += 2)
      line += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    REQUIRE(plumb::first_invalid_utf8(line) < line.size());
  }
  REQUIRE(lines.size() >= 2000);
  std::set<std::string> kinds;
  for (const json::value& item : top.at("tokenizers").as_array()) {
    const auto& kind = item.as_object();
    const auto file = json::get<std::string>(kind, "file", "golden");
    const auto variant = json::get<plumb::index_t>(kind, "variant", "golden");
    const auto marks = plumb::detail::from_base64(json::get<std::string>(kind, "marks", "golden"));
    REQUIRE((marks && marks->size() == 3 * lines.size()));
    const tokenizer t = [&] {
      if (variant < 0) return tokenizer::load(folder / file);
      const json::value golden = json::parse_file(folder / file);
      const auto& chosen = golden.as_object().at("variants").as_array()[static_cast<std::size_t>(variant)].as_object();
      return tokenizer::from_json(json::dump(patched(golden.as_object().at("base"), chosen.at("patch").as_object())));
    }();
    kinds.insert(file);
    std::size_t different = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto ids = t.encode(lines[i], variant >= 0);
      std::string bytes;
      for (const token_id id : ids)
        for (int k = 0; k < 4; ++k) bytes += static_cast<char>(static_cast<std::uint32_t>(id) >> 8 * k & 255);
      if (kind.at("decodes").as_bool()) bytes += t.decode(ids);
      std::uint64_t mark = 0xCBF29CE484222325u;
      for (const char c : bytes) mark = (mark ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
      bool same = true;
      for (std::size_t k = 0; k < 3; ++k) same = same && static_cast<char>(mark >> 8 * k & 255) == (*marks)[3 * i + k];
      if (same) continue;
      ++different;
      if (different < 6) UNSCOPED_INFO("line " << i << ": " << json::dump(json::value(lines[i].c_str())));
    }
    INFO(file << ", variant " << variant);
    CHECK(different == 0);
  }
  CHECK(kinds.size() == 11);
}

namespace {

/// Tokenizers of every kind that gives a text back as it was, by name.
std::vector<std::pair<std::string, tokenizer>> faithful_tokenizers() {
  const auto folder = plumb_test::repository() / "tests" / "golden";
  const auto of = [&](const char* file, std::size_t variant) {
    const json::value golden = json::parse_file(folder / file);
    const auto& chosen = golden.as_object().at("variants").as_array()[variant].as_object();
    return tokenizer::from_json(json::dump(patched(golden.as_object().at("base"), chosen.at("patch").as_object())));
  };
  std::vector<std::pair<std::string, tokenizer>> all{
      {"small.tiktoken", tokenizer::load(folder / "tokenizer_files/small.tiktoken")},
      {"bpe_bytes.model", tokenizer::load(folder / "tokenizer_files/bpe_bytes.model")},
      {"llama", of("tokenizer_pieces.json", 0)},
      {"gemma", of("tokenizer_pieces.json", 4)}};
  for (const std::size_t variant : {0, 2, 3, 4, 6})
    all.emplace_back("bytes_gpt2", of("tokenizer_bytes_gpt2.json", variant));
  for (const std::size_t variant : {0, 1, 2, 5, 6})
    all.emplace_back("bytes_words", of("tokenizer_bytes_words.json", variant));
  if (const auto shared = plumb_test::shared_data("tokenizers/gpt2/ggml-vocab-gpt-2.gguf"))
    all.emplace_back("gguf", tokenizer::load(*shared));
  return all;
}
std::vector<std::string> lines_of_every_script() {
  const auto file = plumb_test::repository() / "tests" / "golden" / "tokenizer_lines.json";
  return json::get<std::vector<std::string>>(json::parse_file(file).as_object(), "lines", "golden");
}
/// What a reader of the tokens has seen in the end.
std::string shown_in_pieces(const tokenizer& t, std::span<const token_id> ids) {
  plumb::running_text running(t);
  std::string out;
  for (const token_id id : ids) out += running.add(id);
  return out + running.finish();
}

}  // namespace

TEST_CASE("decoding what was encoded gives the line again", "[text]") {
  const auto lines = lines_of_every_script();
  for (const auto& [name, t] : faithful_tokenizers()) {
    std::size_t different = 0;
    for (const std::string& line : lines) {
      const auto ids = t.encode(line, false);
      different += t.decode(ids) == line ? 0 : 1;
      if (t.decode(ids) != line && different < 4) UNSCOPED_INFO(json::dump(json::value(line.c_str())));
    }
    INFO(name);
    CHECK(different == 0);
  }
}

TEST_CASE("text token by token is the text of all tokens", "[text]") {
  auto all = faithful_tokenizers();
  const auto folder = plumb_test::repository() / "tests" / "golden" / "tokenizer_files";
  for (const char* name : {"unigram.json", "word_piece.json", "word_piece_cased.json", "bpe.model"})
    all.emplace_back(name, tokenizer::load(folder / name));
  const auto lines = lines_of_every_script();
  for (const auto& [name, t] : all) {
    INFO(name);
    std::size_t different = 0;
    for (const std::string& line : lines) {
      const auto ids = t.encode(line);
      if (shown_in_pieces(t, ids) == t.decode(ids, true)) continue;
      if (++different < 4) UNSCOPED_INFO(json::dump(json::value(line.c_str())));
    }
    CHECK(different == 0);
    if (!name.starts_with("bytes")) continue;
    for (std::uint64_t i = 0; i < 300; ++i) {  // bytes that are no characters, special tokens
      std::vector<token_id> ids;
      for (std::uint64_t k = 0; k < 20; ++k)
        ids.push_back(static_cast<token_id>(plumb::philox_word(i, k) % static_cast<std::uint64_t>(t.size())));
      different += shown_in_pieces(t, ids) == t.decode(ids, true) ? 0 : 1;
    }
    CHECK(different == 0);
  }
}

TEST_CASE("no half character is shown, and nothing is shown twice", "[text]") {
  const auto t = tokenizer::load(plumb_test::repository() / "tests/golden/tokenizer_files/bpe_bytes.model");
  const auto ids = t.encode("a \U0001F600 b", false);
  plumb::running_text running(t);
  std::size_t waited = 0;
  std::string seen;
  for (const token_id id : ids) {
    const std::string piece = running.add(id);
    CHECK(piece.find("\xEF\xBF\xBD") == std::string::npos);
    waited += piece.empty() ? 1 : 0;
    seen += piece;
  }
  CHECK(waited >= 3);  // bytes of the face but its last
  CHECK(seen == t.decode(ids));
  CHECK(running.finish().empty());
  plumb::running_text cut(t);
  for (std::size_t i = 0; i < ids.size() && t.token(ids[i]) != "<0x98>"; ++i) (void)cut.add(ids[i]);
  CHECK(cut.finish().starts_with("\xEF\xBF\xBD"));
}

TEST_CASE("a real model's tokenizer", "[text][shared]") {
  const auto data = plumb_test::shared_data();
  if (!data) SKIP("no ../shared/data beside the repository");
  const tokenizer t = tokenizer::load(*data / "stories260k" / "hf");
  REQUIRE(t.size() == 512);
  REQUIRE(t.encode("Once upon a time") == std::vector<token_id>{1, 403, 407, 261, 378});
  REQUIRE(t.encode("Once upon a time", false) == std::vector<token_id>{403, 407, 261, 378});
  REQUIRE(t.decode(t.encode("Once upon a time, Tim said 🙂"), true) == "Once upon a time, Tim said 🙂");
  REQUIRE(t.is_special(1));
  REQUIRE(!t.bos());
  const tokenizer qwen = tokenizer::load(*data / "tokenizers" / "tiny-bpe" / "tiny_bpe_tokenizer.json");
  const std::string text = plumb::read_file(*data / "text" / "the-verdict.txt");
  REQUIRE(qwen.decode(qwen.encode(text)) == plumb::to_nfc(text));
  REQUIRE(qwen.encode("<|im_start|>a<|im_end|>") == std::vector<token_id>{2001, 64, 2002});
}

TEST_CASE("words are cut in linear time and nothing is lost", "[text]") {
  using family = plumb::word_pattern::family;
  const std::vector<plumb::word_pattern> patterns{{family::gpt2},
                                                  {family::cl100k, 3},
                                                  {family::cl100k, 1, true, false, true},
                                                  {family::o200k, 3, true, true},
                                                  {family::o200k, 1, false, true}};
  const std::vector<std::string> parts{"a", "B",        "中", "'", "s", " ",  "\n", "\r",
                                       "1", "\xCC\x81", "!",  "ǅ", "ʰ", "🙂", "/",  "\t"};
  std::uint32_t state = 3;
  for (const auto& pattern : patterns) {
    std::string text;
    for (int i = 0; i < 4000; ++i) {
      state = state * 1664525u + 1013904223u;
      text += parts[(state >> 16) % parts.size()];
    }
    std::string joined;
    plumb::for_each_word(text, pattern, [&](std::string_view word) {
      REQUIRE(!word.empty());
      REQUIRE(plumb::first_invalid_utf8(word) == word.size());
      joined += word;
    });
    REQUIRE(joined == text);
    for (const std::string part : {"a", "A", "中", "中A", " ", "\n", " \n", "'", "1", "\xCC\x81", "a\xCC\x81", "!"}) {
      std::string many;
      while (many.size() < 300'000) many += part;
      std::size_t count = 0;
      const std::clock_t start = std::clock();
      plumb::for_each_word(many, pattern, [&](std::string_view) { ++count; });
      REQUIRE(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 5);  // quadratic: minutes
      REQUIRE(count > 0);
    }
  }
  REQUIRE(!plumb::recognise_pattern("\\w+"));
}

TEST_CASE("normal form C composes, orders and leaves alone", "[text]") {
  REQUIRE(plumb::to_nfc("plain") == "plain");
  REQUIRE(plumb::to_nfc("e\u0301") == "é");
  REQUIRE(plumb::to_nfc("é") == "é");
  REQUIRE(plumb::to_nfc("\u212B") == "Å");                     // a singleton
  REQUIRE(plumb::to_nfc("q\u0307\u0323") == "q\u0323\u0307");  // order by class
  REQUIRE(plumb::to_nfc("a\u0302\u0301") == "\u1EA5");         // twice
  REQUIRE(plumb::to_nfc("\u1100\u1161\u11A8") == "각");        // Hangul
  REQUIRE(plumb::to_nfc("\u0958") == "\u0915\u093C");          // excluded from composition
  REQUIRE(plumb::to_nfc("a\u0300\u0301") == "à\u0301");        // equal classes block
  std::string marks = "a";
  for (int i = 0; i < 50'000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";
  REQUIRE(plumb::to_nfc(plumb::to_nfc(marks)) == plumb::to_nfc(marks));
}

TEST_CASE("bytes that are not UTF-8 count as U+FFFD", "[text]") {
  const tokenizer t = small();
  REQUIRE(t.encode("a\xFFz") == t.encode("a\uFFFDz"));
  REQUIRE(t.decode(t.encode("\xF0\x9F\x99")) == "\uFFFD");
  const auto emoji = t.encode("🙂");
  REQUIRE(t.decode(std::span(emoji).first(emoji.size() - 1)) == "\uFFFD");
  REQUIRE(t.decode(emoji) == "🙂");
}

TEST_CASE("long texts take n log n", "[text]") {
  // "aa", "aaaa", … are tokens, so a run of one letter is merged as far as it goes.
  const tokenizer t =
      plumb::train_bpe(std::vector<std::string>{std::string(4096, 'a'), std::string(4096, 'a')}, 268, {}, 2);
  REQUIRE(t.encode(std::string(1024, 'a')).size() == 1);
  REQUIRE(seconds(t, std::string(1'000'000, 'a')) < 10);  // well under 2 s on a quiet machine; quadratic would be hours
  const tokenizer cat = small();
  for (const char* part : {"the cat", " ", "\n", "<|bos|>", "<", "\xCC\x81", "'s", "中"}) {
    std::string many;
    while (many.size() < 500'000) many += part;
    REQUIRE(seconds(cat, many) < 10);
    REQUIRE(cat.decode(cat.encode(many)) == many);
  }
}

TEST_CASE("a trained tokenizer is its file", "[text]") {
  const tokenizer t = small();
  REQUIRE(t.size() == 270);
  REQUIRE(t.id_of("<|bos|>") == 0);
  REQUIRE(t.id_of("<|eos|>") == 1);
  REQUIRE((t.is_special(0) && !t.is_special(2) && !t.is_special(-1) && !t.is_special(9999)));
  REQUIRE(t.id_of("Ġthe"));
  REQUIRE(t.encode("<|bos|>the<|eos|>").front() == 0);
  REQUIRE(t.decode(t.encode("<|bos|>the<|eos|>"), true) == "the");
  std::string all;
  for (int b = 0; b < 128; ++b) all += static_cast<char>(b);
  REQUIRE(t.decode(t.encode(all + sample + "中文🙂")) == all + sample + "中文🙂");
  REQUIRE(small().json() == t.json());
  // Special tokens are no material: without them, the merges are the same.
  const std::vector<std::string> clean{sample, "the other cat. ", " the hat"};
  REQUIRE(plumb::train_bpe(clean, 270, {"<|bos|>", "<|eos|>"}).json() == t.json());

  const temporary_folder folder;
  tokenizer named = t;
  named.set_bos(0);
  named.set_eos(1);
  named.save(folder.path());
  named.save(folder / "alone.json");
  const tokenizer again = tokenizer::load(folder.path());
  REQUIRE((again.bos() == 0 && again.eos() == 1 && !again.pad()));
  REQUIRE(again.json() == t.json());
  REQUIRE(again.encode(sample) == t.encode(sample));
  REQUIRE(again.hash() == named.hash());
  REQUIRE(again.hash() != t.hash());
  REQUIRE(t.hash().size() == 16);
  again.save(folder.path());  // the configuration that was loaded is kept
  REQUIRE(tokenizer::load(folder.path()).bos() == 0);

  const std::vector<std::string> none;
  REQUIRE(plumb::train_bpe(none, 1000).size() == 256);
  const auto refused = [](plumb::index_t size, std::vector<std::string> special) {
    return failure([&] { plumb::train_bpe(std::vector<std::string>{"a"}, size, special); });
  };
  REQUIRE(has(refused(255, {}), "at least 256"));
  REQUIRE(has(refused(256, {"<x>"}), "at least 257"));
  REQUIRE(has(refused(300, {"<x>", "<x>"}), "not repeated"));
  REQUIRE(has(refused(300, {""}), "special token 0"));
  REQUIRE(has(refused(300, {"a"}), "special token 0"));
  REQUIRE(has(refused(300, {"\xFF\xFF"}), "special token 0"));
}

TEST_CASE("tokenizer_config.json names bos, eos and pad", "[text]") {
  const temporary_folder folder;
  REQUIRE(has(failure([&] { tokenizer::load(folder.path()); }), "expected a tokenizer.json in the folder"));
  REQUIRE(has(failure([&] { tokenizer::load(folder / "absent.json"); }), "not_found"));
  small().save(folder / "tokenizer.json");
  const auto config = [&](const std::string& text) {
    plumb_test::write_file(folder / "tokenizer_config.json", text);
    return failure([&] { tokenizer::load(folder.path()); });
  };
  REQUIRE(
      config(
          R"({"bos_token": "<|bos|>", "eos_token": {"content": "<|eos|>", "lstrip": false}, "pad_token": null, "chat_template": "x"})") ==
      "nothing");
  tokenizer t = tokenizer::load(folder.path());
  REQUIRE((t.bos() == 0 && t.eos() == 1 && !t.pad()));
  t.set_pad(1);
  t.set_eos(0);
  t.save(folder.path());
  t = tokenizer::load(folder / "tokenizer.json");
  REQUIRE((t.bos() == 0 && t.eos() == 0 && t.pad() == 1));
  REQUIRE(has(t.config(), "chat_template"));
  REQUIRE(has(config(R"({"bos_token": "<none>"})"), "bad_model"));
  REQUIRE(has(config(R"({"bos_token": 7})"), "expected a string"));
  REQUIRE(has(config("["), "bad_file"));
  REQUIRE(has(failure([&] { t.set_bos(270); }), "bad_argument"));
  REQUIRE(has(failure([&] { t.set_bos(-1); }), "bad_argument"));
  REQUIRE(has(failure([&] { (void)t.token(270); }), "in [0, 270)"));
  const std::vector<token_id> strange{-1, 2, 1000000};
  REQUIRE(t.decode(strange) == std::string(t.token(2)));
}

TEST_CASE("malformed and unsupported tokenizer files are refused with the reason", "[text]") {
  REQUIRE(loading(small_json()) == "nothing");  // the control
  const auto with = [](const char* key, const char* text) {
    json::value v = small_json();
    v.as_object()[key] = json::parse(text);
    return loading(v);
  };
  const auto model = [](const char* key, const char* text) {
    json::value v = small_json();
    v.as_object()["model"].as_object()[key] = json::parse(text);
    return loading(v);
  };
  const auto problem = [](const std::string& found, const std::string& code, const std::string& part) {
    INFO(part << ": " << found);
    REQUIRE(has(found, code + " t.json: "));
    REQUIRE(has(found, part));
  };
  problem(loading(json::array{}), "bad_file", "expected an object");
  problem(loading(json::object{}), "bad_file", "\"model\"");
  problem(with("model", "{}"), "unsupported", "model unknown");
  problem(with("model", R"({"type":"Unigram","vocab":[]})"), "bad_file", "empty");
  problem(with("model", R"({"type":"WordPiece","vocab":{}})"), "bad_file", "unk_token");
  problem(with("model", R"({"type":"WordLevel","vocab":{}})"), "unsupported", "WordLevel");
  problem(with("model", R"({"type":"BPE","vocab":{}})"), "bad_file", "merges");
  problem(model("vocab", "[]"), "bad_file", "\"vocab\"");
  problem(model("vocab", R"({"a":-1})"), "bad_file", "out of range");
  problem(model("vocab", R"({"a":2000000000})"), "bad_file", "out of range");
  problem(model("vocab", R"({"a":1e30})"), "bad_file", "expected an integer");
  problem(model("vocab", R"({"a":"x"})"), "bad_file", "expected an integer");
  problem(model("vocab", R"({"a":3,"b":3})"), "bad_file", "same number");
  problem(model("vocab", R"({"":3})"), "bad_file", "empty token");
  problem(model("merges", R"(["t h e"])"), "bad_file", "merge 0");
  problem(model("merges", R"(["the"])"), "bad_file", "merge 0");
  problem(model("merges", R"([["t","h","e"]])"), "bad_file", "two tokens, found 3");
  problem(model("merges", R"([1])"), "bad_file", "merge 0");
  problem(model("merges", R"(["t nothing"])"), "bad_file", "no token \"nothing\"");
  problem(model("merges", R"(["< >"])"), "bad_file", "no token \"<>\"");
  problem(model("unk_token", R"("<unk>")"), "bad_file", "unk_token");
  problem(model("dropout", "0.1"), "unsupported", "dropout");
  problem(model("end_of_word_suffix", R"("</w>")"), "unsupported", "end_of_word_suffix");
  problem(with("added_tokens", R"([{"id":5}])"), "bad_file", "\"content\"");
  problem(with("added_tokens", R"([{"id":-5,"content":"x"}])"), "bad_file", "out of range");
  problem(with("added_tokens", R"([{"id":5,"content":"<x>"}])"), "bad_file", "same number");
  problem(with("added_tokens", R"([{"id":305,"content":"Ġthe"}])"), "bad_file", "two numbers");
  problem(with("added_tokens", "{}"), "bad_file", "expected a list");
  problem(with("normalizer", R"({"type":"NFKC"})"), "unsupported", "NFKC");
  problem(with("normalizer", R"({"type":"Sequence","normalizers":[{"type":"Nmt"}]})"), "unsupported", "Nmt");
  problem(with("normalizer", R"({"type":"Replace","pattern":{"Regex":"x +"},"content":" "})"), "unsupported",
          "regular expression");
  problem(with("normalizer", R"({"type":"Prepend"})"), "bad_file", "\"prepend\"");
  problem(with("normalizer", "[]"), "bad_file", "expected an object");
  problem(with("pre_tokenizer", R"({"type":"UnicodeScripts"})"), "unsupported", "UnicodeScripts");
  problem(with("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated","invert":false})"),
          "unsupported", "\\\\w+");
  problem(with("pre_tokenizer", R"({"type":"Split","pattern":{"String":""},"behavior":"Isolated","invert":false})"),
          "unsupported", "empty");
  problem(with("pre_tokenizer", R"({"type":"Split","pattern":{"String":"x"},"behavior":"Odd"})"), "bad_file", "Odd");
  problem(with("pre_tokenizer", R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]})"),
          "unsupported", "last");
  problem(with("pre_tokenizer", R"({"type":"Metaspace","replacement":"_","prepend_scheme":"odd"})"), "bad_file", "odd");
  problem(with("decoder", R"({"type":"CTC"})"), "unsupported", "CTC");
  problem(with("decoder", R"({"type":"Strip","content":"","start":1,"stop":0})"), "bad_file", "Strip");
  problem(with("post_processor", R"({"type":"Odd"})"), "unsupported", "Odd");
  problem(with("post_processor", R"({"type":"TemplateProcessing","single":[],"special_tokens":{}})"), "unsupported",
          "exactly once");
  problem(with("post_processor",
               R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{}})"),
          "bad_file", "\"x\"");
  problem(
      with(
          "post_processor",
          R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[300]}}})"),
      "bad_file", "out of range");
}

TEST_CASE("a spoilt tokenizer file never crashes", "[text]") {
  const std::string good = small().json();
  for (std::size_t size = 0; size < good.size(); size += 97) {
    REQUIRE(has(failure([&] { tokenizer::from_json(good.substr(0, size)); }), "bad_file"));
  }
  std::uint32_t state = 11;
  for (int round = 0; round < 400; ++round) {
    std::string text = good;
    for (int i = 0; i < 3; ++i) {
      state = state * 1664525u + 1013904223u;
      text[(state >> 8) % text.size()] = "{}[]\",:0-9ax\\"[state % 13];
    }
    (void)failure([&] {
      const tokenizer t = tokenizer::from_json(text);
      (void)t.decode(t.encode(sample));
    });
  }
}
