// SPDX-License-Identifier: BSL-1.0
// The bodies of core/pattern.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/pattern.hpp>

// How it works (Thompson 1968). The expression becomes a little program: "take a character of this set", "go on at one
// of these two places", "jump". Matching follows all the places where the program could be at once, so that each
// character of the text is looked at once. Nothing is tried and taken back: (a*)*b costs no more than a*b.

namespace plumb::inline v0 {

namespace detail {

/// Which ASCII characters a step takes, and whether it takes all the others.
struct character_set {
  std::uint64_t bits[2]{};
  bool others = false;

  constexpr void add(unsigned char c) { bits[c >> 6] |= std::uint64_t{1} << (c & 63); }
  constexpr void add(unsigned char from, unsigned char to) {
    for (unsigned c = from; c <= to; ++c) add(static_cast<unsigned char>(c));
  }
  constexpr void add(const character_set& more) {
    bits[0] |= more.bits[0];
    bits[1] |= more.bits[1];
    others |= more.others;
  }
  constexpr void invert() {
    bits[0] = ~bits[0];
    bits[1] = ~bits[1];
    others = !others;
  }
  [[nodiscard]] constexpr bool has(unsigned char c) const {
    return c < 128 ? (bits[c >> 6] >> (c & 63) & 1) != 0 : others;
  }
};

/// One step of the program; `to` and `other` count steps from this one, so that a piece can be copied as it is.
struct regex_step {
  enum kind : std::uint8_t { take, fork, jump, at_start, at_end, at_last_line } what = take;
  std::int32_t to = 1, other = 1;
  character_set set{};
};
using pattern_piece = std::vector<regex_step>;

/// Reads an expression by recursive descent: choice = sequence | sequence …, sequence = repeated atoms.
class pattern_parser {
 public:
  explicit pattern_parser(std::string_view text) : text_(text) {
    if (text.size() > longest) fail(errc::unsupported, 0, join("longer than ", longest, " characters"));
  }

  pattern_piece all() {
    pattern_piece out = choice(0);
    if (!done()) fail(errc::bad_argument, at_, "unbalanced )");
    return out;
  }

 private:
  static constexpr std::size_t longest = 1u << 16;
  static constexpr std::size_t most_steps = 20'000;  // bounds time and memory of a hostile expression
  static constexpr std::size_t most_repeats = 1000;
  static constexpr int deepest = 100;

  [[noreturn]] void fail(errc code, std::size_t where, std::string_view message) const {
    const std::string_view shown = text_.substr(0, 80);
    throw error(code, "pattern",
                join("\"", shown, shown.size() < text_.size() ? "…" : "", "\", position ", where, ": ", message));
  }
  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  [[nodiscard]] bool sees(char c) const { return !done() && text_[at_] == c; }
  bool accept(char c) {
    if (!sees(c)) return false;
    ++at_;
    return true;
  }
  char next() {
    const char c = text_[at_++];
    if (static_cast<unsigned char>(c) > 127) fail(errc::unsupported, at_ - 1, "characters beyond ASCII");
    return c;
  }
  void check_room(std::size_t steps) const {
    if (steps > most_steps) fail(errc::unsupported, at_, join("the expression needs more than ", most_steps, " steps"));
  }
  void append(pattern_piece& to, const pattern_piece& piece) const {
    check_room(to.size() + piece.size());
    to.insert(to.end(), piece.begin(), piece.end());
  }
  static std::int32_t count(const pattern_piece& p) { return static_cast<std::int32_t>(p.size()); }
  static regex_step fork(std::int32_t to, std::int32_t other) { return {regex_step::fork, to, other, {}}; }
  static regex_step jump(std::int32_t to) { return {regex_step::jump, to, 1, {}}; }
  static pattern_piece one(const character_set& set) { return {{regex_step::take, 1, 1, set}}; }

  /// a|b|c. Each alternative but the last: fork to it or to the next, and jump over the rest at its end.
  pattern_piece choice(int depth) {
    if (depth > deepest) fail(errc::unsupported, at_, join("groups nested deeper than ", deepest));
    std::vector<pattern_piece> ways;
    std::size_t total = 0;
    do {
      ways.push_back(sequence(depth));
      check_room(total += ways.back().size() + 2);
    } while (accept('|'));
    pattern_piece out;
    auto rest = static_cast<std::int32_t>(total - 2);  // steps from here to the end; the last way has no fork and jump
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const std::int32_t own = count(ways[i]);
      if (i + 1 < ways.size()) out.push_back(fork(1, own + 2));
      append(out, ways[i]);
      rest -= own + 2;
      if (i + 1 < ways.size()) out.push_back(jump(rest + 1));
    }
    return out;
  }

