// SPDX-License-Identifier: BSL-1.0
// The regular expressions with which published byte-level tokenizers cut text into words, as linear-time scanners.
//
// A tokenizer.json names its pattern as the text of a regular expression. plumb recognises the published ones by that
// text and runs a scanner written for it; an unknown one is refused rather than approximated.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include <plumb/text/unicode.hpp>

namespace plumb::inline v0 {

/// How a family of tokenizers cuts words. The three families differ in what a word of letters is.
struct word_pattern {
  enum class family {
    gpt2,    ///< `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    cl100k,  ///< contractions in any case; one other character may lead a word; `[\r\n]` ends a run of symbols
    o200k,   ///< words also break before a capital; contractions belong to the word
  };
  family kind = family::gpt2;
  std::size_t digits = 0;    ///< numbers are cut after so many digits; 0: never
  bool contractions = true;  ///< 's, 't, 're, … stand alone (gpt2, cl100k) or end a word (o200k)
  bool slashes = false;      ///< a run of symbols may end in slashes as well as in line breaks
  bool marks = false;        ///< combining marks count as letters

  friend constexpr bool operator==(const word_pattern&, const word_pattern&) = default;
};

/// The scanner for a pattern's text, if it is one of the published ones.
constexpr std::optional<word_pattern> recognise_pattern(std::string_view regex) noexcept {
  using family = word_pattern::family;
  struct row {
    std::string_view regex;
    word_pattern pattern;
  };
  constexpr std::array<row, 9> known{{
      // GPT-2, GPT-NeoX, OPT, RoBERTa, StarCoder, SmolLM
      {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", {family::gpt2}},
      {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", {family::gpt2}},
      // GPT-4 (cl100k), Llama 3, Phi-4, OLMo 2
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::cl100k, 3}},
      // Qwen 2, 2.5 and 3
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::cl100k, 1}},
      // unlimited digits
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::cl100k, 0}},
      // Qwen 3.5
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::cl100k, 1, true, false, true}},
      // GPT-4o (o200k), gpt-oss
      {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::o200k, 3, true, true}},
      // Mistral Nemo (Tekken)
      {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::o200k, 1, false, true}},
      {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       {family::o200k, 3, false, true}},
  }};
  for (const row& candidate : known) {
    if (candidate.regex == regex) return candidate.pattern;
  }
  return std::nullopt;
}

namespace detail {

/// Cuts one text with one pattern: `next(at)` is the end of the word that starts at `at`. Each alternative of the
/// regular expression is one function that returns where it ends, or its start when it does not match.
class word_scanner {
 public:
  constexpr word_scanner(std::string_view text, const word_pattern& pattern) noexcept
      : text_(text), pattern_(pattern) {}

  [[nodiscard]] constexpr std::size_t next(std::size_t at) const noexcept {
    using family = word_pattern::family;
    std::size_t end = at;
    if (pattern_.kind == family::gpt2) {
      if ((end = contraction(at, false)) != at) return end;
      if ((end = spaced_run(at)) != at) return end;
      return spaces(at, false);
    }
    if (pattern_.kind == family::o200k) {
      if ((end = cased_word(at)) != at) return end;
    } else {
      if (pattern_.contractions && (end = contraction(at, true)) != at) return end;
      if ((end = led_word(at)) != at) return end;
    }
    if ((end = digits(at)) != at) return end;
    if ((end = symbols(at)) != at) return end;
    return spaces(at, true);
  }

 private:
  [[nodiscard]] constexpr character get(std::size_t at) const noexcept { return character_at(text_, at); }

  [[nodiscard]] constexpr bool letter(char_class c) const noexcept {
    return is_letter(c) || (pattern_.marks && c == char_class::mark);
  }
  [[nodiscard]] constexpr bool symbol(char_class c) const noexcept {
    return !letter(c) && !is_number(c) && !is_space(c);
  }
  static constexpr bool line_break(char32_t c) noexcept { return c == '\r' || c == '\n'; }

  /// `[^\r\n\p{L}\p{N}]`: what may stand before a word.
  [[nodiscard]] static constexpr bool lead(const character& c) noexcept {
    return c && !line_break(c.code) && !is_letter(c.kind) && !is_number(c.kind);
  }

