// SPDX-License-Identifier: BSL-1.0
// The alphabet of byte-level tokenizers: each of the 256 bytes has one printable character, so tokens can be written down.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <plumb/io/utf8.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The character of each byte: printable Latin-1 bytes stand for themselves, the others follow from U+0100 on.
inline constexpr auto byte_characters = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (std::size_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    table[b] = printable ? static_cast<char32_t>(b) : next++;
  }
  return table;
}();

/// The inverse: the byte of each character below U+0144, or -1.
inline constexpr auto character_bytes = [] {
  std::array<std::int16_t, 0x144> table{};
  for (auto& entry : table) entry = -1;
  for (std::size_t b = 0; b < 256; ++b) table[byte_characters[b]] = static_cast<std::int16_t>(b);
  return table;
}();

}  // namespace detail

/// Bytes as the characters of the byte alphabet; a space becomes Ġ.
inline std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, detail::byte_characters[static_cast<unsigned char>(b)]);
  return out;
}

/// The bytes that a text of the byte alphabet stands for, or nothing when it has a character outside the alphabet.
inline std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    if (step.code >= detail::character_bytes.size() || detail::character_bytes[step.code] < 0) return std::nullopt;
    out += static_cast<char>(static_cast<unsigned char>(detail::character_bytes[step.code]));
    at += step.size;
  }
  return out;
}

}  // namespace plumb::inline v0
