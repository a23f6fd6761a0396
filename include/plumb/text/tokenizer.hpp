// SPDX-License-Identifier: BSL-1.0
// From text to tokens and back, exactly as the tokenizer.json of a model folder says. Bodies: tokenizer_impl.hpp.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

class gguf_file;

namespace detail {
struct tokenizer_data;    // what the file says: text/tokenizer_data.hpp
struct tokenizer_source;  // the same from another kind of file: text/tokenizer_source.hpp
}  // namespace detail

/// A tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece-style BPE (Llama 2, Gemma) from a tokenizer.json.
///
/// Constant data are shared between copies, so a copy costs nothing and threads may use one tokenizer at the same time.
class tokenizer {
 public:
  /// Reads a tokenizer.json, or the one in a folder; a tokenizer_config.json beside it names bos, eos and pad.
  /// Also reads the vocabulary of a GGUF file, a SentencePiece model (tokenizer.model) and a tiktoken file, told apart by
  /// what they hold; each becomes the tokenizer.json that says the same.
  ///
  /// Errors: `not_found`, `bad_file` for malformed content, `unsupported` for parts that plumb does not know.
  static tokenizer load(const std::filesystem::path& folder_or_file);

  /// The tokenizer of a model folder, or nothing when it has none: tokenizer.json; tokenizer.model; vocab.json and
  /// merges.txt (GPT-2, Qwen 2); encoder.json and vocab.bpe. Older files leave out what tokenizer_config.json says.
  static std::optional<tokenizer> find(const std::filesystem::path& folder);

  /// Reads the text of a tokenizer.json; `place` names it in errors.
  static tokenizer from_json(std::string text, const std::string& place = "tokenizer.json");

  /// The vocabulary that a GGUF file holds; `not_found` when it holds none.
  static tokenizer from_gguf(const gguf_file& file);

  /// The tokens of a text; with `add_special` also those that the tokenizer's template puts around it (bos, eos).
  ///
  /// Added tokens that the text spells out, special ones too, are recognised either way. The text should be UTF-8; each
  /// ill-formed sequence counts as U+FFFD. The time grows as n log n at most.
  [[nodiscard]] std::vector<token_id> encode(std::string_view text, bool add_special = true) const;

  /// The text of tokens; `skip_special` leaves out control tokens. Numbers that are no token are left out, too.
  ///
  /// Always UTF-8: bytes that are no character (a cut emoji) give U+FFFD.
  [[nodiscard]] std::string decode(std::span<const token_id> ids, bool skip_special = false) const;

  /// One more than the largest token number: the least number of rows that an embedding needs.
  [[nodiscard]] index_t size() const noexcept;

  /// The number of a token as the vocabulary writes it (`Ġthe`, `▁the`, `<s>`), if it has one.
  [[nodiscard]] std::optional<token_id> id_of(std::string_view text) const;

  /// A token as the vocabulary writes it; empty for a number that is not used. `bad_argument` outside [0, size).
  [[nodiscard]] std::string_view token(token_id id) const;

  [[nodiscard]] std::optional<token_id> bos() const noexcept { return bos_; }  ///< begins a text
  [[nodiscard]] std::optional<token_id> eos() const noexcept { return eos_; }  ///< ends a text
  [[nodiscard]] std::optional<token_id> pad() const noexcept {
    return pad_;
  }  ///< fills up a row elsewhere; plumb never pads

  void set_bos(token_id id) { check(id), bos_ = id; }
  void set_eos(token_id id) { check(id), eos_ = id; }
  void set_pad(token_id id) { check(id), pad_ = id; }

  /// Whether a token is a control token; false for any number that is none.
  [[nodiscard]] bool is_special(token_id id) const;

  /// The numbers that `encode` puts before and after a text when it adds special tokens.
  [[nodiscard]] std::span<const token_id> prefix() const noexcept;
  [[nodiscard]] std::span<const token_id> suffix() const noexcept;

  /// 16 hexadecimal digits that change when the tokenizer's file or its bos, eos or pad does (FNV-1a, 64 bits).
  [[nodiscard]] std::string hash() const;

  /// The tokenizer.json that this tokenizer came from, byte for byte.
  [[nodiscard]] const std::string& json() const noexcept;

  /// Writes the tokenizer.json to a file; into a folder also a tokenizer_config.json with bos, eos and pad.
  void save(const std::filesystem::path& folder_or_file) const;

  /// The text of the tokenizer_config.json that was loaded (it may hold a chat template), or empty.
  [[nodiscard]] const std::string& config() const noexcept { return config_; }

 private:
  tokenizer() = default;

  static tokenizer from_source(detail::tokenizer_source source, const std::string& place);

  void check(token_id id) const;

  /// A stretch without raw added tokens: normalise, look for normalised added tokens, cut into words, merge.
  void encode_gap(std::string_view gap, bool first, std::vector<token_id>& out) const;

  void read_config(std::string text, const std::string& place);

  /// The loaded tokenizer_config.json with today's bos, eos and pad, or a new one.
  [[nodiscard]] std::string config_text() const;

  std::shared_ptr<const detail::tokenizer_data> data_;
  std::optional<token_id> bos_, eos_, pad_;
  std::string config_;
};

}  // namespace plumb::inline v0
