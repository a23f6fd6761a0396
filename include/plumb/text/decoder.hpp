// SPDX-License-Identifier: BSL-1.0
// The way back: from tokens to text, by the steps that a tokenizer.json lists under "decoder".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/byte_alphabet.hpp>
#include <plumb/text/normalizer.hpp>
#include <plumb/text/pre_tokenizer.hpp>

namespace plumb::inline v0::detail {

using token_texts = std::vector<std::string>;

struct replace_decoder {
  std::string from, to;
  void apply(token_texts& tokens) const {
    for (std::string& token : tokens) token = replace_all(token, from, to);
  }
};

/// Runs of `<0x..>` become their bytes, or one U+FFFD a byte when those are not UTF-8.
struct byte_fallback_decoder {
  static int byte_of(std::string_view token) noexcept {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    unsigned value = 0;
    const auto [end, failed] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
    return failed == std::errc() && end == token.data() + 5 ? static_cast<int>(value) : -1;
  }
  void apply(token_texts& tokens) const {
    token_texts out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (first_invalid_utf8(bytes) == bytes.size())
        out.push_back(bytes);
      else
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const int b = byte_of(token); b >= 0) {
        bytes += static_cast<char>(static_cast<unsigned char>(b));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }
};

struct fuse_decoder {
  void apply(token_texts& tokens) const {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

/// Removes up to `start` leading and `stop` trailing copies of one character from each token.
struct strip_decoder {
  std::string content;
  std::size_t start = 0, stop = 0;
  void apply(token_texts& tokens) const {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::size_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (std::size_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  }
};

/// Byte-alphabet tokens become bytes; others (added tokens) stay as they are. What is not UTF-8 gives U+FFFD.
struct byte_level_decoder {
  void apply(token_texts& tokens) const {
    std::string bytes;
    for (const std::string& token : tokens) {
      const auto raw = from_byte_alphabet(token);
      bytes += raw ? *raw : token;
    }
    tokens.assign(1, to_valid_utf8(bytes));
  }
};

/// ▁ becomes a space; in the first token it vanishes, unless nothing was put in front when encoding.
struct metaspace_decoder {
  std::string replacement;
  bool drop_first = true;
  void apply(token_texts& tokens) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_all(tokens[i], replacement, i == 0 && drop_first ? "" : " ");
    }
  }
};

/// Words get a space in front, pieces inside a word lose their prefix; `cleanup` also closes the gaps that cutting made.
struct word_piece_decoder {
  std::string prefix;
  bool cleanup = true;
  void apply(token_texts& tokens) const {
    static constexpr std::pair<std::string_view, std::string_view> gaps[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        if (!prefix.empty() && tokens[i].starts_with(prefix))
          tokens[i].erase(0, prefix.size());
        else
          tokens[i].insert(0, " ");
      }
      for (const auto& [from, to] : gaps)
        if (cleanup) tokens[i] = replace_all(tokens[i], from, to);
    }
  }
};

using decoder_step = std::variant<word_piece_decoder, replace_decoder, byte_fallback_decoder, fuse_decoder,
                                  strip_decoder, byte_level_decoder, metaspace_decoder>;

/// Appends the steps of a "decoder" entry (null: none); unknown ones are `unsupported`.
inline void read_decoder(const json::value& v, const std::string& place, std::vector<decoder_step>& steps) {
  if (v.is_null()) return;
  const auto& entry = json::as_object(v, "\"decoder\"", place);
  const auto type = json::get<std::string>(entry, "type", place);
  if (type == "Sequence") {
    for (const json::value& item : json::get<json::array>(entry, "decoders", place)) read_decoder(item, place, steps);
  } else if (type == "ByteFallback") {
    steps.emplace_back(byte_fallback_decoder{});
  } else if (type == "Fuse") {
    steps.emplace_back(fuse_decoder{});
  } else if (type == "ByteLevel") {
    steps.emplace_back(byte_level_decoder{});
  } else if (type == "Strip") {
    const auto content = json::get<std::string>(entry, "content", place);
    if (content.empty()) throw error(errc::bad_file, place, "the decoder Strip needs one character as its content");
    steps.emplace_back(strip_decoder{content, json::get<std::size_t>(entry, "start", place),
                                     json::get<std::size_t>(entry, "stop", place)});
  } else if (type == "WordPiece") {
    steps.emplace_back(word_piece_decoder{json::get_or<std::string>(entry, "prefix", "##", place),
                                          json::get_or<bool>(entry, "cleanup", true, place)});
  } else if (type == "Metaspace") {
    steps.emplace_back(metaspace_decoder{json::get<std::string>(entry, "replacement", place),
                                         read_prepend_scheme(entry, place) != metaspace_step::scheme::never});
  } else if (const json::value* const text = type == "Replace" ? fixed_pattern(entry, place) : nullptr) {
    steps.emplace_back(replace_decoder{json::as<std::string>(*text, "\"pattern\"", place),
                                       json::get<std::string>(entry, "content", place)});
  } else {
    throw error(errc::unsupported, place,
                join("the decoder ", type,
                     " is not supported; plumb knows ByteLevel, Replace of a fixed text, ByteFallback, "
                     "Fuse, Strip, Metaspace, WordPiece and Sequence"));
  }
}

}  // namespace plumb::inline v0::detail
