// SPDX-License-Identifier: BSL-1.0
// The bodies of text/tokenizer_source.hpp that all kinds of files share. Collected by plumb/impl.hpp.
#pragma once

#include <cmath>
#include <numeric>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0::detail {

std::vector<std::uint32_t> order_of_scores(std::span<const float> scores) {
  std::vector<std::uint32_t> by(scores.size()), out(scores.size());
  std::iota(by.begin(), by.end(), 0u);
  const auto score = [&](std::uint32_t i) { return std::isnan(scores[i]) ? -INFINITY : scores[i]; };
  std::stable_sort(by.begin(), by.end(), [&](auto a, auto b) { return score(a) > score(b); });
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < by.size(); ++i) {
    if (i > 0 && score(by[i]) != score(by[i - 1])) ++rank;
    out[by[i]] = rank;
  }
  return out;
}

json::object vocabulary_json(std::span<const std::string> pieces) {
  json::object out;
  out.reserve(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (!pieces[i].empty()) out.emplace(json_text(pieces[i]), i);
  return out;
}

json::array merges_json(std::span<const std::string> pieces, std::span<const ranked_merge> merges) {
  json::array out;
  out.reserve(merges.size());
  for (const ranked_merge& m : merges)
    out.push_back(json::array{json_text(pieces[static_cast<std::size_t>(m.left)]),
                              json_text(pieces[static_cast<std::size_t>(m.right)])});
  return out;
}

json::object added_token_json(std::string_view content, token_id id, bool special) {
  return {{"id", id},        {"content", json_text(content)}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false},           {"special", special}};
}

json::value template_json(std::span<const std::string> pieces, std::optional<token_id> before,
                          std::optional<token_id> after) {
  if (!before && !after) return nullptr;
  json::array single, pair;
  json::object special;
  const auto put = [&](json::array& to, token_id id, int type) {
    const auto text = json_text(pieces[static_cast<std::size_t>(id)]);
    to.push_back(json::object{{"SpecialToken", json::object{{"id", text}, {"type_id", type}}}});
    special[text] = json::object{{"id", text}, {"ids", json::array{id}}, {"tokens", json::array{text}}};
  };
  const auto sequence = [](const char* name, int type) {
    return json::object{{"Sequence", json::object{{"id", name}, {"type_id", type}}}};
  };
  for (json::array* const to : {&single, &pair}) {
    if (before) put(*to, *before, 0);
    to->push_back(sequence("A", 0));
    if (after) put(*to, *after, 0);
  }
  if (before) put(pair, *before, 1);
  pair.push_back(sequence("B", 1));
  if (after) put(pair, *after, 1);
  return json::object{{"type", "TemplateProcessing"},
                      {"single", std::move(single)},
                      {"pair", std::move(pair)},
                      {"special_tokens", std::move(special)}};
}

json::object byte_level_json(std::string_view pattern) {
  json::object split{{"type", "Split"},
                     {"pattern", json::object{{"Regex", json_text(pattern)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}};
  json::object bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return {{"type", "Sequence"}, {"pretokenizers", json::array{std::move(split), std::move(bytes)}}};
}

json::object replace_json(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", json::object{{"String", json_text(from)}}}, {"content", json_text(to)}};
}

}  // namespace plumb::inline v0::detail
