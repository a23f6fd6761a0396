// SPDX-License-Identifier: BSL-1.0
// What kind of character a code point is: the classes that tokenizers' patterns speak of (\p{L}, \p{N}, \s, …).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <plumb/io/utf8.hpp>
#include <plumb/text/unicode_tables.hpp>

namespace plumb::inline v0 {

/// General categories as far as tokenizers tell them apart; `space` is the property White_Space and goes first.
enum class char_class : std::uint8_t {
  other,
  upper_letter,     ///< \p{Lu}
  lower_letter,     ///< \p{Ll}
  title_letter,     ///< \p{Lt}
  modifier_letter,  ///< \p{Lm}
  other_letter,     ///< \p{Lo}: scripts without case
  mark,             ///< \p{M}
  decimal,          ///< \p{Nd}
  letter_number,    ///< \p{Nl}
  other_number,     ///< \p{No}
  connector,        ///< \p{Pc}
  punctuation,      ///< the rest of \p{P}
  symbol,           ///< \p{S}
  space,            ///< \s
};

namespace detail {

/// The class in the last run that starts at or before a code point.
constexpr char_class search_class(char32_t code) noexcept {
  const std::uint32_t key = (static_cast<std::uint32_t>(code) << 4) | 15u;
  const auto after = std::upper_bound(unicode_runs.begin(), unicode_runs.end(), key);
  return static_cast<char_class>(*(after - 1) & 15u);
}

inline constexpr auto ascii_classes = [] {
  std::array<char_class, 128> classes{};
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = search_class(static_cast<char32_t>(i));
  return classes;
}();

}  // namespace detail

/// The class of a code point (Unicode 16.0).
constexpr char_class class_of(char32_t code) noexcept {
  return code < 128 ? detail::ascii_classes[code] : detail::search_class(code);
}

constexpr bool is_letter(char_class c) noexcept {
  return c >= char_class::upper_letter && c <= char_class::other_letter;
}
constexpr bool is_number(char_class c) noexcept { return c >= char_class::decimal && c <= char_class::other_number; }
constexpr bool is_space(char_class c) noexcept { return c == char_class::space; }

/// \w as Rust's regular expressions define it: letters, marks, decimals, letter numbers, connectors, joiners and the
/// circled letters.
constexpr bool is_word(char32_t code) noexcept {
  const char_class c = class_of(code);
  return is_letter(c) || c == char_class::mark || c == char_class::decimal || c == char_class::letter_number ||
         c == char_class::connector || code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
         (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
         (code >= 0x1F170 && code <= 0x1F189);
}

/// One character of a text: its code point, its class and its bytes; `size` is 0 at the end.
struct character {
  char32_t code = 0;
  char_class kind = char_class::other;
  std::size_t size = 0;

  constexpr explicit operator bool() const noexcept { return size != 0; }
};

/// The character at an offset, or an empty one from the end on.
constexpr character character_at(std::string_view text, std::size_t at) noexcept {
  if (at >= text.size()) return {};
  const utf8_step step = utf8_at(text, at);
  return {step.code, class_of(step.code), step.size};
}

/// The offset at which the character that ends at `end` begins; `end` must be above 0.
constexpr std::size_t before(std::string_view text, std::size_t end) noexcept {
  std::size_t at = end - 1;
  while (at > 0 && end - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u) --at;
  return at;
}

}  // namespace plumb::inline v0
