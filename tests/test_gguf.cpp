// SPDX-License-Identifier: BSL-1.0
// Tests of GGUF: formats against the Python package `gguf`, models and vocabularies, writing, hostile files.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

#include <plumb/backend/reference.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/io/gguf_write.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/rollout/embed.hpp>
#include <plumb/text/gguf_vocabulary_write.hpp>

namespace fs = std::filesystem;
using plumb::errc;
using plumb::ggml_type;
using plumb::gguf_file;
using plumb::gguf_kind;
using plumb_test::failure;
using plumb_test::temporary_folder;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

fs::path golden(const char* name) { return plumb_test::repository() / "tests/golden/gguf" / name; }

std::vector<float> floats(const plumb::safetensors_file& file, const std::string& name) {
  std::vector<float> out(static_cast<std::size_t>(file.find(name)->elements));
  file.read(name, std::span<float>(out));
  return out;
}

/// How many numbers differ in any bit; NaN equals NaN.
std::size_t differences(std::span<const float> a, std::span<const float> b) {
  std::size_t out = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; out == 0 && i < a.size(); ++i)
    out += std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]) &&
           !(std::isnan(a[i]) && std::isnan(b[i]));
  return out;
}

/// A GGUF file in the making, to be damaged.
struct raw_gguf {
  std::string bytes = "GGUF";
  template <class Number>
  raw_gguf& put(Number x) {
    char raw[sizeof x];
    std::memcpy(raw, &x, sizeof x);
    bytes.append(raw, sizeof x);
    return *this;
  }
  raw_gguf& text(std::string_view t) {
    put(std::uint64_t{t.size()});
    bytes += t;
    return *this;
  }
  raw_gguf& head(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    return put(version).put(tensors).put(keys);
  }
  raw_gguf& tensor(std::string_view name, std::vector<std::uint64_t> sizes, std::uint32_t type, std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(sizes.size()));
    for (const auto s : sizes) put(s);
    return put(type).put(offset);
  }
  raw_gguf& pad(std::size_t data, std::size_t alignment = 32) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    bytes.resize(bytes.size() + data);
    return *this;
  }
};

std::string opening(const fs::path& path, const std::string& content) {
  plumb_test::write_file(path, content);
  return failure([&] { gguf_file::open(path); });
}

}  // namespace

TEST_CASE("every number format of GGUF is read to the bit", "[gguf]") {
  const auto file = gguf_file::open(golden("formats.gguf"));
  const auto expected = plumb::safetensors_file::open(golden("formats.safetensors"));
  CHECK(file.version() == 3);
  CHECK(file.tensors().size() == 11);
  for (const auto& tensor : file.tensors()) {
    INFO(tensor.name);
    CHECK(tensor.shape == expected.find(tensor.name)->shape);
    std::vector<float> found(static_cast<std::size_t>(tensor.elements));
    file.read(tensor, found);
    const auto wanted = floats(expected, std::string(tensor.name));
    CHECK(differences(found, wanted) == 0);
    found[5] = -found[5] + 1;  // the comparison must be able to fail
    CHECK(differences(found, wanted) != 0);
  }
}

TEST_CASE("Q8_0 is written as llama.cpp writes it", "[gguf]") {
  const auto golden_file = plumb::safetensors_file::open(golden("formats.safetensors"));
  const auto source = floats(golden_file, "source");
  const auto wanted = golden_file.bytes(*golden_file.find("source.Q8_0"));
  std::vector<std::byte> found(wanted.size());
  plumb::quantize(source, ggml_type::q8_0, found);
  CHECK(std::equal(found.begin(), found.end(), wanted.begin()));
  CHECK(has(failure([&] { plumb::quantize(source, ggml_type::q4_k, found); }), "unsupported"));
  CHECK(has(failure([&] { plumb::quantize(std::span(source).first(31), ggml_type::q8_0, found); }), "bad_argument"));
  std::vector<float> out(256);
  CHECK(has(failure([&] { plumb::dequantize(ggml_type::q2_k, std::vector<std::byte>(84), out); }), "unsupported"));
  CHECK(plumb::ggml_type_of("f16") == ggml_type::f16);
  CHECK(plumb::ggml_type_of("Q8_0") == ggml_type::q8_0);
  CHECK(!plumb::ggml_type_of("q9"));
}

