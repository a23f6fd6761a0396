// SPDX-License-Identifier: BSL-1.0
// Unicode normalisation form C: the same letter is always the same bytes (e + accent becomes é).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <plumb/io/utf8.hpp>
#include <plumb/text/unicode_combining.hpp>
#include <plumb/text/unicode_composed.hpp>
#include <plumb/text/unicode_compositions.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Canonical combining class; 0 for characters that start a new combination.
inline unsigned combining_class(char32_t code) noexcept {
  if (code < 0x300) return 0;
  const std::uint32_t key = (static_cast<std::uint32_t>(code) << 8) | 255u;
  const auto after = std::upper_bound(unicode_combining.begin(), unicode_combining.end(), key);
  return after == unicode_combining.begin() ? 0u : *(after - 1) & 255u;
}

// Hangul syllables are arithmetic: 19 initials, 21 vowels, 27 finals or none.
inline constexpr char32_t hangul = 0xAC00, initials = 0x1100, vowels = 0x1161, finals = 0x11A7;
inline constexpr char32_t vowel_count = 21, final_count = 28, syllables = 19 * vowel_count * final_count;

/// Appends the full canonical decomposition of one code point.
inline void decompose(char32_t code, std::u32string& out) {
  if (code >= hangul && code < hangul + syllables) {
    const char32_t index = code - hangul;
    out += initials + index / (vowel_count * final_count);
    out += vowels + index / final_count % vowel_count;
    if (index % final_count != 0) out += finals + index % final_count;
    return;
  }
  const auto at =
      std::lower_bound(unicode_decompositions.begin(), unicode_decompositions.end(), std::uint64_t{code} << 43);
  if (code < 0xC0 || at == unicode_decompositions.end() || (*at >> 43) != code) {
    out += code;
    return;
  }
  decompose(static_cast<char32_t>((*at >> 22) & 0x1FFFFFu), out);
  if (const auto second = static_cast<char32_t>((*at >> 1) & 0x1FFFFFu); second != 0) out += second;
}

/// The two parts of a row of `unicode_decompositions`, as one number.
constexpr std::uint64_t parts_of(std::uint16_t row) noexcept {
  return (unicode_decompositions[row] >> 1) & 0x3FFFFFFFFFFu;
}

/// The composition of two code points, or 0.
inline char32_t compose(char32_t first, char32_t second) {
  if (first >= initials && first < initials + 19 && second >= vowels && second < vowels + vowel_count) {
    return hangul + ((first - initials) * vowel_count + (second - vowels)) * final_count;
  }
  if (first >= hangul && first < hangul + syllables && (first - hangul) % final_count == 0 && second > finals &&
      second < finals + final_count) {
    return first + (second - finals);
  }
  const std::uint64_t key = (std::uint64_t{first} << 21) | second;
  const auto at = std::lower_bound(unicode_composed.begin(), unicode_composed.end(), key,
                                   [](std::uint16_t row, std::uint64_t wanted) { return parts_of(row) < wanted; });
  if (at == unicode_composed.end() || parts_of(*at) != key) return 0;
  return static_cast<char32_t>(unicode_decompositions[*at] >> 43);
}

/// Sorts the marks of [begin, end) by combining class and keeps the order within a class; linear, by counting.
inline void order_marks(std::u32string& codes, std::size_t begin, std::size_t end) {
  if (end - begin < 2) return;
  std::array<std::size_t, 257> place{};  // where the next mark of each class goes
  for (std::size_t i = begin; i < end; ++i) ++place[combining_class(codes[i]) + 1];
  for (std::size_t rank = 1; rank < place.size(); ++rank) place[rank] += place[rank - 1];
  const std::u32string marks = codes.substr(begin, end - begin);
  for (const char32_t mark : marks) codes[begin + place[combining_class(mark)]++] = mark;
}

/// Code points of UTF-8 text, decomposed, their marks ordered.
inline std::u32string decomposed(std::string_view text) {
  std::u32string codes;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    decompose(step.code, codes);
    at += step.size;
  }
  for (std::size_t at = 0; at < codes.size();) {  // marks between two starters, by class, stable
    if (combining_class(codes[at]) == 0) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    order_marks(codes, at, end);
    at = end;
  }
  return codes;
}

}  // namespace detail

/// Normalisation form D of UTF-8 text: decompose, order the marks. By Unicode 9.0, as to_nfc.
inline std::string to_nfd(std::string_view text) {
  std::string out;
  for (const char32_t code : detail::decomposed(text)) append_utf8(out, code);
  return out;
}

/// Normalisation form C of UTF-8 text: decompose, order the marks, compose.
///
/// By Unicode 9.0, the version by which Hugging Face's tokenizers normalise; later versions differ only in characters
/// that they added, which stay as they are.
inline std::string to_nfc(std::string_view text) {
  // Every character below U+0300 is in form C and combines with none that precedes it.
  std::size_t plain = 0;
  while (plain < text.size() && static_cast<unsigned char>(text[plain]) < 0xCC) ++plain;
  if (plain == text.size()) return std::string(text);
  const std::u32string codes = detail::decomposed(text);
  std::u32string composed;
  std::size_t starter = std::u32string::npos;
  unsigned previous = 0;  // class of the last character kept after the starter; 0 when it stands right behind it
  for (const char32_t code : codes) {
    const unsigned rank = detail::combining_class(code);
    const bool adjacent = starter != std::u32string::npos && starter + 1 == composed.size();
    if (starter != std::u32string::npos && (adjacent || (previous < rank && previous != 0))) {
      if (const char32_t both = detail::compose(composed[starter], code); both != 0) {
        composed[starter] = both;
        continue;
      }
    }
    if (rank == 0) starter = composed.size();
    previous = rank;
    composed += code;
  }
  std::string out;
  out.reserve(text.size());
  for (const char32_t code : composed) append_utf8(out, code);
  return out;
}

}  // namespace plumb::inline v0
