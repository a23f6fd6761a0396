// SPDX-License-Identifier: BSL-1.0
// The vocabulary in a GGUF file as a tokenizer. Collected by plumb/impl.hpp.
#pragma once

#include <string_view>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0::detail {

/// "tokenizer.ggml.token_type": what a token is for.
enum class gguf_token { none, normal, unknown, control, user_defined, unused, byte };

/// A named way to cut words ("tokenizer.ggml.pre"), and whether whole words that are tokens skip the merges.
struct gguf_pre_tokenizer {
  std::string_view name;
  std::string_view pattern;
  bool ignore_merges = false;
  bool single_digits = false;  // numbers are cut into digits first
};

inline constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view llama3_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view gpt4o_words =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view tekken_words =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The names that llama.cpp gives to ways of cutting words. Files without a name, or with "default", were made before
/// the names existed, when all byte-level models were cut as GPT-2.
inline constexpr gguf_pre_tokenizer gguf_pre_tokenizers[] = {
    {"gpt-2", gpt2_words},
    {"default", gpt2_words},
    {"phi-2", gpt2_words},
    {"mpt", gpt2_words},
    {"olmo", gpt2_words},
    {"jais", gpt2_words},
    {"roberta-bpe", gpt2_words},
    {"exaone4", gpt2_words},
    {"llama-bpe", llama3_words, true},
    {"llama3", llama3_words, true},
    {"llama-v3", llama3_words, true},
    {"dbrx", llama3_words},
    {"smaug-bpe", llama3_words},
    {"qwen2", qwen2_words},
    {"deepseek-r1-qwen", qwen2_words},
    {"stablelm2", qwen2_words},
    {"megrez", qwen2_words},
    {"gpt-4o", gpt4o_words},
    {"tekken", tekken_words, true},
    {"smollm", gpt2_words, false, true},
    {"starcoder", gpt2_words, false, true},
    {"refact", gpt2_words, false, true},
    {"command-r", gpt2_words, false, true},
    {"codeshell", gpt2_words, false, true},
};

inline const gguf_pre_tokenizer& gguf_words(const gguf_file& file) {
  const std::string name = file.text_or("tokenizer.ggml.pre", "default");
  for (const auto& row : gguf_pre_tokenizers)
    if (row.name == name) return row;
  throw error(
      errc::unsupported, file.path().string(),
      join("the way of cutting words \"", name,
           "\" (tokenizer.ggml.pre) is not known; put the model's tokenizer.json beside the file and give that"));
}

/// An array of the metadata, or nothing when there is none; `bad_file` when it holds something else.
inline std::vector<gguf_value> gguf_list(const gguf_file& file, std::string_view key, bool texts,
                                         std::size_t size = 0) {
  const gguf_value* const v = file.find(key);
  if (v == nullptr) return {};
  const bool right = v->is_array() && (v->items == gguf_kind::text) == texts && v->items != gguf_kind::array;
  if (!right || (size > 0 && v->count != size))
    throw error(errc::bad_file, file.path().string(),
                join("key \"", key, "\": expected a list of ", texts ? "texts" : "numbers",
                     size > 0 ? join(", ", size, " of them") : std::string(), ", found ",
                     v->is_array() ? join(v->count, " values of kind ", plumb::name(v->items))
                                   : std::string(plumb::name(v->kind))));
  return v->list();
}