  template <class Wanted>
  [[nodiscard]] constexpr std::size_t run(std::size_t at, Wanted wanted) const noexcept {
    for (character c = get(at); c && wanted(c); c = get(at)) at += c.size;
    return at;
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d`, perhaps in any case; ſ is an s in any case.
  [[nodiscard]] constexpr std::size_t contraction(std::size_t at, bool any_case) const noexcept {
    if (get(at).code != '\'') return at;
    const auto fold = [&](std::size_t i) -> char32_t {
      const char32_t c = get(i).code;
      if (any_case && c == 0x17F) return U's';
      return any_case && c >= 'A' && c <= 'Z' ? c + 32 : c;
    };
    const char32_t first = fold(at + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 1 + get(at + 1).size;
    const char32_t second = first == 'r' || first == 'v' || first == 'l' ? fold(at + 2) : 0;
    const bool pair = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return pair ? at + 3 : at;
  }

  /// ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
  [[nodiscard]] constexpr std::size_t spaced_run(std::size_t at) const noexcept {
    const std::size_t from = at < text_.size() && text_[at] == ' ' ? at + 1 : at;
    const character c = get(from);
    if (!c || is_space(c.kind)) return at;
    if (letter(c.kind)) return run(from, [&](const character& x) { return letter(x.kind); });
    if (is_number(c.kind)) return run(from, [](const character& x) { return is_number(x.kind); });
    return run(from, [&](const character& x) { return symbol(x.kind); });
  }

  /// `[^\r\n\p{L}\p{N}]?\p{L}+`
  [[nodiscard]] constexpr std::size_t led_word(std::size_t at) const noexcept {
    const auto letters = [&](std::size_t from) {
      return run(from, [&](const character& x) { return letter(x.kind); });
    };
    const character c = get(at);
    if (lead(c)) {
      const std::size_t end = letters(at + c.size);
      if (end != at + c.size) return end;
    }
    return letters(at);
  }

  [[nodiscard]] static constexpr bool caseless(char_class c) noexcept {
    return c == char_class::modifier_letter || c == char_class::other_letter || c == char_class::mark;
  }
  [[nodiscard]] static constexpr bool capital(const character& c) noexcept {
    return caseless(c.kind) || c.kind == char_class::upper_letter || c.kind == char_class::title_letter;
  }
  [[nodiscard]] static constexpr bool small(const character& c) noexcept {
    return caseless(c.kind) || c.kind == char_class::lower_letter;
  }

  /// `[capital]*[small]+`: the capitals take all they can and give back only what `[small]+` needs for one character.
  [[nodiscard]] constexpr std::size_t capitals_then_small(std::size_t at) const noexcept {
    std::size_t last = std::string_view::npos;  // the last capital that is also small, so caseless
    std::size_t end = at;
    for (character c = get(end); c && capital(c); c = get(end)) {
      if (small(c)) last = end;
      end += c.size;
    }
    if (const std::size_t behind = run(end, small); behind != end) return behind;
    return last == std::string_view::npos ? at : run(last, small);
  }

  /// `[capital]+[small]*`
  [[nodiscard]] constexpr std::size_t capitals(std::size_t at) const noexcept {
    const std::size_t end = run(at, capital);
    return end == at ? at : run(end, small);
  }

  /// Both cased alternatives, each with and without a leading character, and a contraction at the end.
  [[nodiscard]] constexpr std::size_t cased_word(std::size_t at) const noexcept {
    const character c = get(at);
    const auto ended = [&](std::size_t end) { return pattern_.contractions ? contraction(end, true) : end; };
    const std::size_t starts[] = {lead(c) ? at + c.size : at, at};
    for (const std::size_t from : starts) {
      if (const std::size_t end = capitals_then_small(from); end != from) return ended(end);
    }
    for (const std::size_t from : starts) {
      if (const std::size_t end = capitals(from); end != from) return ended(end);
    }
    return at;
  }

  /// `\p{N}{1,digits}`
  [[nodiscard]] constexpr std::size_t digits(std::size_t at) const noexcept {
    std::size_t count = 0;
    return run(at, [&](const character& x) {
      return is_number(x.kind) && (pattern_.digits == 0 || count++ < pattern_.digits);
    });
  }

  /// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, with `/` beside the line breaks where the pattern has it
  [[nodiscard]] constexpr std::size_t symbols(std::size_t at) const noexcept {
    const std::size_t from = at < text_.size() && text_[at] == ' ' ? at + 1 : at;
    const std::size_t end = run(from, [&](const character& x) { return symbol(x.kind); });
    if (end == from) return at;
    return run(end, [&](const character& x) { return line_break(x.code) || (pattern_.slashes && x.code == '/'); });
  }

  /// `\s*[\r\n]+` where line breaks end a run, then `\s+(?!\S)|\s+`: the last space is left for the word behind it.
  /// A character that no alternative takes (there is none) would stand alone.
  [[nodiscard]] constexpr std::size_t spaces(std::size_t at, bool break_after_lines) const noexcept {
    std::size_t end = at, last = at, after_line = at;
    for (character c = get(end); c && is_space(c.kind); c = get(end)) {
      last = end;
      end += c.size;
      if (line_break(c.code)) after_line = end;
    }
    if (break_after_lines && after_line != at) return after_line;
    if (end == at) return at + get(at).size;
    return end == text_.size() || last == at ? end : last;
  }

  std::string_view text_;
  const word_pattern& pattern_;
};

}  // namespace detail

/// Calls `f(word)` for every word of `text` (UTF-8), in order; together they are the text.
template <class F>
constexpr void for_each_word(std::string_view text, const word_pattern& pattern, F&& f) {
  const detail::word_scanner scanner(text, pattern);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = scanner.next(at);
    f(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace plumb::inline v0
