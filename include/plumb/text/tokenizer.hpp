// SPDX-License-Identifier: BSL-1.0
// From text to tokens and back, exactly as the tokenizer.json of a model folder says.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/tokenizer_data.hpp>

namespace plumb::inline v0 {

/// A tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece-style BPE (Llama 2, Gemma) from a tokenizer.json.
///
/// Constant data are shared between copies, so a copy costs nothing and threads may use one tokenizer at the same time.
class tokenizer {
 public:
  /// Reads a tokenizer.json, or the one in a folder; a tokenizer_config.json beside it names bos, eos and pad.
  ///
  /// Errors: `not_found`, `bad_file` for malformed content, `unsupported` for parts that plumb does not know.
  static tokenizer load(const std::filesystem::path& folder_or_file) {
    std::error_code failed;
    const bool folder = std::filesystem::is_directory(folder_or_file, failed);
    const auto file = folder ? folder_or_file / "tokenizer.json" : folder_or_file;
    if (folder && !std::filesystem::exists(file, failed)) {
      throw error(errc::not_found, folder_or_file.string(),
                  "expected a tokenizer.json in the folder, found none; in Python, save_pretrained of a fast tokenizer "
                  "writes it");
    }
    tokenizer result = from_json(read_file(file), file.string());
    const auto config = file.parent_path() / "tokenizer_config.json";
    if (std::filesystem::exists(config, failed)) result.read_config(read_file(config), config.string());
    return result;
  }

  /// Reads the text of a tokenizer.json; `place` names it in errors.
  static tokenizer from_json(std::string text, const std::string& place = "tokenizer.json") {
    tokenizer result;
    result.data_ = detail::read_tokenizer(std::move(text), place);
    return result;
  }

  /// The tokens of a text; with `add_special` also those that the tokenizer's template puts around it (bos, eos).
  ///
  /// Added tokens that the text spells out, special ones too, are recognised either way. The text should be UTF-8; each
  /// ill-formed sequence counts as U+FFFD. The time grows as n log n at most.
  [[nodiscard]] std::vector<token_id> encode(std::string_view text, bool add_special = true) const {
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

  /// The text of tokens; `skip_special` leaves out control tokens. Numbers that are no token are left out, too.
  ///
  /// Always UTF-8: bytes that are no character (a cut emoji) give U+FFFD.
  [[nodiscard]] std::string decode(std::span<const token_id> ids, bool skip_special = false) const {
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

  /// One more than the largest token number: the least number of rows that an embedding needs.
  [[nodiscard]] index_t size() const noexcept { return static_cast<index_t>(data_->words.tokens.size()); }

  /// The number of a token as the vocabulary writes it (`Ġthe`, `▁the`, `<s>`), if it has one.
  [[nodiscard]] std::optional<token_id> id_of(std::string_view text) const { return data_->words.find(text); }

  /// A token as the vocabulary writes it; empty for a number that is not used. `bad_argument` outside [0, size).
  [[nodiscard]] std::string_view token(token_id id) const {
    check(id);
    return data_->words.tokens[static_cast<std::size_t>(id)];
  }

  [[nodiscard]] std::optional<token_id> bos() const noexcept { return bos_; }  ///< begins a text
  [[nodiscard]] std::optional<token_id> eos() const noexcept { return eos_; }  ///< ends a text
  [[nodiscard]] std::optional<token_id> pad() const noexcept {
    return pad_;
  }  ///< fills up a row elsewhere; plumb never pads

  void set_bos(token_id id) { check(id), bos_ = id; }
  void set_eos(token_id id) { check(id), eos_ = id; }
  void set_pad(token_id id) { check(id), pad_ = id; }

  /// Whether a token is a control token; false for any number that is none.
  [[nodiscard]] bool is_special(token_id id) const {
    const auto* const found = data_->find_added(id);
    return found != nullptr && found->special;
  }

  /// The numbers that `encode` puts before and after a text when it adds special tokens.
  [[nodiscard]] std::span<const token_id> prefix() const noexcept { return data_->before; }
  [[nodiscard]] std::span<const token_id> suffix() const noexcept { return data_->after; }

  /// 16 hexadecimal digits that change when the tokenizer's file or its bos, eos or pad does (FNV-1a, 64 bits).
  [[nodiscard]] std::string hash() const {
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

  /// The tokenizer.json that this tokenizer came from, byte for byte.
  [[nodiscard]] const std::string& json() const noexcept { return data_->json; }

  /// Writes the tokenizer.json to a file; into a folder also a tokenizer_config.json with bos, eos and pad.
  void save(const std::filesystem::path& folder_or_file) const {
    std::error_code failed;
    const bool folder = std::filesystem::is_directory(folder_or_file, failed);
    const auto file = folder ? folder_or_file / "tokenizer.json" : folder_or_file;
    write_file_atomically(file, [&](writer& out) { out.write(data_->json); });
    if (!folder) return;
    const std::string config = config_text();
    write_file_atomically(folder_or_file / "tokenizer_config.json", [&](writer& out) { out.write(config); });
  }

  /// The text of the tokenizer_config.json that was loaded (it may hold a chat template), or empty.
  [[nodiscard]] const std::string& config() const noexcept { return config_; }

 private:
  tokenizer() = default;

  void check(token_id id) const {
    if (id < 0 || id >= size()) {
      throw error(errc::bad_argument, "tokenizer", join("expected a token number in [0, ", size(), "), found ", id));
    }
  }

  /// A stretch without raw added tokens: normalise, look for normalised added tokens, cut into words, merge.
  void encode_gap(std::string_view gap, bool first, std::vector<token_id>& out) const {
    const std::string text = detail::normalize(std::string(gap), data_->normalizer);
    data_->normalized_finder.split(
        text,
        [&](std::string_view part) {
          detail::words all;
          all.list.push_back({part, first && part.data() == text.data()});
          for (const auto& step : data_->pre_tokenizer) {
            std::visit([&](const auto& s) { s.apply(all); }, step);
          }
          for (const auto& word : all.list) data_->model.encode(word.text, data_->words, out);
        },
        [&](const detail::added_token& token) { out.push_back(token.id); });
  }

  void read_config(std::string text, const std::string& place) {
    const json::value parsed = json::parse(text, place);
    const auto& top = json::as_object(parsed, "a tokenizer_config.json", place);
    const auto look_up = [&](std::string_view key) -> std::optional<token_id> {
      const json::value* v = json::find(top, key);
      if (v != nullptr && v->is_object()) v = json::find(v->get_object(), "content");
      if (v == nullptr || v->is_null()) return std::nullopt;
      const auto name = json::as<std::string>(*v, join("\"", key, "\""), place);
      const auto id = id_of(name);
      if (!id)
        throw error(errc::bad_model, place,
                    join("\"", key, "\": the vocabulary has no token ", detail::in_quotes(name)));
      return id;
    };
    bos_ = look_up("bos_token");
    eos_ = look_up("eos_token");
    pad_ = look_up("pad_token");
    config_ = std::move(text);
  }

  /// The loaded tokenizer_config.json with today's bos, eos and pad, or a new one.
  [[nodiscard]] std::string config_text() const {
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

  std::shared_ptr<const detail::tokenizer_data> data_;
  std::optional<token_id> bos_, eos_, pad_;
  std::string config_;
};

}  // namespace plumb::inline v0
