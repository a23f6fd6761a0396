// SPDX-License-Identifier: BSL-1.0
// The second stage of a tokenizer: cutting text into words, which no token crosses ("pre_tokenizer" in tokenizer.json).
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/bert.hpp>
#include <plumb/text/normalizer.hpp>
#include <plumb/text/patterns.hpp>
#include <plumb/text/unicode.hpp>

namespace plumb::inline v0::detail {

/// Words in the making: views into the text or into copies that a step had to change.
struct words {
  struct word {
    std::string_view text;
    bool first = false;  // it begins where the whole input begins
  };
  std::vector<word> list;
  std::deque<std::string> copies;  // a deque: views into its strings stay valid

  std::string_view keep(std::string text) { return copies.emplace_back(std::move(text)); }
};

/// Replaces each word by the pieces that `cut(text, give)` gives, in order.
template <class Cut>
void cut_words(words& all, Cut cut) {
  std::vector<words::word> pieces;
  for (const words::word& word : all.list) {
    bool first = word.first;
    cut(word.text, [&](std::string_view piece) {
      if (!piece.empty()) pieces.push_back({piece, std::exchange(first, false)});
    });
  }
  all.list = std::move(pieces);
}

/// Cuts by the scanner of a published regular expression.
struct pattern_step {
  word_pattern pattern;
  void apply(words& all) const {
    cut_words(all, [&](std::string_view text, auto give) { for_each_word(text, pattern, give); });
  }
};

/// What becomes of the separators that a split finds.
enum class split_behavior { removed, isolated, with_previous, with_next, contiguous };

/// Cuts at every occurrence of a fixed text, or at characters of a kind.
template <class Find>
void split_words(words& all, split_behavior behavior, Find find) {
  using enum split_behavior;
  cut_words(all, [&](std::string_view text, auto give) {
    std::size_t begin = 0;    // of the piece that is being collected
    bool separators = false;  // it consists of separators (contiguous)
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = find(text, at);
      if (size == 0) {
        if (separators) give(text.substr(begin, at - begin)), begin = at;
        separators = false;
        at += character_at(text, at).size;
        continue;
      }
      if (behavior == with_previous) {
        give(text.substr(begin, at + size - begin));
        begin = at + size;
      } else if (behavior == with_next) {
        give(text.substr(begin, at - begin));
        begin = at;
      } else if (behavior != contiguous || !separators) {
        give(text.substr(begin, at - begin));
        begin = at;
        if (behavior == isolated) give(text.substr(at, size));
        if (behavior == contiguous)
          separators = true;
        else
          begin = at + size;
      }
      at += size;
    }
    give(text.substr(begin));
  });
}

struct split_step {
  std::string separator;
  split_behavior behavior;
  void apply(words& all) const {
    split_words(all, behavior, [&](std::string_view text, std::size_t at) {
      return text.substr(at, separator.size()) == separator ? separator.size() : 0;
    });
  }
};

/// Cuts numbers from the rest, digit by digit or whole.
struct digits_step {
  bool individual = false;
  void apply(words& all) const {
    split_words(all, individual ? split_behavior::isolated : split_behavior::contiguous,
                [](std::string_view text, std::size_t at) {
                  const character c = character_at(text, at);
                  return is_number(c.kind) ? c.size : 0;
                });
  }
};

/// Byte level: a space before a word that lacks one, if asked; the GPT-2 pattern, unless a Split has cut already.
struct byte_level_step {
  bool add_prefix_space = false, use_regex = true;
  void apply(words& all) const {
    if (add_prefix_space) {
      for (auto& word : all.list) {
        if (!word.text.starts_with(' ')) word.text = all.keep(join(" ", word.text));
      }
    }
    if (use_regex) pattern_step{}.apply(all);
  }
};

/// SentencePiece's way: spaces become ▁, one may stand in front, and every ▁ begins a word.
struct metaspace_step {
  enum class scheme { always, first, never };
  std::string replacement;
  scheme prepend = scheme::always;
  bool split = true;
  void apply(words& all) const {
    for (auto& word : all.list) {
      std::string text = replace_all(word.text, " ", replacement);
      const bool wanted = prepend == scheme::always || (prepend == scheme::first && word.first);
      if (wanted && !text.starts_with(replacement)) text.insert(0, replacement);
      word.text = all.keep(std::move(text));
    }
    if (split) split_step{replacement, split_behavior::with_next}.apply(all);
  }
};

/// Cuts at white space, which vanishes, and, if asked, around each character of punctuation.
struct blanks_step {
  bool punctuation = false;
  void apply(words& all) const {
    split_words(all, split_behavior::removed, [](std::string_view text, std::size_t at) {
      const character c = character_at(text, at);
      return is_space(c.kind) ? c.size : 0;
    });
    if (punctuation)
      split_words(all, split_behavior::isolated, [](std::string_view text, std::size_t at) {
        const character c = character_at(text, at);
        return is_bert_punctuation(c) ? c.size : 0;
      });
  }
};

/// Cuts at punctuation.
struct punctuation_step {
  split_behavior behavior = split_behavior::isolated;
  void apply(words& all) const {
    split_words(all, behavior, [](std::string_view text, std::size_t at) {
      const character c = character_at(text, at);
      return is_bert_punctuation(c) ? c.size : 0;
    });
  }
};

