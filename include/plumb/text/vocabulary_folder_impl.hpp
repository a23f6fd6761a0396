// SPDX-License-Identifier: BSL-1.0
// Folders without a tokenizer.json: older files of the hub that say the same. Collected by plumb/impl.hpp.
#pragma once

#include <filesystem>
#include <system_error>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/text/gguf_vocabulary_impl.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0::detail {

/// tokenizer_config.json of the folder, or an empty object.
inline json::value folder_config(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer_config.json";
  std::error_code failed;
  if (!std::filesystem::exists(path, failed)) return json::object();
  json::value out = json::parse_file(path);
  (void)json::as_object(out, "a tokenizer_config.json", path.string());
  return out;
}

/// The tokens that tokenizer_config.json ("added_tokens_decoder") and added_tokens.json add, as "added_tokens".
inline void add_listed_tokens(const std::filesystem::path& folder, const json::object& config, json::array& added) {
  const auto known = [&](std::int64_t id) {
    for (const json::value& item : added)
      if (item.get_object().at("id").to_number<std::int64_t>() == id) return true;
    return false;
  };
  const std::string place = (folder / "tokenizer_config.json").string();
  if (const json::value* const list = json::find(config, "added_tokens_decoder"))
    for (const auto& member : json::as_object(*list, "\"added_tokens_decoder\"", place)) {
      json::object entry = json::as_object(member.value(), "an added token", place);
      std::int64_t id = -1;
      const std::string_view key(member.key().data(), member.key().size());
      const auto [end, failed] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (failed != std::errc() || end != key.data() + key.size() || id < 0)
        throw error(errc::bad_file, place, "\"added_tokens_decoder\": expected token numbers as keys");
      if (known(id)) continue;
      entry["id"] = id;
      added.push_back(std::move(entry));
    }
  std::error_code failed;
  if (const auto path = folder / "added_tokens.json"; std::filesystem::exists(path, failed)) {
    const json::value parsed = json::parse_file(path);
    for (const auto& member : json::as_object(parsed, "an added_tokens.json", path.string())) {
      const auto id = json::as<token_id>(member.value(), "an added token", path.string());
      if (!known(id))
        added.push_back(added_token_json(std::string_view(member.key().data(), member.key().size()), id, false));
    }
  }
}

/// vocab.json and merges.txt (or encoder.json and vocab.bpe): byte-level BPE.
inline tokenizer_source read_vocabulary_and_merges(const std::filesystem::path& folder,
                                                   const std::filesystem::path& vocabulary,
                                                   const std::filesystem::path& merges) {
  const json::value config = folder_config(folder);
  auto type = json::get_or<std::string>(config.get_object(), "tokenizer_class", "GPT2Tokenizer", folder.string());
  if (type.ends_with("Fast")) type.resize(type.size() - 4);
  const bool qwen = type == "Qwen2Tokenizer";
  if (!qwen && type != "GPT2Tokenizer")
    throw error(errc::unsupported, folder.string(),
                join("vocab.json and merges.txt of a ", type, ": plumb knows what such files leave out for ",
                     "GPT2Tokenizer and Qwen2Tokenizer; in Python, save_pretrained of a fast tokenizer writes a "
                     "tokenizer.json that says all"));
  const json::value parsed = json::parse_file(vocabulary);
  const auto& words = json::as_object(parsed, "a vocabulary", vocabulary.string());
  json::array pairs;
  const std::string text = read_file(merges);
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) pairs.push_back(json_text(line));
  }
  tokenizer_source out;
  json::array added;
  add_listed_tokens(folder, config.get_object(), added);
  if (const json::value* const end = json::find(words, "<|endoftext|>"); end != nullptr && added.empty()) {
    out.eos = json::as<token_id>(*end, "\"<|endoftext|>\"", vocabulary.string());
    added.push_back(added_token_json("<|endoftext|>", *out.eos, true));
  }
  json::object bpe{{"type", "BPE"},     {"dropout", nullptr},        {"unk_token", nullptr},
                   {"fuse_unk", false}, {"byte_fallback", false},    {"ignore_merges", false},
                   {"vocab", words},    {"merges", std::move(pairs)}};
  out.document = {{"version", "1.0"},
                  {"truncation", nullptr},
                  {"padding", nullptr},
                  {"added_tokens", std::move(added)},
                  {"normalizer", qwen ? json::value(json::object{{"type", "NFC"}}) : json::value(nullptr)},
                  {"pre_tokenizer", byte_level_json(qwen ? qwen2_words : gpt2_words)},
                  {"post_processor", nullptr},
                  {"decoder", json::object{{"type", "ByteLevel"}}},
                  {"model", std::move(bpe)}};
  return out;
}

/// tokenizer.model in a model folder: tokenizer_config.json says what the file leaves out.
inline tokenizer_source read_model_of_folder(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.model";
  const std::string text = read_file(path), place = path.string();
  const json::value config = folder_config(folder);
  const auto& about = config.get_object();
  const auto type = json::get_or<std::string>(about, "tokenizer_class", "", place);
  tokenizer_source out = is_tiktoken(text) ? read_tiktoken(text, place) : read_sentencepiece(text, place);
  if (!is_tiktoken(text)) {
    const bool llama = type.starts_with("Llama") || type.starts_with("Gemma") || type.starts_with("CodeLlama");
    const bool first = json::get_or<bool>(about, "add_bos_token", llama, place);
    const bool last = json::get_or<bool>(about, "add_eos_token", type.starts_with("T5"), place);
    std::vector<std::string> names(static_cast<std::size_t>(std::max(out.bos.value_or(-1), out.eos.value_or(-1)) + 1));
    if (out.bos) names[static_cast<std::size_t>(*out.bos)] = "<s>";
    if (out.eos) names[static_cast<std::size_t>(*out.eos)] = "</s>";
    for (const json::value& item : out.document.at("added_tokens").get_array()) {  // Gemma calls them <bos> and <eos>
      const auto& token = item.get_object();
      const auto id = token.at("id").to_number<token_id>();
      const auto& content = token.at("content").get_string();
      const auto named = [&](const char* key) {
        const json::value* v = json::find(about, key);
        if (v != nullptr && v->is_object()) v = json::find(v->get_object(), "content");
        return v != nullptr && v->is_string() && v->get_string() == content;
      };
      if (!named("bos_token") && !named("eos_token")) continue;
      (named("bos_token") ? out.bos : out.eos) = id;
      if (static_cast<std::size_t>(id) >= names.size()) names.resize(static_cast<std::size_t>(id) + 1);
      names[static_cast<std::size_t>(id)] = std::string(content.data(), content.size());
    }
    out.document["post_processor"] =
        template_json(names, first ? out.bos : std::nullopt, last ? out.eos : std::nullopt);
  }
  add_listed_tokens(folder, about, out.document["added_tokens"].as_array());
  return out;
}

/// The vocabulary of a folder in an older form, or nothing when there is none.
inline std::optional<tokenizer_source> read_vocabulary_folder(const std::filesystem::path& folder) {
  std::error_code failed;
  const auto there = [&](const char* name) { return std::filesystem::exists(folder / name, failed); };
  if (there("tokenizer.model")) return read_model_of_folder(folder);
  if (there("vocab.json") && there("merges.txt"))
    return read_vocabulary_and_merges(folder, folder / "vocab.json", folder / "merges.txt");
  if (there("encoder.json") && there("vocab.bpe"))
    return read_vocabulary_and_merges(folder, folder / "encoder.json", folder / "vocab.bpe");
  return std::nullopt;
}

}  // namespace plumb::inline v0::detail
