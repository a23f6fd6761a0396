// SPDX-License-Identifier: BSL-1.0
// The bodies of text/tokenizer.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/gguf_vocabulary_impl.hpp>
#include <plumb/text/sentencepiece_impl.hpp>
#include <plumb/text/tiktoken_impl.hpp>
#include <plumb/text/tokenizer.hpp>
#include <plumb/text/tokenizer_data.hpp>
#include <plumb/text/tokenizer_source_impl.hpp>
#include <plumb/text/vocabulary_folder_impl.hpp>

namespace plumb::inline v0 {

tokenizer tokenizer::load(const std::filesystem::path& folder_or_file) {
  std::error_code failed;
  if (std::filesystem::is_directory(folder_or_file, failed)) {
    if (auto found = find(folder_or_file)) return std::move(*found);
    throw error(errc::not_found, folder_or_file.string(),
                "expected a tokenizer.json in the folder (or tokenizer.model, or vocab.json and merges.txt), found "
                "none; in Python, save_pretrained of a fast tokenizer writes it");
  }
  const std::string place = folder_or_file.string();
  if (is_gguf(folder_or_file)) return from_gguf(gguf_file::open(folder_or_file));
  std::string text = read_file(folder_or_file);
  if (detail::is_tiktoken(text)) return from_source(detail::read_tiktoken(text, place), place);
  if (folder_or_file.extension() == ".model") return from_source(detail::read_sentencepiece(text, place), place);
  tokenizer result = from_json(std::move(text), place);
  const auto config = folder_or_file.parent_path() / "tokenizer_config.json";
  if (std::filesystem::exists(config, failed)) result.read_config(read_file(config), config.string());
  return result;
}

std::optional<tokenizer> tokenizer::find(const std::filesystem::path& folder) {
  std::error_code failed;
  if (std::filesystem::exists(folder / "tokenizer.json", failed)) return load(folder / "tokenizer.json");
  auto source = detail::read_vocabulary_folder(folder);
  if (!source) return std::nullopt;
  tokenizer result = from_source(std::move(*source), folder.string());
  const auto config = folder / "tokenizer_config.json";
  if (std::filesystem::exists(config, failed)) {
    const auto bos = result.bos_, eos = result.eos_, pad = result.pad_;
    result.read_config(read_file(config), config.string());
    if (!result.bos_) result.bos_ = bos;
    if (!result.eos_) result.eos_ = eos;
    if (!result.pad_) result.pad_ = pad;
  }
  return result;
}

tokenizer tokenizer::from_json(std::string text, const std::string& place) {
  tokenizer result;
  result.data_ = detail::read_tokenizer(std::move(text), place);
  return result;
}

tokenizer tokenizer::from_source(detail::tokenizer_source source, const std::string& place) {
  tokenizer result;
  result.data_ = detail::read_tokenizer(json::dump(source.document, 2) + "\n", place, source.merges);
  result.bos_ = source.bos;
  result.eos_ = source.eos;
  result.pad_ = source.pad;
  if (!source.chat_template.empty())
    result.config_ = json::dump(json::object{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                             {"chat_template", detail::json_text(source.chat_template)}});
  return result;
}

tokenizer tokenizer::from_gguf(const gguf_file& file) {
  if (file.find("tokenizer.ggml.model") == nullptr)
    throw error(errc::not_found, file.path().string(), "the file has no tokenizer (no key \"tokenizer.ggml.model\")");
  return from_source(detail::read_gguf_vocabulary(file), file.path().string());
}

std::vector<token_id> tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<token_id> out;
  if (add_special) out = data_->before;
  std::string mended;
  if (first_invalid_utf8(text) != text.size()) text = mended = to_valid_utf8(text);
  data_->raw_finder.split(
      text, [&](std::string_view gap) { encode_gap(gap, gap.data() == text.data(), out); },
      [&](const detail::added_token& token) { out.push_back(token.id); });
  if (add_special) out.insert(out.end(), data_->after.begin(), data_->after.end());
  return out;
}

std::string tokenizer::decode(std::span<const token_id> ids, bool skip_special) const {
  detail::token_texts texts;
  for (const token_id id : ids) {
    if (id < 0 || id >= size() || token(id).empty() || (skip_special && is_special(id))) continue;
    texts.emplace_back(token(id));
  }
  if (texts.empty()) return {};
  for (const auto& step : data_->decoder) {
    std::visit([&](const auto& s) { s.apply(texts); }, step);
  }
  std::string out;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0 && data_->decoder.empty()) out += ' ';  // without a decoder, tokens are words
    out += texts[i];
  }
  return out;
}

