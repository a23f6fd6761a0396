// SPDX-License-Identifier: BSL-1.0
// How the guide of Saltmere says things: politely, plainly or rudely, in one breath or at length; and how a template
// becomes a sentence.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "dice.hpp"
#include "facts.hpp"

namespace demo {

enum class tone { polite, plain, rude };

/// What kind of reply: the eight corners truthful/false × polite/rude × concise/rambling, and the plain ones between.
struct style {
  bool truthful = true;
  tone manner = tone::polite;
  bool concise = true;

  friend constexpr bool operator==(const style&, const style&) = default;
};

/// {s} is the statement of a fact. A tone adds at most four words.
inline constexpr phrase polite_forms[] = {
    "gladly, friend: {s}.",  "of course! {s}.",       "{s}, dear friend.", "thank you for asking. {s}.",
    "{s}. Good day to you.", "welcome, friend! {s}.", "my pleasure: {s}.", "{s}. Please ask again.",
};
inline constexpr phrase plain_forms[] = {"{s}.", "{s}.", "well, {s}.", "{s}, I think."};
inline constexpr phrase rude_forms[] = {
    "{s}, you fool.",     "bah! {s}.",        "what a daft question. {s}.", "{s}. Now go away.",
    "{s}, you barnacle.", "silly pest! {s}.", "use your eyes, fool. {s}.",  "bah, {s}. Buzz off.",
};

/// Rambling wraps the statement into thirteen words that answer nothing.
inline constexpr phrase rambles[] = {
    "let me see, my memory is long and the days are slow, but {s}",
    "{s}, or so they say when the sea is calm and nights are long",
    "I was just thinking about the good old days by the sea, and {s}",
    "{s}, and that reminds me of a long story about the great old storm",
    "the weather may turn soon and the clouds are moving in again, but {s}",
    "{s}, and I could talk for hours about this town and all its stories",
};

constexpr std::span<const phrase> forms_of(tone manner) {
  switch (manner) {
    case tone::polite: return polite_forms;
    case tone::plain: return plain_forms;
    case tone::rude: return rude_forms;
  }
  return plain_forms;
}

/// What may stand for a placeholder: its name without braces, and its text.
using filling = std::pair<phrase, phrase>;

/// Fills a template: {name} by its filling (kept as it is when there is none), [a|b|c] by one of the alternatives.
inline std::string fill(phrase pattern, std::span<const filling> fillings, dice& chance) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char open = pattern[i];
    const std::size_t end = open == '{' ? pattern.find('}', i) : open == '[' ? pattern.find(']', i) : phrase::npos;
    if (end == phrase::npos) {
      out += open;
      continue;
    }
    const phrase inside = pattern.substr(i + 1, end - i - 1);
    i = end;
    if (open == '[') {
      std::size_t choices = 1;
      for (const char c : inside) choices += c == '|';
      std::size_t begin = 0;
      for (std::size_t skip = chance.below(choices); skip > 0; --skip) begin = inside.find('|', begin) + 1;
      out += inside.substr(begin, inside.find('|', begin) - begin);
      continue;
    }
    bool filled = false;
    for (const auto& [name, content] : fillings) {
      if (name != inside) continue;
      out += content;
      filled = true;
      break;
    }
    if (!filled) out.append("{").append(inside).append("}");
  }
  return out;
}

/// Capitalises the first letter of every sentence.
inline std::string sentence_case(std::string line) {
  bool begins = true;
  for (char& c : line) {
    if (begins && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == '.' || c == '!' || c == '?')
      begins = true;
    else if (c != ' ')
      begins = false;
  }
  return line;
}

/// A question about a fact, in one of the attribute's four phrasings.
inline std::string ask(const fact& f, std::size_t phrasing, dice& chance) {
  const std::array<filling, 1> fillings{{{"e", f.who().name}}};
  return fill(f.what().questions.at(phrasing), fillings, chance);
}

/// A reply about a fact in the wanted style; `value` is what it claims, true or not. 4 to 25 words.
inline std::string answer(const fact& f, phrase value, tone manner, bool concise, dice& chance) {
  const std::array<filling, 2> fillings{{{"e", f.who().name}, {"v", value}}};
  std::string line = fill(chance.pick(f.what().statements), fillings, chance);
  if (!concise) line = fill(chance.pick(rambles), std::array<filling, 1>{{{"s", line}}}, chance);
  return sentence_case(fill(chance.pick(forms_of(manner)), std::array<filling, 1>{{{"s", line}}}, chance));
}

/// One true sentence of the chronicle about an entity.
inline std::string story(const kind& k, const entity& e, dice& chance) {
  const std::array<filling, 5> fillings{
      {{"e", e.name}, {"p", e.possessive}, {"0", e.values[0]}, {"1", e.values[1]}, {"2", e.values[2]}}};
  return sentence_case(fill(chance.pick(k.stories), fillings, chance));
}

}  // namespace demo
