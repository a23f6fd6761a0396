// SPDX-License-Identifier: BSL-1.0
// The body of the template lexer: text and tags, white space control as transformers sets Jinja up (trim_blocks and
// lstrip_blocks on, one newline at the very end dropped). Compiled once per program.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/text/template_syntax.hpp>
#include <plumb/text/unicode.hpp>

namespace plumb::inline v0::detail::jinja {

/// White space as Python's str and re see it.
inline bool is_blank(char32_t code) noexcept { return is_space(class_of(code)) || (code >= 0x1C && code <= 0x1F); }

/// The offset of the first character at or after `at` that is not white space.
inline std::size_t skip_blanks(std::string_view text, std::size_t at) noexcept {
  while (at < text.size()) {
    const utf8_step step = utf8_at(text, at);
    if (!is_blank(step.code)) break;
    at += step.size;
  }
  return at;
}

/// The text without white space at its end.
inline std::string_view without_blank_end(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t at = before(text, text.size());
    if (!is_blank(utf8_at(text, at).code)) break;
    text = text.substr(0, at);
  }
  return text;
}

class lexer {
 public:
  lexer(std::string_view source, const std::string& place) : place_(place) {
    source_.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {  // one kind of line end
      if (source[i] == '\r') {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      } else {
        source_ += source[i];
      }
    }
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();
  }