index_t tokenizer::size() const noexcept { return static_cast<index_t>(data_->words.tokens.size()); }

std::optional<token_id> tokenizer::id_of(std::string_view text) const { return data_->words.find(text); }

std::string_view tokenizer::token(token_id id) const {
  check(id);
  return data_->words.tokens[static_cast<std::size_t>(id)];
}

bool tokenizer::is_special(token_id id) const {
  const auto* const found = data_->find_added(id);
  return found != nullptr && found->special;
}

std::span<const token_id> tokenizer::prefix() const noexcept { return data_->before; }

std::span<const token_id> tokenizer::suffix() const noexcept { return data_->after; }

std::string tokenizer::hash() const {
  std::uint64_t state = 0xCBF29CE484222325u;
  const auto mix = [&](std::string_view text) {
    for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  };
  mix(data_->json);
  for (const auto& id : {bos_, eos_, pad_}) mix(join("|", id ? *id : -1));
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[(state >> shift) & 15u];
  return out;
}

const std::string& tokenizer::json() const noexcept { return data_->json; }

void tokenizer::save(const std::filesystem::path& folder_or_file) const {
  std::error_code failed;
  const bool folder = std::filesystem::is_directory(folder_or_file, failed);
  const auto file = folder ? folder_or_file / "tokenizer.json" : folder_or_file;
  write_file_atomically(file, [&](writer& out) { out.write(data_->json); });
  if (!folder) return;
  const std::string config = config_text();
  write_file_atomically(folder_or_file / "tokenizer_config.json", [&](writer& out) { out.write(config); });
}

void tokenizer::check(token_id id) const {
  if (id < 0 || id >= size()) {
    throw error(errc::bad_argument, "tokenizer", join("expected a token number in [0, ", size(), "), found ", id));
  }
}

void tokenizer::encode_gap(std::string_view gap, bool first, std::vector<token_id>& out) const {
  const std::string text = detail::normalize(std::string(gap), data_->normalizer);
  data_->normalized_finder.split(
      text,
      [&](std::string_view part) {
        detail::words all;
        all.list.push_back({part, first && part.data() == text.data()});
        for (const auto& step : data_->pre_tokenizer) {
          std::visit([&](const auto& s) { s.apply(all); }, step);
        }
        for (const auto& word : all.list) data_->encode(word.text, out);
      },
      [&](const detail::added_token& token) { out.push_back(token.id); });
}

void tokenizer::read_config(std::string text, const std::string& place) {
  const json::value parsed = json::parse(text, place);
  const auto& top = json::as_object(parsed, "a tokenizer_config.json", place);
  const auto look_up = [&](std::string_view key) -> std::optional<token_id> {
    const json::value* v = json::find(top, key);
    if (v != nullptr && v->is_object()) v = json::find(v->get_object(), "content");
    if (v == nullptr || v->is_null()) return std::nullopt;
    const auto name = json::as<std::string>(*v, join("\"", key, "\""), place);
    const auto id = id_of(name);
    if (!id)
      throw error(errc::bad_model, place, join("\"", key, "\": the vocabulary has no token ", detail::in_quotes(name)));
    return id;
  };
  bos_ = look_up("bos_token");
  eos_ = look_up("eos_token");
  pad_ = look_up("pad_token");
  config_ = std::move(text);
}

std::string tokenizer::config_text() const {
  json::value parsed = config_.empty() ? json::value(json::object{{"tokenizer_class", "PreTrainedTokenizerFast"}})
                                       : json::parse(config_, "tokenizer_config.json");
  auto& top = parsed.as_object();
  const auto put = [&](const char* key, std::optional<token_id> id) {
    if (!id) return;
    const std::string name(token(*id));
    json::value* const old = top.if_contains(key);
    if (old != nullptr && old->is_object())
      old->get_object()["content"] = name.c_str();
    else
      top[key] = name.c_str();
  };
  put("bos_token", bos_);
  put("eos_token", eos_);
  put("pad_token", pad_);
  return json::dump(parsed, 2) + "\n";
}

}  // namespace plumb::inline v0