TEST_CASE("metadata of every kind is read", "[gguf]") {
  const auto file = gguf_file::open(golden("formats.gguf"));
  CHECK(file.text("general.architecture") == "llama");
  CHECK(file.text("general.name") == "every format, é");
  CHECK(file.integer("test.u8") == 200);
  CHECK(file.integer("test.i8") == -100);
  CHECK(file.integer("test.u16") == 60000);
  CHECK(file.integer("test.i16") == -30000);
  CHECK(file.integer("test.u32") == 4000000000);
  CHECK(file.integer("test.i32") == -2000000000);
  CHECK(file.integer("test.i64") == -(std::int64_t{1} << 62));
  CHECK(file.number("test.f32") == 0.1f);
  CHECK(file.number("test.f64") == 0.1);
  CHECK(file.number("test.u64") == 9223372036854775808.0);
  CHECK(!file.find("test.u64")->integer());  // 63 bits cannot hold it
  CHECK(file.flag_or("test.true", false));
  CHECK_FALSE(file.flag_or("test.false", true));
  CHECK(file.flag_or("test.none", true));
  CHECK(file.integer_or("test.none", 5) == 5);
  std::vector<std::string> texts;
  for (const auto& v : file.find("test.texts")->list()) texts.emplace_back(v.text());
  CHECK(texts == std::vector<std::string>{"a", "", "ü€😀"});
  std::vector<double> numbers;
  for (const auto& v : file.find("test.numbers")->list()) numbers.push_back(v.number());
  for (const auto& v : file.find("test.floats")->list()) numbers.push_back(v.number());
  CHECK(numbers == std::vector<double>{1, -2, 3, 0.5, -1.5});
  CHECK(has(failure([&] { (void)file.text("test.u8"); }), "expected text, found u8"));
  CHECK(has(failure([&] { (void)file.integer("test.f32"); }), "expected an integer, found f32"));
  CHECK(has(failure([&] { (void)file.text("test.none"); }), "found none"));
}

TEST_CASE("damaged GGUF files are refused with the reason", "[gguf]") {
  const temporary_folder folder;
  const auto path = folder / "x.gguf";
  const auto good = [] { return raw_gguf().head(1, 0).tensor("a", {4}, 0, 0).pad(16).bytes; };
  CHECK(opening(path, good()) == "nothing");
  CHECK(has(opening(path, ""), "NotGguf"));
  CHECK(has(opening(path, "GGML" + good().substr(4)), "NotGguf"));
  CHECK(has(opening(path, raw_gguf().head(0, 0, 1).bytes), "version 1"));
  CHECK(has(opening(path, raw_gguf().head(0, 0, 0x03000000).bytes), "big-endian"));
  CHECK(has(opening(path, raw_gguf().head(std::uint64_t{1} << 60, 0).bytes), "InvalidCount"));
  CHECK(has(opening(path, raw_gguf().head(0, std::uint64_t{1} << 60).bytes), "InvalidCount"));
  CHECK(has(opening(path, raw_gguf().head(0, 1).text("").pad(64).bytes), "InvalidKey"));
  CHECK(has(opening(path, raw_gguf().head(0, 1).text("k").put(13u).pad(64).bytes), "InvalidValue"));
  CHECK(has(opening(path, raw_gguf().head(0, 1).text("k").put(9u).put(8u).put(~std::uint64_t{0}).pad(64).bytes),
            "InvalidCount"));
  CHECK(has(opening(path, raw_gguf().head(0, 1).text("k").put(8u).put(~std::uint64_t{0}).pad(64).bytes), "Truncated"));
  raw_gguf nested;
  nested.head(0, 1).text("k").put(9u);
  for (int i = 0; i < 6; ++i) nested.put(9u).put(std::uint64_t{1});
  CHECK(has(opening(path, nested.pad(64).bytes), "deeper than 4"));
  CHECK(has(opening(path, raw_gguf().head(0, 2).text("k").put(0u).put('a').text("k").put(0u).put('a').bytes),
            "DuplicateKey"));
  for (const std::uint32_t alignment : {0u, 3u, 1u << 30})
    CHECK(has(opening(path, raw_gguf().head(0, 1).text("general.alignment").put(4u).put(alignment).bytes),
              "InvalidAlignment"));
  CHECK(
      opening(
          path,
          raw_gguf().head(1, 1).text("general.alignment").put(4u).put(64u).tensor("a", {4}, 0, 0).pad(16, 64).bytes) ==
      "nothing");
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("", {4}, 0, 0).pad(16).bytes), "InvalidTensor"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {1, 1, 1, 1, 1}, 0, 0).pad(16).bytes), "InvalidShape"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {1ull << 40, 1ull << 40}, 0, 0).pad(16).bytes),
            "InvalidShape"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {1ull << 62}, 0, 0).pad(16).bytes), "InvalidShape"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {33}, 8, 0).pad(68).bytes), "InvalidShape"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {4}, 4, 0).pad(16).bytes), "unsupported"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {8}, 0, 0).pad(16).bytes), "Truncated"));
  CHECK(has(opening(path, raw_gguf().head(1, 0).tensor("a", {4}, 0, 32).pad(64).bytes), "there is a hole"));
  CHECK(
      has(opening(path, raw_gguf().head(1, 0).tensor("a", {4}, 0, ~std::uint64_t{0}).pad(64).bytes), "InvalidOffset"));
  CHECK(has(opening(path, raw_gguf().head(2, 0).tensor("a", {16}, 0, 0).tensor("b", {16}, 0, 32).pad(128).bytes),
            "overlaps"));
  CHECK(has(opening(path, raw_gguf().head(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).pad(64).bytes),
            "DuplicateTensor"));
  CHECK(has(opening(path, raw_gguf().head(0, 1).text("split.count").put(2u).put(std::uint16_t{3}).bytes),
            "gguf-split --merge"));
  CHECK(has(failure([&] { gguf_file::open(folder / "none.gguf"); }), "not_found"));
  CHECK(has(failure([&] { gguf_file::open(folder.path()); }), "a folder"));
  CHECK_FALSE(plumb::is_gguf(folder.path()));
  CHECK(plumb::is_gguf(golden("formats.gguf")));
  CHECK_FALSE(plumb::is_gguf(golden("formats.safetensors")));
}