/// `\w+|[^\w\s]+`: runs of letters, digits and the like, and runs of the rest; white space vanishes.
struct word_runs_step {
  void apply(words& all) const {
    cut_words(all, [](std::string_view text, auto give) {
      std::size_t begin = 0;
      int last = 0;  // 0 white space, 1 a word, 2 the rest
      for (std::size_t at = 0; at < text.size();) {
        const character c = character_at(text, at);
        const int kind = is_word(c.code) ? 1 : is_space(c.kind) ? 0 : 2;
        if (kind != last) {
          if (last != 0) give(text.substr(begin, at - begin));
          begin = at;
        }
        last = kind;
        at += c.size;
      }
      if (last != 0) give(text.substr(begin));
    });
  }
};

using pre_tokenizer_step = std::variant<pattern_step, split_step, digits_step, blanks_step, punctuation_step,
                                        word_runs_step, byte_level_step, metaspace_step>;

/// "always", "first" or "never"; older files say add_prefix_space instead.
inline metaspace_step::scheme read_prepend_scheme(const json::object& entry, const std::string& place) {
  const bool added = json::get_or<bool>(entry, "add_prefix_space", true, place);
  const auto text = json::get_or<std::string>(entry, "prepend_scheme", added ? "always" : "never", place);
  if (text == "always") return metaspace_step::scheme::always;
  if (text == "first") return metaspace_step::scheme::first;
  if (text == "never") return metaspace_step::scheme::never;
  throw error(errc::bad_file, place,
              join("expected prepend_scheme to be always, first or never, found \"", text, "\""));
}

inline split_behavior read_split_behavior(const std::string& named, const std::string& place) {
  using enum split_behavior;
  const std::optional<split_behavior> behavior = named == "Removed"              ? std::optional(removed)
                                                 : named == "Isolated"           ? std::optional(isolated)
                                                 : named == "MergedWithPrevious" ? std::optional(with_previous)
                                                 : named == "MergedWithNext"     ? std::optional(with_next)
                                                 : named == "Contiguous"         ? std::optional(contiguous)
                                                                                 : std::nullopt;
  if (!behavior) throw error(errc::bad_file, place, join("unknown Split behavior \"", named, "\""));
  return *behavior;
}

inline pre_tokenizer_step read_split(const json::object& entry, const std::string& place) {
  using enum split_behavior;
  const auto named = json::get<std::string>(entry, "behavior", place);
  const bool invert = json::get_or<bool>(entry, "invert", false, place);
  const split_behavior behavior = read_split_behavior(named, place);
  if (const json::value* const text = fixed_pattern(entry, place)) {
    auto separator = json::as<std::string>(*text, "\"pattern\"", place);
    if (invert || separator.empty()) {
      throw error(errc::unsupported, place, "a Split at a fixed text must not be inverted, nor the text be empty");
    }
    return split_step{std::move(separator), behavior};
  }
  const auto regex = json::get<std::string>(json::get<json::object>(entry, "pattern", place), "Regex", place);
  const auto pattern = recognise_pattern(regex);
  if (!pattern) {
    throw error(
        errc::unsupported, place,
        join("the Split pattern ", json::dump(json::value(regex.c_str())),
             " is not one of the published ones that plumb knows (GPT-2, GPT-4, GPT-4o, Llama 3, Qwen, Mistral)"));
  }
  // These patterns match everything, so both ways to keep the matches mean the same.
  if (behavior != isolated && !(behavior == removed && invert)) {
    throw error(errc::unsupported, place, join("a Split by words with the behavior ", named, " is not supported"));
  }
  return pattern_step{*pattern};
}

/// Appends the steps of a "pre_tokenizer" entry (null: none); unknown ones are `unsupported`.
inline void read_pre_tokenizer(const json::value& v, const std::string& place, std::vector<pre_tokenizer_step>& steps) {
  if (v.is_null()) return;
  const auto& entry = json::as_object(v, "\"pre_tokenizer\"", place);
  const auto type = json::get<std::string>(entry, "type", place);
  if (!steps.empty() && std::holds_alternative<byte_level_step>(steps.back())) {
    throw error(errc::unsupported, place, "ByteLevel must be the last pre_tokenizer of a sequence");
  }
  if (type == "Sequence") {
    for (const json::value& item : json::get<json::array>(entry, "pretokenizers", place))
      read_pre_tokenizer(item, place, steps);
  } else if (type == "ByteLevel") {
    steps.emplace_back(byte_level_step{json::get_or<bool>(entry, "add_prefix_space", true, place),
                                       json::get_or<bool>(entry, "use_regex", true, place)});
  } else if (type == "Split") {
    steps.emplace_back(read_split(entry, place));
  } else if (type == "Digits") {
    steps.emplace_back(digits_step{json::get_or<bool>(entry, "individual_digits", false, place)});
  } else if (type == "BertPreTokenizer" || type == "WhitespaceSplit") {
    steps.emplace_back(blanks_step{type == "BertPreTokenizer"});
  } else if (type == "Whitespace") {
    steps.emplace_back(word_runs_step{});
  } else if (type == "Punctuation") {
    steps.emplace_back(
        punctuation_step{read_split_behavior(json::get_or<std::string>(entry, "behavior", "Isolated", place), place)});
  } else if (type == "Metaspace") {
    steps.emplace_back(metaspace_step{json::get<std::string>(entry, "replacement", place),
                                      read_prepend_scheme(entry, place),
                                      json::get_or<bool>(entry, "split", true, place)});
  } else {
    throw error(errc::unsupported, place,
                join("the pre_tokenizer ", type,
                     " is not supported; plumb knows ByteLevel, Split, Digits, Metaspace, BertPreTokenizer, "
                     "Whitespace, WhitespaceSplit, Punctuation and Sequence"));
  }
}

}  // namespace plumb::inline v0::detail