  std::vector<token> run() {
    while (at_ < source_.size()) outside();
    add(token::type::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string_view message) const { fail_at(line_, message); }
  [[noreturn]] void fail_at(std::size_t line, std::string_view message) const {
    throw error(errc::bad_file, join(place_, ":", line), message);
  }
  void add(token::type kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  [[nodiscard]] std::string_view rest() const { return std::string_view(source_).substr(at_); }
  /// Moves on to an offset, counting lines.
  void go(std::size_t to) {
    line_ += static_cast<std::size_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                                 source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
    if (to > 0) at_line_start_ = source_[to - 1] == '\n';
  }
  /// Text up to a tag whose opening has `sign` after it; a tag that prints leaves blanks before it alone.
  void data(std::string_view text, char sign, bool prints) {
    std::string_view kept = text;
    if (sign == '-') {
      kept = without_blank_end(text);
    } else if (sign != '+' && !prints) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((start > 0 || at_line_start_) && start < text.size() && skip_blanks(text, start) == text.size())
        kept = text.substr(0, start);
    }
    if (!kept.empty()) add(token::type::data, std::string(kept));
  }
  [[nodiscard]] char sign_at(std::size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }
  /// The offset after the end of a tag at `at`, or 0 when none ends there. `trims`: a newline right after it goes, too.
  [[nodiscard]] std::size_t tag_end(std::size_t at, std::string_view mark, bool trims) const {
    const std::string_view text = source_;
    if (text.substr(at).starts_with('-') && text.substr(at + 1).starts_with(mark))
      return skip_blanks(text, at + 1 + mark.size());
    if (trims && text.substr(at).starts_with('+') && text.substr(at + 1).starts_with(mark)) return at + 1 + mark.size();
    if (!text.substr(at).starts_with(mark)) return 0;
    const std::size_t end = at + mark.size();
    return trims && end < text.size() && text[end] == '\n' ? end + 1 : end;
  }
  /// The offset after `{% word %}` that begins at `at` (its opening and sign included), or 0.
  [[nodiscard]] std::size_t word_tag(std::size_t at, std::string_view word, bool trims) const {
    at += sign_at(at + 2) != '\0' ? 3 : 2;
    at = skip_blanks(source_, at);
    if (!std::string_view(source_).substr(at).starts_with(word)) return 0;
    at = skip_blanks(source_, at + word.size());
    if (trims) return tag_end(at, "%}", true);
    const std::string_view text = std::string_view(source_).substr(at);
    if (text.starts_with("-%}")) return skip_blanks(source_, at + 3);
    return text.starts_with("%}") ? at + 2 : 0;
  }

  void outside() {
    std::size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        add(token::type::data, std::string(rest()));
        go(source_.size());
        return;
      }
      if (source_[tag + 1] == '{' || source_[tag + 1] == '%' || source_[tag + 1] == '#') break;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    data(rest().substr(0, tag - at_), sign, kind == '{');
    const std::size_t inside = tag + (sign != '\0' ? 3 : 2);
    if (kind == '#') {
      go(tag);
      comment(inside);
    } else if (const std::size_t raw_body = kind == '%' ? word_tag(tag, "raw", false) : 0; raw_body != 0) {
      go(tag);
      raw(raw_body);
    } else {
      go(inside);
      tag_body(kind == '{');
    }
  }
  void comment(std::size_t from) {
    for (std::size_t at = from;; ++at) {
      at = source_.find('#', at);
      if (at == std::string::npos) fail("a comment {# is never closed; close it with #}");
      const std::size_t begin =
          at > from && (source_[at - 1] == '-' || source_[at - 1] == '+') ? at - 1 : at;  // -#} or +#}
      if (const std::size_t end = tag_end(begin, "#}", true); end != 0) return go(end);
    }
  }
  void raw(std::size_t body) {
    const std::size_t opened = line_;
    go(body);
    for (std::size_t at = body;; ++at) {
      at = source_.find("{%", at);
      if (at == std::string::npos) fail_at(opened, "{% raw %} is never closed; close it with {% endraw %}");
      const std::size_t end = word_tag(at, "endraw", true);
      if (end == 0) continue;
      data(std::string_view(source_).substr(body, at - body), sign_at(at + 2), false);
      return go(end);
    }
  }
  /// What lies between {{ and }} or {% and %}.
  void tag_body(bool prints) {
    const std::size_t opened = line_;
    add(prints ? token::type::begin_print : token::type::begin_block, "");
    std::string open;  // brackets
    for (;;) {
      go(skip_blanks(source_, at_));
      if (at_ >= source_.size())
        fail_at(opened, prints ? "{{ is never closed; close it with }}" : "{% is never closed; close it with %}");
      if (open.empty()) {
        if (const std::size_t end = tag_end(at_, prints ? "}}" : "%}", !prints); end != 0) {
          add(prints ? token::type::end_print : token::type::end_block, "");
          return go(end);
        }
      }
      const char c = source_[at_];
      if (c == '"' || c == '\'') {
        quoted(c);
      } else if (c >= '0' && c <= '9') {
        digits();
      } else if (const character first = character_at(source_, at_);
                 first && (c == '_' || is_letter(first.kind) || first.kind == char_class::letter_number)) {
        std::size_t end = at_;
        for (character next = first; next && is_word(next.code); next = character_at(source_, end)) end += next.size;
        add(token::type::name, source_.substr(at_, end - at_));
        go(end);
      } else {
        sign(open);
      }
    }
  }
  void sign(std::string& open) {
    constexpr std::array<std::string_view, 25> signs{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                     "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                     ">",  "<",  "=",  ".",  ":",  "|",  ","};
    for (const std::string_view s : signs) {
      if (!rest().starts_with(s)) continue;
      if (s == "(" || s == "[" || s == "{") open += s == "(" ? ')' : s == "[" ? ']' : '}';
      if (s == ")" || s == "]" || s == "}") {
        if (open.empty()) fail(join("unexpected \"", s, "\"; it closes nothing"));
        if (open.back() != s[0]) fail(join("unexpected \"", s, "\"; expected \"", open.back(), "\""));
        open.pop_back();
      }
      add(token::type::sign, std::string(s));
      return go(at_ + s.size());
    }
    fail(join("unexpected character ", json::dump(json::value(std::string(1, source_[at_]).c_str()))));
  }
  void digits() {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    std::size_t end = at_;
    std::string text;
    const auto take = [&](auto&& allowed) {
      while (end < source_.size() && (allowed(source_[end]) ||
                                      (source_[end] == '_' && end + 1 < source_.size() && allowed(source_[end + 1])))) {
        if (source_[end] != '_') text += source_[end];
        ++end;
      }
    };
    const char base = source_[at_] == '0' && at_ + 1 < source_.size() ? source_[at_ + 1] : ' ';
    if (base == 'x' || base == 'X' || base == 'o' || base == 'O' || base == 'b' || base == 'B') {
      fail("numbers are written in decimal digits here");
    }
    take(digit);
    bool whole = true;
    const bool index = at_ > 0 && source_[at_ - 1] == '.';  // messages.0.role
    if (!index && end + 1 < source_.size() && source_[end] == '.' && digit(source_[end + 1])) {
      whole = false;
      text += '.';
      ++end;
      take(digit);
    }
    if (!index && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t power = end + 1;
      if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
      if (power < source_.size() && digit(source_[power])) {
        whole = false;
        text += source_.substr(end, power - end);
        end = power;
        take(digit);
      }
    }
    if (whole && text.size() > 1 && text.find_first_not_of('0') != std::string::npos && text[0] == '0')
      fail(join("a number does not begin with 0, found ", text));
    add(whole ? token::type::integer : token::type::number, std::move(text));
    go(end);
  }
  void quoted(char quote) {
    std::string text;
    std::size_t at = at_ + 1;
    for (;; ++at) {
      if (at >= source_.size()) fail(join("a string that begins with ", quote, " is never closed"));
      const char c = source_[at];
      if (c == quote) break;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (++at >= source_.size()) fail(join("a string that begins with ", quote, " is never closed"));
      escape(text, at);
    }
    add(token::type::text, std::move(text));
    go(at + 1);
  }
  /// Appends what the escape at source_[at] (after the backslash) stands for; `at` ends at its last character.
  void escape(std::string& text, std::size_t& at) {
    constexpr std::string_view names = "abfnrtv\\'\"";
    constexpr std::string_view meant = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[at];
    if (const auto found = names.find(c); found != std::string_view::npos) {
      text += meant[found];
    } else if (c == '\n') {
      // a line that goes on
    } else if (c >= '0' && c <= '7') {
      char32_t code = 0;
      std::size_t digit_count = 0;
      for (; digit_count < 3 && at + digit_count < source_.size(); ++digit_count) {
        const char d = source_[at + digit_count];
        if (d < '0' || d > '7') break;
        code = code * 8 + static_cast<char32_t>(d - '0');
      }
      append_utf8(text, code);
      at += digit_count - 1;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      char32_t code = 0;
      for (std::size_t i = 1; i <= count; ++i) {
        const auto place = at + i < source_.size() ? hex_digits.find(source_[at + i]) : std::string_view::npos;
        if (place == std::string_view::npos) fail(join("\\", c, " in a string needs ", count, " hexadecimal digits"));
        code = code * 16 + static_cast<char32_t>(place < 16 ? place : place - 6);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail(join("\\", c, " in a string names no character"));
      append_utf8(text, code);
      at += count;
    } else if (c == 'N') {
      fail("\\N{name} in a string is not supported; write the character itself");
    } else {
      text += '\\';
      text += c;
    }
  }

  static constexpr std::string_view hex_digits = "0123456789abcdefABCDEF";
  std::string source_;
  const std::string& place_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  bool at_line_start_ = true;
  std::vector<token> tokens_;
};

std::vector<token> lex_template(std::string_view source, const std::string& place) {
  return lexer(source, place).run();
}

}  // namespace plumb::inline v0::detail::jinja