TEST_CASE("every prefix and every mutation of a GGUF file gives an error or a valid load", "[gguf]") {
  const temporary_folder folder;
  const auto path = folder / "x.gguf";
  const std::string whole = plumb_test::read_file(golden("formats.gguf"));
  // Reads all that a file claims to have; anything but a plumb::error would end the test.
  const auto use = [&](std::string_view content) {
    plumb_test::write_file(path, std::string(content));
    return failure([&] {
      const auto file = gguf_file::open(path);
      for (const auto& entry : file.metadata())
        for (const auto& v : entry.value.list()) (void)v.number();
      for (const auto& tensor : file.tensors()) {
        std::vector<float> numbers(static_cast<std::size_t>(tensor.elements));
        file.read(tensor, numbers);
      }
    });
  };
  CHECK(use(whole) == "nothing");
  const auto last = gguf_file::open(path).tensors().back();
  const std::size_t used = last.begin + last.bytes;  // padding follows
  for (std::size_t size = 0; size < used; size += 1 + size / 64) CHECK(use(whole.substr(0, size)) != "nothing");
  std::mt19937 random(1);
  std::size_t refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string changed = whole;
    for (int k = 0, n = 1 + static_cast<int>(random() % 3); k < n; ++k) {
      const std::size_t at = random() % std::min<std::size_t>(whole.size(), 1600);
      switch (random() % 4) {
        case 0: changed[at] = static_cast<char>(random()); break;
        case 1: changed[at] = static_cast<char>(changed[at] ^ (1 << random() % 8)); break;
        case 2: changed.erase(at, random() % 9); break;
        default: changed.insert(at, std::string(random() % 9, static_cast<char>(random()))); break;
      }
    }
    refused += use(changed) != "nothing";
  }
  CHECK(refused > 2000);  // most changes of a header are errors
}

namespace {

/// Compares two stored models: configuration, names and every number to the bit.
void check_same(const plumb::named_weights& a, const plumb::named_weights& b) {
  const auto &x = a.config(), &y = b.config();
  CHECK(x.family == y.family);
  CHECK(x.hidden_size == y.hidden_size);
  CHECK(x.intermediate_size == y.intermediate_size);
  CHECK(x.layers == y.layers);
  CHECK(x.heads == y.heads);
  CHECK(x.kv_heads == y.kv_heads);
  CHECK(x.head_width == y.head_width);
  CHECK(x.vocabulary == y.vocabulary);
  CHECK(x.max_positions == y.max_positions);
  CHECK(x.norm_epsilon == y.norm_epsilon);
  CHECK(x.rope_theta == y.rope_theta);
  CHECK(x.local_rope_theta == y.local_rope_theta);
  CHECK(x.rope_scaling == y.rope_scaling);
  CHECK(x.windows == y.windows);
  CHECK(x.tied_head == y.tied_head);
  CHECK(x.attention_bias == y.attention_bias);
  CHECK(x.output_bias == y.output_bias);
  CHECK(x.query_norms == y.query_norms);
  CHECK(x.norms == y.norms);
  CHECK(x.norm_offset == y.norm_offset);
  CHECK(x.embedding_factor == y.embedding_factor);
  CHECK(x.attention_cap == y.attention_cap);
  CHECK(x.logit_cap == y.logit_cap);
  CHECK(x.gate == y.gate);
  CHECK(x.bos == y.bos);
  CHECK(x.eos == y.eos);
  REQUIRE(a.names() == b.names());
  for (const std::string& name : a.names()) {
    INFO(name);
    REQUIRE(a.shape(name) == b.shape(name));
    std::size_t count = 1;
    for (const auto size : a.shape(name)) count *= static_cast<std::size_t>(size);
    std::vector<float> p(count), q(count);
    a.read(name, p);
    b.read(name, q);
    CHECK(differences(p, q) == 0);
  }
}

void check_same_words(const plumb::tokenizer& a, const plumb::tokenizer& b) {
  CHECK(a.size() == b.size());
  for (const char* text : {"Once upon a time, there was a little girl named Lily.", " two  spaces",
                           "née Ünïcode 😀 日本", "", "x\n\ty", "1234 don't", "</s> <s>"}) {
    INFO(text);
    for (const bool special : {false, true}) CHECK(a.encode(text, special) == b.encode(text, special));
    CHECK(a.decode(a.encode(text)) == b.decode(b.encode(text)));
  }
}

}  // namespace