  pattern_piece sequence(int depth) {
    pattern_piece out;
    while (!done() && !sees('|') && !sees(')')) {
      const std::size_t start = at_;
      bool anchor = false;
      pattern_piece piece = atom(depth, anchor);
      std::size_t least = 1, most = 1;
      if (repetition(least, most)) {
        if (anchor) fail(errc::bad_argument, start, "nothing to repeat");
        piece = repeat(piece, least, most);
        const std::size_t after = at_;
        accept('?');  // as few as possible: for a whole match it comes to the same
        if (sees('+')) fail(errc::unsupported, at_, "possessive repetition");
        std::size_t again = 0;
        if (repetition(again, again))
          fail(errc::bad_argument, after, "a repetition of a repetition; put it in a group");
      }
      append(out, piece);
    }
    return out;
  }

  static constexpr std::size_t endless = static_cast<std::size_t>(-1);

  /// Reads * + ? {m} {m,} {,n} {m,n}; a brace that is none of these stands for itself.
  bool repetition(std::size_t& least, std::size_t& most) {
    const std::size_t start = at_;
    if (accept('*')) return least = 0, most = endless, true;
    if (accept('+')) return least = 1, most = endless, true;
    if (accept('?')) return least = 0, most = 1, true;
    if (!accept('{')) return false;
    std::size_t low = 0, high = endless;
    const bool has_low = number(low);
    const bool comma = accept(',');
    const bool has_high = comma ? number(high) : false;
    if (!accept('}') || (!has_low && !comma)) return at_ = start, false;
    if (!comma) high = low;
    const bool too_many = low > most_repeats || (has_high && high > most_repeats);
    if (too_many) fail(errc::unsupported, start, join("more than ", most_repeats, " repetitions"));
    if (high < low) fail(errc::bad_argument, start, "the smaller number of repetitions comes first");
    return least = low, most = high, true;
  }
  bool number(std::size_t& out) {
    const std::size_t start = at_;
    std::size_t value = 0;
    for (; !done() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (value <= most_repeats) value = 10 * value + static_cast<std::size_t>(text_[at_] - '0');
    }
    if (at_ == start) return false;
    out = value;
    return true;
  }

  pattern_piece repeat(const pattern_piece& piece, std::size_t least, std::size_t most) const {
    const std::size_t copies = most == endless ? least + 1 : most;
    check_room(copies * (piece.size() + 2));
    const std::int32_t own = count(piece);
    pattern_piece out;
    for (std::size_t i = 0; i < least; ++i) append(out, piece);
    if (most == endless) {
      out.push_back(fork(1, own + 2));
      append(out, piece);
      out.push_back(jump(-(own + 1)));
      return out;
    }
    for (std::size_t left = most - least; left > 0; --left) {  // each further one may be the end
      out.push_back(fork(1, static_cast<std::int32_t>(left) * (own + 1)));
      append(out, piece);
    }
    return out;
  }

  pattern_piece atom(int depth, bool& anchor) {
    const std::size_t start = at_;
    std::size_t unused = 0;
    if (repetition(unused, unused)) fail(errc::bad_argument, start, "nothing to repeat");
    character_set set;
    switch (const char c = next()) {
      case '(': return group(depth, start);
      case '[': return one(characters(start));
      case '.':
        set.add('\n');
        set.invert();
        return one(set);
      case '^': return anchor = true, pattern_piece{{regex_step::at_start, 1, 1, {}}};
      case '$': return anchor = true, pattern_piece{{regex_step::at_last_line, 1, 1, {}}};
      case '\\':
        if (accept('A')) return anchor = true, pattern_piece{{regex_step::at_start, 1, 1, {}}};
        if (accept('Z')) return anchor = true, pattern_piece{{regex_step::at_end, 1, 1, {}}};
        escape(set, start, false);
        return one(set);
      default: set.add(static_cast<unsigned char>(c)); return one(set);
    }
  }

  pattern_piece group(int depth, std::size_t start) {
    if (sees('?')) {
      if (text_.substr(at_, 2) != "?:")
        fail(errc::unsupported, start,
             "of the groups that begin with (? only (?:…) is supported: no look-around, names or flags");
      at_ += 2;
    }
    pattern_piece out = choice(depth + 1);
    if (!accept(')')) fail(errc::bad_argument, start, "the group is not closed");
    return out;
  }

