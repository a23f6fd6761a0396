// SPDX-License-Identifier: BSL-1.0
// What tokenizers made like BERT's do before the pieces: clean, lower, take accents off, cut at spaces and punctuation.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/io/utf8.hpp>
#include <plumb/text/nfc.hpp>
#include <plumb/text/unicode.hpp>
#include <plumb/text/unicode_case.hpp>
#include <plumb/text/unicode_spacing_marks.hpp>
#include <plumb/text/unicode_younger.hpp>

namespace plumb::inline v0::detail {

/// Calls `f(character, out)` for every character and returns what it wrote.
template <class F>
std::string rewrite(std::string_view text, F f) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const character c = character_at(text, at);
    f(c, out);
    at += c.size;
  }
  return out;
}

/// Every letter in lower case; İ becomes i and a dot.
struct lowercase_step {
  void apply(std::string& text) const {
    text = rewrite(text, [](const character& c, std::string& out) {
      append_utf8(out, to_lower(c.code == 0x130 ? U'I' : c.code));
      if (c.code == 0x130) append_utf8(out, 0x307);
    });
  }
};

/// Unicode normalisation form D.
struct nfd_step {
  void apply(std::string& text) const { text = to_nfd(text); }
};

/// Takes combining marks away: all of them.
struct strip_accents_step {
  void apply(std::string& text) const {
    text = rewrite(text, [](const character& c, std::string& out) {
      if (c.kind != char_class::mark) append_utf8(out, c.code);
    });
  }
};

/// Control, format and private-use characters, as BERT's tokenizers remove them.
constexpr bool is_bert_control(char32_t c) noexcept {
  struct range {
    char32_t first, last;
  };
  constexpr range ranges[] = {{0, 8},
                              {0xB, 0xC},
                              {0xE, 0x1F},
                              {0x7F, 0x9F},
                              {0xAD, 0xAD},
                              {0x600, 0x605},
                              {0x61C, 0x61C},
                              {0x6DD, 0x6DD},
                              {0x70F, 0x70F},
                              {0x180E, 0x180E},
                              {0x200B, 0x200F},
                              {0x202A, 0x202E},
                              {0x2060, 0x2064},
                              {0x2066, 0x206F},
                              {0xE000, 0xF8FF},
                              {0xFEFF, 0xFEFF},
                              {0xFFF9, 0xFFFB},
                              {0xFFFD, 0xFFFD},
                              {0x110BD, 0x110BD},
                              {0x1BCA0, 0x1BCA3},
                              {0x1D173, 0x1D17A},
                              {0xE0001, 0xE0001},
                              {0xE0020, 0xE007F},
                              {0xF0000, 0xFFFFD},
                              {0x100000, 0x10FFFD}};
  for (const range& r : ranges)
    if (c >= r.first && c <= r.last) return true;
  return false;
}

/// Ideographs, which stand alone as words.
constexpr bool is_bert_ideograph(char32_t c) noexcept {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/// Marks that take no space (Mn), as the package's tables know them.
constexpr bool is_bert_accent(const character& c) noexcept {
  return (c.kind == char_class::mark && !is_spacing_mark(c.code)) != is_in(younger_marks, c.code);
}

/// "BertNormalizer": its four parts, in this order. `accents` here takes away marks that take no space (Mn).
struct bert_step {
  bool clean = true, ideographs = true, accents = true, lowercase = true;
  void apply(std::string& text) const {
    if (clean || ideographs)
      text = rewrite(text, [&](const character& c, std::string& out) {
        if (clean && is_bert_control(c.code)) return;
        if (clean && is_space(c.kind)) {
          out += ' ';
        } else if (ideographs && is_bert_ideograph(c.code)) {
          out += ' ';
          append_utf8(out, c.code);
          out += ' ';
        } else {
          append_utf8(out, c.code);
        }
      });
    if (accents)
      text = rewrite(to_nfd(text), [](const character& c, std::string& out) {
        if (!is_bert_accent(c)) append_utf8(out, c.code);
      });
    if (lowercase) lowercase_step{}.apply(text);
  }
};

/// Punctuation: \p{P}, as the package's tables know it, and every symbol of ASCII.
constexpr bool is_bert_punctuation(const character& c) noexcept {
  if (c.code < 128 && c.kind == char_class::symbol) return true;
  return (c.kind == char_class::punctuation || c.kind == char_class::connector) != is_in(younger_punctuation, c.code);
}

}  // namespace plumb::inline v0::detail