TEST_CASE("a real model's GGUF file is its folder, to the bit", "[gguf]") {
  const auto data = plumb_test::shared_data("stories260k");
  if (!data) SKIP("no ../shared/data beside the repository");
  const auto folder = plumb::open_model_files(*data / "hf");
  const auto file = plumb::open_model_files(*data / "stories260K-f32.gguf");
  check_same(*folder, *file);
  check_same_words(*folder->tokenizer(), *file->tokenizer());
  CHECK(file->tokenizer()->bos() == 1);
  CHECK(file->tokenizer()->eos() == 2);

  const temporary_folder out;
  plumb::write_gguf_model(*folder, out / "m.gguf", ggml_type::f32);
  const auto again = plumb::open_model_files(out / "m.gguf");
  check_same(*folder, *again);
  check_same_words(*folder->tokenizer(), *again->tokenizer());
  // Every tensor is stored as in the file that llama.cpp's own converter made, rows of queries and keys included.
  const auto theirs = gguf_file::open(*data / "stories260K-f32.gguf"), ours = gguf_file::open(out / "m.gguf");
  CHECK(theirs.tensors().size() - (theirs.find_tensor("output.weight") ? 1 : 0) == ours.tensors().size());
  for (const auto& tensor : ours.tensors()) {
    INFO(tensor.name);
    const auto* const other = theirs.find_tensor(tensor.name);
    REQUIRE(other != nullptr);
    const auto a = ours.bytes(tensor), b = theirs.bytes(*other);
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
  plumb::write_model_folder(*again, out / "hf", plumb::dtype::f32);
  check_same(*folder, *plumb::open_model_files(out / "hf"));
  check_same_words(*folder->tokenizer(), plumb::tokenizer::load(out / "hf"));

  for (const auto type : {ggml_type::f16, ggml_type::bf16, ggml_type::q8_0}) {
    const auto path = out / plumb::join(plumb::name(type), ".gguf");
    plumb::write_gguf_model(*folder, path, type);
    const auto rounded = plumb::open_model_files(path);
    CHECK(rounded->names() == folder->names());
    CHECK(gguf_file::open(path).find_tensor("blk.0.attn_q.weight")->type == type);
    CHECK(gguf_file::open(path).find_tensor("blk.0.attn_norm.weight")->type == ggml_type::f32);
    // Rows of 172 numbers fill no blocks of 32.
    CHECK(gguf_file::open(path).find_tensor("blk.0.ffn_down.weight")->type ==
          (type == ggml_type::q8_0 ? ggml_type::f16 : type));
    std::vector<float> p(64 * 64), q(64 * 64);
    folder->read("model.layers.0.self_attn.q_proj.weight", p);
    rounded->read("model.layers.0.self_attn.q_proj.weight", q);
    float most = 0, off = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      most = std::max(most, std::fabs(p[i]));
      off = std::max(off, std::fabs(p[i] - q[i]));
    }
    CHECK(off > 0);
    CHECK(off < most / 200);
  }
  CHECK(has(failure([&] { plumb::write_gguf_model(*folder, out / "x.gguf", ggml_type::q4_k); }), "plumb writes"));
  CHECK_FALSE(fs::exists(out / "x.gguf"));
}

