// SPDX-License-Identifier: BSL-1.0
// The first stage of a tokenizer: rewriting text, by the steps that a tokenizer.json lists under "normalizer".
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/base64.hpp>
#include <plumb/text/bert.hpp>
#include <plumb/text/nfc.hpp>
#include <plumb/text/precompiled.hpp>
#include <plumb/text/unicode.hpp>

namespace plumb::inline v0::detail {

/// Every occurrence of `from`, left to right, becomes `to`.
inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const std::size_t at = from.empty() ? std::string_view::npos : text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

/// Puts a text in front of every text that is not empty.
struct prepend_step {
  std::string prefix;
  void apply(std::string& text) const {
    if (!text.empty()) text.insert(0, prefix);
  }
};

/// Replaces one text by another everywhere.
struct replace_step {
  std::string from, to;
  void apply(std::string& text) const { text = replace_all(text, from, to); }
};

/// Replaces runs of one character: everywhere (of at least `least`), or only at one end of the text.
struct runs_step {
  enum class where { all, begin, end, first };  // first: only one character, at the begin
  where at = where::all;
  std::string unit = " ";
  std::size_t least = 1;
  std::string to;
  void apply(std::string& text) const {
    if (at == where::first) {
      if (text.starts_with(unit)) text.replace(0, unit.size(), to);
      return;
    }
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      std::size_t end = i;
      while (text.compare(end, unit.size(), unit) == 0) end += unit.size();
      const bool wanted = at == where::all || (at == where::begin ? i == 0 : end == text.size());
      if (end > i && (end - i) / unit.size() >= least && wanted)
        out += to;
      else
        out.append(text, i, end - i);
      const std::size_t next = std::min(text.find(unit, end), text.size());
      out.append(text, end, next - end);
      i = next;
    }
    text = std::move(out);
  }
};

/// The step of a regular expression that replaces runs of spaces, if it is one that plumb knows.
inline std::optional<runs_step> recognise_runs(std::string_view regex, std::string to) {
  using where = runs_step::where;
  if (regex == " {2,}" || regex == "  +") return runs_step{where::all, " ", 2, std::move(to)};
  if (regex == " +") return runs_step{where::all, " ", 1, std::move(to)};
  if (regex == "^ +") return runs_step{where::begin, " ", 1, std::move(to)};
  if (regex == " +$") return runs_step{where::end, " ", 1, std::move(to)};
  if (regex == "\u2581+$") return runs_step{where::end, "\u2581", 1, std::move(to)};
  if (regex == "^\u2581") return runs_step{where::first, "\u2581", 1, std::move(to)};
  return std::nullopt;
}

/// Unicode normalisation form C.
struct nfc_step {
  void apply(std::string& text) const { text = to_nfc(text); }
};

/// Removes white space at the ends.
struct trim_step {
  bool left = true, right = true;
  void apply(std::string& text) const {
    std::size_t begin = 0, end = text.size();
    for (character c = character_at(text, begin); left && c && is_space(c.kind); c = character_at(text, begin))
      begin += c.size;
    while (right && end > begin && is_space(character_at(text, before(text, end)).kind)) end = before(text, end);
    text = text.substr(begin, end - begin);
  }
};

using normalizer_step = std::variant<prepend_step, replace_step, runs_step, precompiled_step, nfc_step, nfd_step,
                                     lowercase_step, strip_accents_step, bert_step, trim_step>;

inline std::string normalize(std::string text, const std::vector<normalizer_step>& steps) {
  for (const normalizer_step& step : steps) {
    std::visit([&](const auto& s) { s.apply(text); }, step);
  }
  return text;
}

/// The fixed text of a `pattern` such as {"String": " "}; a regular expression gives nothing.
inline const json::value* fixed_pattern(const json::object& from, const std::string& place) {
  const json::value* const pattern = json::find(from, "pattern");
  if (pattern == nullptr) throw error(errc::bad_file, place, "expected the key \"pattern\", found none");
  if (pattern->is_string()) return pattern;
  const auto& both = json::as_object(*pattern, "\"pattern\"", place);
  return json::find(both, "String");
}

/// Appends the steps of a "normalizer" entry (null: none); unknown ones are `unsupported`.
inline void read_normalizer(const json::value& v, const std::string& place, std::vector<normalizer_step>& steps) {
  if (v.is_null()) return;
  const auto& entry = json::as_object(v, "\"normalizer\"", place);
  const auto type = json::get<std::string>(entry, "type", place);
  if (type == "Sequence") {
    for (const json::value& item : json::get<json::array>(entry, "normalizers", place))
      read_normalizer(item, place, steps);
  } else if (type == "Prepend") {
    steps.emplace_back(prepend_step{json::get<std::string>(entry, "prepend", place)});
  } else if (type == "NFC") {
    steps.emplace_back(nfc_step{});
  } else if (type == "NFD") {
    steps.emplace_back(nfd_step{});
  } else if (type == "Lowercase") {
    steps.emplace_back(lowercase_step{});
  } else if (type == "StripAccents") {
    steps.emplace_back(strip_accents_step{});
  } else if (type == "BertNormalizer") {
    bert_step bert;
    bert.clean = json::get_or<bool>(entry, "clean_text", true, place);
    bert.ideographs = json::get_or<bool>(entry, "handle_chinese_chars", true, place);
    bert.lowercase = json::get_or<bool>(entry, "lowercase", true, place);
    bert.accents = json::get_or<bool>(entry, "strip_accents", bert.lowercase, place);
    steps.emplace_back(bert);
  } else if (type == "Strip") {
    steps.emplace_back(trim_step{json::get_or<bool>(entry, "strip_left", true, place),
                                 json::get_or<bool>(entry, "strip_right", true, place)});
  } else if (const json::value* const text = type == "Replace" ? fixed_pattern(entry, place) : nullptr) {
    steps.emplace_back(replace_step{json::as<std::string>(*text, "\"pattern\"", place),
                                    json::get<std::string>(entry, "content", place)});
  } else if (auto spaces = type == "Replace"
                               ? recognise_runs(json::get<std::string>(json::get<json::object>(entry, "pattern", place),
                                                                       "Regex", place),
                                                json::get<std::string>(entry, "content", place))
                               : std::nullopt) {
    steps.emplace_back(std::move(*spaces));
  } else if (type == "Precompiled") {
    auto table = from_base64(json::get<std::string>(entry, "precompiled_charsmap", place));
    if (!table) throw error(errc::bad_file, place, "\"precompiled_charsmap\": expected base64");
    steps.emplace_back(precompiled_step(std::move(*table), place));
  } else {
    throw error(
        errc::unsupported, place,
        join("the normalizer ", type, type == "Replace" ? " with this regular expression" : "",
             " is not supported; plumb knows Prepend, Replace of a fixed text or of spaces, Precompiled, NFC, NFD, "
             "Lowercase, StripAccents, BertNormalizer, Strip and Sequence"));
  }
}

}  // namespace plumb::inline v0::detail