tokenizer_source read_gguf_vocabulary(const gguf_file& file) {
  const std::string place = file.path().string();
  const std::string model = file.text("tokenizer.ggml.model");
  const bool bytes = model == "gpt2";
  if (!bytes && model != "llama")
    throw error(errc::unsupported, place,
                join("the tokenizer model \"", model,
                     "\" (tokenizer.ggml.model) is not read; plumb reads gpt2 and "
                     "llama; put the model's tokenizer.json beside the file and give that"));
  const auto tokens = gguf_list(file, "tokenizer.ggml.tokens", true);
  if (tokens.empty()) throw error(errc::bad_file, place, "expected \"tokenizer.ggml.tokens\", found none");
  const auto types = gguf_list(file, "tokenizer.ggml.token_type", false, tokens.size());

  std::vector<std::string> pieces(tokens.size());
  json::array added;
  const auto type_of = [&](std::size_t i) {
    const auto number = types.empty() ? 1 : types[i].integer().value_or(0);
    return number >= 0 && number <= 6 ? static_cast<gguf_token>(number) : gguf_token::none;
  };
  std::optional<token_id> unknown;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i] = tokens[i].text();
    if (first_invalid_utf8(pieces[i]) != pieces[i].size())
      throw error(errc::bad_file, place, join("token ", i, " of \"tokenizer.ggml.tokens\" is not UTF-8"));
    const auto type = type_of(i);
    if (type == gguf_token::unknown && !unknown) unknown = static_cast<token_id>(i);
    if (pieces[i].empty()) continue;
    if (type == gguf_token::control || type == gguf_token::unknown || type == gguf_token::user_defined)
      added.push_back(added_token_json(pieces[i], static_cast<token_id>(i), type != gguf_token::user_defined));
  }
  const auto named = [&](const char* key) -> std::optional<token_id> {
    const auto id = file.integer_or(key, -1);
    if (id < 0) return std::nullopt;
    if (static_cast<std::size_t>(id) >= pieces.size() || pieces[static_cast<std::size_t>(id)].empty())
      throw error(errc::bad_file, place, join("key \"", key, "\": there is no token ", id));
    return static_cast<token_id>(id);
  };

  tokenizer_source out;
  out.bos = named("tokenizer.ggml.bos_token_id");
  out.eos = named("tokenizer.ggml.eos_token_id");
  out.pad = named("tokenizer.ggml.padding_token_id");
  out.chat_template = file.text_or("tokenizer.chat_template", "");
  if (const auto given = named("tokenizer.ggml.unknown_token_id")) unknown = given;

  json::object document{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json::object bpe{{"type", "BPE"},     {"dropout", nullptr},     {"unk_token", nullptr},
                   {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}};
  bool first = false, last = file.flag_or("tokenizer.ggml.add_eos_token", false);
  if (bytes) {
    const auto& words = gguf_words(file);
    first = file.flag_or("tokenizer.ggml.add_bos_token", words.ignore_merges && words.pattern == llama3_words);
    json::array merges;
    for (const auto& merge : gguf_list(file, "tokenizer.ggml.merges", true)) merges.push_back(json_text(merge.text()));
    bpe["merges"] = std::move(merges);
    bpe["ignore_merges"] = words.ignore_merges;
    json::object cut = byte_level_json(words.pattern);
    if (words.single_digits) {
      auto& steps = cut["pretokenizers"].as_array();
      steps.insert(steps.begin(), json::object{{"type", "Digits"}, {"individual_digits", true}});
    }
    document["normalizer"] = nullptr;
    document["pre_tokenizer"] = std::move(cut);
    document["decoder"] = json::object{{"type", "ByteLevel"}};
  } else {
    first = file.flag_or("tokenizer.ggml.add_bos_token", true);
    const auto scores = gguf_list(file, "tokenizer.ggml.scores", false, pieces.size());
    if (scores.empty()) throw error(errc::bad_file, place, "expected \"tokenizer.ggml.scores\", found none");
    std::vector<float> numbers;
    bool has_bytes = false;
    std::vector<std::string> plain = pieces;  // control tokens and bytes are never put together
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      numbers.push_back(static_cast<float>(scores[i].number()));
      const auto type = type_of(i);
      has_bytes = has_bytes || type == gguf_token::byte;
      if (type == gguf_token::control || type == gguf_token::unknown || type == gguf_token::byte) plain[i].clear();
    }
    out.merges = implied_merges(plain, order_of_scores(numbers));
    bpe["merges"] = merges_json(pieces, out.merges);
    if (unknown) bpe["unk_token"] = json_text(pieces[static_cast<std::size_t>(*unknown)]);
    bpe["fuse_unk"] = true;
    bpe["byte_fallback"] = has_bytes;
    const bool space = file.flag_or("tokenizer.ggml.add_space_prefix", true);
    json::array rewrite;
    if (space) rewrite.push_back(json::object{{"type", "Prepend"}, {"prepend", "\u2581"}});
    rewrite.push_back(replace_json(" ", "\u2581"));
    document["normalizer"] = json::object{{"type", "Sequence"}, {"normalizers", std::move(rewrite)}};
    document["pre_tokenizer"] = nullptr;
    json::array back{replace_json("\u2581", " "), json::object{{"type", "ByteFallback"}},
                     json::object{{"type", "Fuse"}}};
    if (space) back.push_back(json::object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    document["decoder"] = json::object{{"type", "Sequence"}, {"decoders", std::move(back)}};
  }
  bpe["vocab"] = vocabulary_json(pieces);
  document["added_tokens"] = std::move(added);
  document["post_processor"] = template_json(pieces, first ? out.bos : std::nullopt, last ? out.eos : std::nullopt);
  document["model"] = std::move(bpe);
  out.document = std::move(document);
  return out;
}

}  // namespace plumb::inline v0::detail