TEST_CASE("every family that goes into a GGUF file comes back", "[gguf]") {
  const temporary_folder out;
  int written = 0;
  for (const auto& entry : fs::directory_iterator(plumb_test::repository() / "tests/golden/families")) {
    if (!fs::exists(entry.path() / "config.json")) continue;
    INFO(entry.path().string());
    const auto folder = plumb::open_model_files(entry.path());
    const auto path = out / plumb::join(entry.path().filename().string(), ".gguf");
    const auto refused = failure([&] { plumb::write_gguf_model(*folder, path, ggml_type::f32); });
    if (refused != "nothing") {
      // What llama.cpp fixes by the architecture and these small models do not follow, and what it has no place for.
      static const std::map<std::string, std::string> reasons{{"cohere2", "windows of attention"},
                                                              {"cohere_plus", "fewer than 64 layers"},
                                                              {"dbrx", "are not written as GGUF"},
                                                              {"jetmoe", "are not written as GGUF"},
                                                              {"falcon_40b", "without biases"},
                                                              {"falcon_serial", "without parts one after the other"},
                                                              {"gemma2", "scale of attention"},
                                                              {"gemma3", "windows of attention"},
                                                              {"gpt_neox_serial", "without maps that lack biases"},
                                                              {"gptj", "are not written as GGUF"},
                                                              {"olmoe", "clip_qkv"},
                                                              {"qwen2_moe", "layers that have no mixture"},
                                                              {"qwen3_moe", "layers that have no mixture"},
                                                              {"llama_dynamic", "scaling of rotary positions"},
                                                              {"opt", "are not written as GGUF"},
                                                              {"smollm3", "layers without positions"}};
      const auto reason = reasons.find(entry.path().filename().string());
      REQUIRE(reason != reasons.end());
      CHECK_THAT(refused, Catch::Contains(reason->second));
      CHECK(has(refused, "unsupported"));
      CHECK_FALSE(fs::exists(path));
      continue;
    }
    ++written;
    const auto back = plumb::open_model_files(path);
    CHECK(back->names() == folder->names());
    CHECK(back->config().rotary_width == folder->config().rotary_width);
    const auto& windows = folder->config().windows;
    if (windows.empty() || folder->config().family == "phi3") CHECK(back->config().windows == windows);
    if (!windows.empty())  // llama.cpp has no windows there: the file is the model of texts that none of them cuts
      CHECK(back->config().max_positions == *std::min_element(windows.begin(), windows.end()));
    if (windows.empty()) CHECK(back->config().usual_positions() == folder->config().usual_positions());
    CHECK(back->config().rope_scaling.long_factors.size() == folder->config().rope_scaling.long_factors.size());
    for (const std::string& name : folder->names()) {
      INFO(name);
      REQUIRE(back->shape(name) == folder->shape(name));
      std::size_t count = 1;
      for (const auto size : folder->shape(name)) count *= static_cast<std::size_t>(size);
      std::vector<float> p(count), q(count);
      folder->read(name, p);
      back->read(name, q);
      float off = 0;
      for (std::size_t i = 0; i < count; ++i) off = std::max(off, std::fabs(p[i] - q[i]));
      CHECK(off <= (folder->config().norm_offset != 0 && name.ends_with("norm.weight") ? 2e-7f : 0.0f));
    }
  }
  CHECK(written >= 21);
}

