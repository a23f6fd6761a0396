// SPDX-License-Identifier: BSL-1.0
// UTF-8, one code point at a time: reading with exact errors, writing, and making any bytes valid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace plumb::inline v0 {

/// One step of reading UTF-8: the code point, the bytes it took (at least 1 unless at the end), and whether it is well formed.
struct utf8_step {
  char32_t code = 0;
  std::size_t size = 0;
  bool valid = true;
};

/// U+FFFD, which stands for bytes that are not UTF-8.
inline constexpr char32_t replacement_character = 0xFFFD;

/// Reads the code point at `at`, which must be below `text.size()`.
///
/// Ill-formed input gives U+FFFD for each maximal start of a well-formed sequence (Unicode 3.9, the practice of Python,
/// Rust and browsers): overlong forms, surrogates and values above U+10FFFF are refused at their first bad byte.
constexpr utf8_step utf8_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at);
  if (first < 0x80) return {static_cast<char32_t>(first), 1, true};
  std::size_t extra = 0;
  unsigned low = 0x80, high = 0xBF;  // the range of the second byte
  char32_t code = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    extra = 1;
    code = first & 0x1Fu;
  } else if (first >= 0xE0 && first <= 0xEF) {
    extra = 2;
    code = first & 0x0Fu;
    if (first == 0xE0) low = 0xA0;   // overlong
    if (first == 0xED) high = 0x9F;  // surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    extra = 3;
    code = first & 0x07u;
    if (first == 0xF0) low = 0x90;   // overlong
    if (first == 0xF4) high = 0x8F;  // above U+10FFFF
  } else {
    return {replacement_character, 1, false};
  }
  for (std::size_t i = 1; i <= extra; ++i) {
    if (at + i >= text.size()) return {replacement_character, i, false};
    const unsigned next = byte(at + i);
    if (next < low || next > high) return {replacement_character, i, false};
    low = 0x80;
    high = 0xBF;
    code = (code << 6) | (next & 0x3Fu);
  }
  return {code, extra + 1, true};
}

/// Appends a code point (a Unicode scalar value) as UTF-8.
inline void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t bits) { out += static_cast<char>(static_cast<unsigned char>(bits)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// The offset of the first byte that is not well-formed UTF-8, or `text.size()` when all of it is.
constexpr std::size_t first_invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    if (!step.valid) return at;
    at += step.size;
  }
  return text.size();
}

/// A copy of `text` in which each ill-formed sequence has become one U+FFFD; well-formed text is returned unchanged.
inline std::string to_valid_utf8(std::string_view text) {
  const std::size_t good = first_invalid_utf8(text);
  std::string out(text.substr(0, good));
  for (std::size_t at = good; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    append_utf8(out, step.code);
    at += step.size;
  }
  return out;
}

}  // namespace plumb::inline v0