  /// [a-z_] or [^…], after the bracket.
  character_set characters(std::size_t start) {
    character_set set;
    const bool inverted = accept('^');
    for (bool first = true;; first = false) {
      if (done()) fail(errc::bad_argument, start, "the set of characters is not closed");
      if (!first && accept(']')) break;
      const std::size_t here = at_;
      const int from = member(set, here);
      if (!sees('-') || text_.substr(at_, 2) == "-]") continue;
      ++at_;
      if (done()) fail(errc::bad_argument, start, "the set of characters is not closed");
      const int to = member(set, here);
      if (from < 0 || to < from) fail(errc::bad_argument, here, "not a range of characters");
      set.add(static_cast<unsigned char>(from), static_cast<unsigned char>(to));
    }
    if (inverted) set.invert();
    return set;
  }
  /// Adds one member of a set; returns its character, or -1 for a class such as \w.
  int member(character_set& set, std::size_t where) {
    const char c = next();
    if (c == '\\') return escape(set, where, true);
    set.add(static_cast<unsigned char>(c));
    return c;
  }

  /// What follows a backslash; returns the character, or -1 for a class.
  int escape(character_set& out, std::size_t start, bool inside) {
    if (done()) fail(errc::bad_argument, start, "nothing follows the backslash");
    const char c = next();
    character_set set;
    switch (c) {
      case 'd':
      case 'D': set.add('0', '9'); break;
      case 'w':
      case 'W':
        set.add('0', '9');
        set.add('A', 'Z');
        set.add('a', 'z');
        set.add('_');
        break;
      case 's':
      case 'S':
        set.add(' ');
        set.add('\t', '\r');
        set.add(0x1c, 0x1f);
        break;
      default: {
        const int character = escaped(c, start, inside);
        out.add(static_cast<unsigned char>(character));
        return character;
      }
    }
    if (c < 'a') set.invert();
    out.add(set);
    return -1;
  }
  int escaped(char c, std::size_t start, bool inside) {
    switch (c) {
      case 'a': return '\a';
      case 'f': return '\f';
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'v': return '\v';
      case 'b':
        if (inside) return '\b';
        break;
      default:
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return c;
    }
    fail(errc::unsupported, start, join("\\", c, " (a back-reference, an assertion or a numbered character)"));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

struct pattern_program {
  std::vector<regex_step> steps;
};

}  // namespace detail

pattern::pattern(std::string_view regex)
    : text_(regex),
      program_(std::make_shared<const detail::pattern_program>(
          detail::pattern_program{detail::pattern_parser(text_).all()})) {}

bool pattern::matches(std::string_view whole_text) const {
  constexpr std::size_t nowhere = static_cast<std::size_t>(-1);
  const auto& steps = program_->steps;
  const std::size_t end = steps.size();
  const std::size_t size = whole_text.size();
  std::vector<std::size_t> now, then, open;         // places before the next character; those still to follow
  std::vector<std::size_t> seen(end + 1, nowhere);  // the position for which a place was last entered
  const auto follow = [&](std::size_t place, std::size_t position, std::vector<std::size_t>& into) {
    open.push_back(place);
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      if (std::exchange(seen[at], position) == position) continue;
      if (at == end) continue;
      const auto& step = steps[at];
      const auto away = [&](std::int32_t by) { return at + static_cast<std::size_t>(static_cast<std::ptrdiff_t>(by)); };
      const bool last = position == size;
      switch (step.what) {
        case detail::regex_step::take: into.push_back(at); break;
        case detail::regex_step::fork: open.push_back(away(step.other)); [[fallthrough]];
        case detail::regex_step::jump: open.push_back(away(step.to)); break;
        case detail::regex_step::at_start:
          if (position == 0) open.push_back(at + 1);
          break;
        case detail::regex_step::at_end:
          if (last) open.push_back(at + 1);
          break;
        case detail::regex_step::at_last_line:  // Python's $ also holds before a line end that ends the text
          if (last || (position + 1 == size && whole_text[position] == '\n')) open.push_back(at + 1);
          break;
      }
    }
  };
  follow(0, 0, now);
  for (std::size_t position = 0; position < size && !now.empty();) {
    const auto c = static_cast<unsigned char>(whole_text[position]);
    std::size_t after = position + 1;
    while (c > 127 && after < size && (static_cast<unsigned char>(whole_text[after]) & 0xC0u) == 0x80u) ++after;
    then.clear();
    for (const std::size_t at : now) {
      if (steps[at].set.has(c)) follow(at + 1, after, then);
    }
    std::swap(now, then);
    position = after;
  }
  return seen[end] == size;
}

}  // namespace plumb::inline v0