TEST_CASE("models that follow llama.cpp's rules go into a GGUF file and come back", "[gguf]") {
  // Numbers of published models at a tenth of their size: random weights, a folder, a file, and the same network.
  const temporary_folder out;
  const auto comes_back = [&](plumb::model_config c) {
    INFO(c.family);
    c.hidden_size = 24, c.intermediate_size = 32, c.layers = 7, c.heads = 3, c.head_width = 8, c.vocabulary = 19;
    if (c.kv_heads == 0) c.kv_heads = 1;
    c.max_positions = 64;
    plumb::save_model(plumb::make_model<plumb::reference>(c, std::nullopt), out / "hf");
    const auto folder = plumb::open_model_files(out / "hf");
    const auto path = out / (c.family + ".gguf");
    plumb::write_gguf_model(*folder, path, ggml_type::f32);
    check_same(*folder, *plumb::open_model_files(path));
    CHECK(plumb::open_model_files(path)->config().unturned == folder->config().unturned);
    CHECK(plumb::open_model_files(path)->config().one_norm == folder->config().one_norm);
    const auto logits = [&](const fs::path& from) {
      const auto model = plumb::load_model<plumb::reference, double>(from);
      return plumb::embed(model, std::vector<std::vector<plumb::token_id>>{{1, 2, 3, 4, 5, 6, 7, 8, 9}});
    };
    const auto a = logits(out / "hf"), b = logits(path);
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - b[i]) < 1e-5);
    CHECK(a != std::vector<double>(a.size(), a.front()));
  };
  const double size = std::sqrt(24.0);
  plumb::model_config gemma, cohere, smollm, falcon;
  gemma.family = "gemma2", gemma.norms = plumb::norm_place::both, gemma.norm_offset = 1;
  gemma.windows = {5, 0, 5, 0, 5, 0, 5}, gemma.tied_head = true, gemma.query_scale = 8, gemma.attention_cap = 50;
  gemma.logit_cap = 30, gemma.gate = plumb::activation::gelu_tanh, gemma.embedding_factor = size;
  comes_back(gemma);
  gemma.family = "gemma3_text", gemma.windows = {5, 5, 5, 5, 5, 0, 5}, gemma.attention_cap = gemma.logit_cap = 0;
  gemma.query_norms = plumb::query_norm::each_head, gemma.rope_theta = 1e6, gemma.local_rope_theta = 1e4;
  comes_back(gemma);
  cohere.family = "cohere2", cohere.windows = {5, 5, 5, 0, 5, 5, 5};
  cohere.unturned = {false, false, false, true, false, false, false};
  cohere.parallel = cohere.one_norm = cohere.tied_head = true, cohere.logit_factor = 0.25;
  comes_back(cohere);
  smollm.family = "smollm3";
  smollm.unturned = cohere.unturned, smollm.norm_epsilon = 1e-6;
  comes_back(smollm);
  falcon.family = "falcon", falcon.kv_heads = 3, falcon.parallel = true;
  falcon.gate = plumb::activation::gelu;
  comes_back(falcon);  // two norms, which llama.cpp calls in another order
  plumb::model_config qwen;
  qwen.experts = {.count = 5, .chosen = 2, .width = 12, .shared_width = 20, .shared_weights = false};
  qwen.family = "qwen2_moe", qwen.attention_bias = true;
  comes_back(qwen);
  qwen.family = "qwen3_moe", qwen.attention_bias = false, qwen.query_norms = plumb::query_norm::each_head;
  qwen.experts.shared_width = 0, qwen.experts.shared_weights = true;
  comes_back(qwen);
  qwen.family = "olmoe", qwen.query_norms = plumb::query_norm::all_heads;
  qwen.experts.width = 32, qwen.experts.shared_weights = false, qwen.experts.loss_factor = 0.01, qwen.kv_heads = 3;
  comes_back(qwen);
  qwen.kv_heads = 1;
  CHECK_THAT(failure([&] { comes_back(qwen); }), Catch::Contains("num_key_value_heads"));
  qwen.kv_heads = 3;
  qwen.experts.shared_weights = true;
  CHECK_THAT(failure([&] { comes_back(qwen); }), Catch::Contains("norm_topk_prob"));
}

TEST_CASE("experts lie in stacks in a GGUF file, and each comes out packed as it lay there", "[gguf]") {
  const temporary_folder out;
  const auto source = plumb_test::repository() / "tests/golden/families/mixtral";
  auto folder = plumb::open_model_files(source);
  plumb::write_gguf_model(*folder, out / "m.gguf", ggml_type::f16);
  const auto file = plumb::gguf_file::open(out / "m.gguf");
  using sizes = std::vector<plumb::index_t>;
  REQUIRE(file.find_tensor("blk.1.ffn_down_exps.weight") != nullptr);
  CHECK(file.find_tensor("blk.1.ffn_down_exps.weight")->shape == sizes{4, 24, 16});
  CHECK(file.find_tensor("blk.1.ffn_gate_exps.weight")->shape == sizes{4, 16, 24});
  CHECK(file.find_tensor("blk.0.ffn_gate_inp.weight")->type == ggml_type::f32);  // llama.cpp keeps routers in full
  CHECK(file.integer("llama.expert_count") == 4);
  CHECK(file.integer("llama.expert_used_count") == 2);
  // Expert 2's map lies in the third quarter of its tensor.
  const std::string name = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
  const auto model = plumb::gguf_model::open(out / "m.gguf");
  std::vector<float> whole(4 * 16 * 24), own(16 * 24);
  file.read(*file.find_tensor("blk.1.ffn_up_exps.weight"), whole);
  model.read(name, own);
  CHECK(std::equal(own.begin(), own.end(), whole.begin() + 2 * 16 * 24));
  REQUIRE(model.packed_format_of(name) == plumb::packed_format::f16);
  std::vector<float> unpacked(own.size());
  plumb::unpack(model.read_packed(name).what, unpacked);
  CHECK(unpacked == own);
  CHECK_THAT(failure([&] { file.read_part(*file.find_tensor("blk.1.ffn_up_exps.weight"), 4 * 16 * 24 - 1, own); }),
             Catch::Contains("expected 384 from number"));

  // A file whose count of experts is not its tensors'.
  plumb::gguf_metadata about;
  about.text("general.architecture", "llama");
  for (const auto& [key, value] :
       {std::pair("context_length", 8), std::pair("embedding_length", 4), std::pair("block_count", 1),
        std::pair("feed_forward_length", 4), std::pair("attention.head_count", 1), std::pair("expert_count", 3),
        std::pair("expert_used_count", 2)})
    about.u32(plumb::join("llama.", key), value);
  const std::vector<plumb::gguf_output> tensors{{"token_embd.weight", ggml_type::f32, {5, 4}},
                                                {"blk.0.ffn_up_exps.weight", ggml_type::f32, {2, 4, 4}}};
  plumb::write_gguf(out / "few.gguf", about, tensors, [](std::size_t, std::span<float>) {});
  CHECK_THAT(failure([&] { (void)plumb::gguf_model::open(out / "few.gguf"); }),
             Catch::Contains("ffn_up_exps") && Catch::Contains("expected 3 experts"));
}

