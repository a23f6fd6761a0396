// SPDX-License-Identifier: BSL-1.0
// The first stage of a tokenizer: rewriting text, by the steps that a tokenizer.json lists under "normalizer".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/nfc.hpp>
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

using normalizer_step = std::variant<prepend_step, replace_step, nfc_step, trim_step>;

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
  } else if (type == "Strip") {
    steps.emplace_back(trim_step{json::get_or<bool>(entry, "strip_left", true, place),
                                 json::get_or<bool>(entry, "strip_right", true, place)});
  } else if (const json::value* const text = type == "Replace" ? fixed_pattern(entry, place) : nullptr) {
    steps.emplace_back(replace_step{json::as<std::string>(*text, "\"pattern\"", place),
                                    json::get<std::string>(entry, "content", place)});
  } else {
    throw error(errc::unsupported, place,
                join("the normalizer ", type, type == "Replace" ? " with a regular expression" : "",
                     " is not supported; plumb knows Prepend, Replace of a fixed text, NFC, Strip and Sequence"));
  }
}

}  // namespace plumb::inline v0::detail