TEST_CASE("a LoRA adapter goes into the file that llama.cpp applies", "[gguf]") {
  const auto data = plumb_test::shared_data("stories260k");
  if (!data) SKIP("no ../shared/data beside the repository");
  const temporary_folder out;
  const auto base = plumb::open_model_files(*data / "stories260K-f32.gguf");
  plumb::write_gguf_adapter(*data / "lora_init", *base, out / "a.gguf", ggml_type::f32);
  const auto file = gguf_file::open(out / "a.gguf");
  CHECK(file.text("general.type") == "adapter");
  CHECK(file.text("adapter.type") == "lora");
  CHECK(file.number("adapter.lora.alpha") == 8);
  CHECK(file.tensors().size() == 20);
  const auto source = plumb::safetensors_file::open(*data / "lora_init" / "adapter_model.safetensors");
  const auto* const a = file.find_tensor("blk.2.attn_q.weight.lora_a");
  REQUIRE(a != nullptr);
  CHECK(a->shape == std::vector<plumb::index_t>{4, 64});
  std::vector<float> found(4 * 64);
  file.read(*a, found);
  CHECK(differences(found, floats(source, "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight")) == 0);
  CHECK(file.find_tensor("blk.4.attn_v.weight.lora_b")->shape == std::vector<plumb::index_t>{32, 4});
  CHECK(has(failure([&] { plumb::open_model_files(out / "a.gguf"); }), "type \"adapter\""));
}

TEST_CASE("an adapter's rows are put in llama.cpp's order, and its scale is the adapter's own", "[gguf]") {
  const auto data = plumb_test::shared_data("stories260k");
  if (!data) SKIP("no ../shared/data beside the repository");
  const temporary_folder out;
  const auto base = plumb::open_model_files(*data / "hf");
  const auto trained = plumb_test::repository() / "tests/golden/stories_adapter";
  const auto source = plumb::safetensors_file::open(trained / "adapter_model.safetensors");
  const std::string module = "base_model.model.model.layers.1.self_attn.q_proj";
  REQUIRE(source.find(module + ".lora_B.weight") != nullptr);
  const auto b = floats(source, module + ".lora_B.weight");
  const auto rank = static_cast<std::size_t>(source.find(module + ".lora_B.weight")->shape[1]);
  CHECK(std::any_of(b.begin(), b.end(), [](float x) { return x != 0; }));

  fs::create_directory(out / "stabilised");
  std::string config = plumb_test::read_file(trained / "adapter_config.json");
  const std::size_t at = config.find("\"use_rslora\": false");
  REQUIRE(at != std::string::npos);
  config.replace(at, 19, "\"use_rslora\": true");
  plumb_test::write_file(out / "stabilised/adapter_config.json", config);
  fs::copy_file(trained / "adapter_model.safetensors", out / "stabilised/adapter_model.safetensors");

  for (const bool stabilised : {false, true}) {
    const auto path = out / (stabilised ? "s.gguf" : "p.gguf");
    plumb::write_gguf_adapter(stabilised ? out / "stabilised" : trained, *base, path, ggml_type::f32);
    const auto file = gguf_file::open(path);
    const auto* const stored = file.find_tensor("blk.1.attn_q.weight.lora_b");
    REQUIRE(stored != nullptr);
    std::vector<float> found(b.size());
    file.read(*stored, found);
    const float factor = stabilised ? std::sqrt(static_cast<float>(rank)) : 1.0f;
    // 8 heads of width 8: row 8 h + 2 i + side of the file is row 8 h + 4 side + i of the hub.
    std::size_t wrong = 0;
    for (std::size_t h = 0; h < 8; ++h)
      for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t side = 0; side < 2; ++side)
          for (std::size_t k = 0; k < rank; ++k)
            wrong += std::fabs(found[(8 * h + 2 * i + side) * rank + k] -
                               factor * b[(8 * h + 4 * side + i) * rank + k]) > 1e-7f;
    CHECK(wrong == 0);
  }
  CHECK(has(failure([&] {
              plumb::write_gguf_adapter(trained,
                                        *plumb::open_model_files(plumb_test::repository() / "tests/golden/tiny_llama"),
                                        out / "x.gguf", ggml_type::f32);
            }),
            "bad_model"));
}

TEST_CASE("vocabularies survive a GGUF file", "[gguf]") {
  const temporary_folder out;
  const auto files = plumb_test::repository() / "tests/golden/tokenizer_files";
  for (const char* name : {"small.tiktoken", "bpe_bytes.model"}) {
    INFO(name);
    const auto words = plumb::tokenizer::load(files / name);
    plumb::gguf_metadata metadata;
    metadata.text("general.architecture", "llama");
    plumb::write_gguf_vocabulary(words, words.size() + 5, metadata, name);
    plumb::write_gguf(out / "v.gguf", metadata, {}, [](std::size_t, std::span<float>) {});
    const auto again = plumb::tokenizer::load(out / "v.gguf");
    CHECK(again.size() == words.size() + 5);
    CHECK(again.token(again.size() - 1) == plumb::join("[PAD", again.size() - 1, "]"));
    for (const char* text :
         {"The reference is the policy with the adapter off.", " two  spaces", "née 😀 日本", "", "\n\t"})
      for (const bool special : {false, true}) CHECK(words.encode(text, special) == again.encode(text, special));
  }
  for (const char* name : {"unigram.json", "word_piece.json"}) {
    plumb::gguf_metadata metadata;
    const auto words = plumb::tokenizer::load(files / name);
    CHECK(has(failure([&] { plumb::write_gguf_vocabulary(words, 0, metadata, name); }), "unsupported"));
  }
}

TEST_CASE("a model file with any damage is refused or loads as what it says", "[gguf]") {
  const temporary_folder out;
  plumb::gguf_metadata metadata;
  metadata.text("general.architecture", "llama").u32("llama.context_length", 64).u32("llama.embedding_length", 8);
  metadata.u32("llama.block_count", 1).u32("llama.feed_forward_length", 16).u32("llama.attention.head_count", 2);
  metadata.u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
  metadata.u32("llama.rope.dimension_count", 4).f32("llama.rope.freq_base", 10000);
  metadata.text("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 2);
  const auto words = plumb::tokenizer::load(plumb_test::repository() / "tests/golden/tokenizer_files/bpe_bytes.model");
  plumb::write_gguf_vocabulary(words, words.size(), metadata, "words");
  const std::vector<plumb::gguf_output> tensors{{"token_embd.weight", ggml_type::f16, {words.size(), 8}},
                                                {"blk.0.attn_q.weight", ggml_type::f32, {8, 8}},
                                                {"blk.0.attn_k.weight", ggml_type::f32, {4, 8}},
                                                {"rope_freqs.weight", ggml_type::f32, {2}}};
  plumb::write_gguf(out / "m.gguf", metadata, tensors,
                    [](std::size_t, std::span<float> x) { std::fill(x.begin(), x.end(), 1.0f); });
  const std::string whole = plumb_test::read_file(out / "m.gguf");
  const auto use = [&](const std::string& content) {
    plumb_test::write_file(out / "x.gguf", content);
    return failure([&] {
      const auto model = plumb::open_model_files(out / "x.gguf");
      for (const std::string& name : model->names()) {
        std::size_t count = 1;
        for (const auto size : model->shape(name)) count *= static_cast<std::size_t>(size);
        std::vector<float> numbers(count);
        model->read(name, numbers);
      }
      if (const auto found = model->tokenizer()) (void)found->decode(found->encode("The policy, née 日本"));
    });
  };
  CHECK(use(whole) == "nothing");
  std::mt19937 random(3);
  std::size_t refused = 0;
  const std::size_t head = whole.size() - static_cast<std::size_t>(words.size()) * 16 - 512;
  for (int i = 0; i < 2000; ++i) {
    std::string changed = whole;
    for (int k = 0, n = 1 + static_cast<int>(random() % 2); k < n; ++k) {
      const std::size_t at = random() % (i % 2 == 0 ? 700 : head);
      if (random() % 3 == 0)
        changed.erase(at, random() % 9);
      else
        changed[at] = static_cast<char>(random());
    }
    refused += use(changed) != "nothing";
  }
  CHECK(refused > 800);
}
