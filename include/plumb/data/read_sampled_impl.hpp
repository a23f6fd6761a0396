// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read_sampled.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/row.hpp>
#include <plumb/data/teacher_words.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

namespace detail {

/// One number or a list of them under that key; empty when the row has none.
inline std::vector<double> numbers_of(const data_row& row, std::string_view key) {
  if (!row.has(key)) return {};
  if (json::find(row.object, key)->is_array()) return json::get<std::vector<double>>(row.object, key, row.place);
  return {json::get<double>(row.object, key, row.place)};
}

}  // namespace detail

example parse_sampled(const json::value& value, const std::string& place, const tokenizer* words,
                      const read_options& o) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  example e = parse_demonstration(value, place, words, o);
  reply& r = e.replies.front();
  if (row.has("value") && row.has("old_value"))
    throw error(errc::bad_data, place, "expected \"old_value\" or \"value\", found both");
  using member = std::tuple<const char*, std::vector<double>*, bool>;
  for (const auto& [key, list, one_will_do] :
       {member{"old", &r.old, false}, member{"ref", &r.token_references, false},
        member{"advantage", &r.advantages, true}, member{"return", &r.returns, false},
        member{row.has("value") ? "value" : "old_value", &r.old_values, false}}) {
    *list = detail::numbers_of(row, key);
    if (list->empty() || list->size() == r.tokens.size() || (one_will_do && list->size() == 1)) continue;
    throw error(errc::bad_data, place,
                join("\"", key, "\": expected ", one_will_do ? "one number or " : "", r.tokens.size(),
                     r.tokens.size() == 1 ? " number" : " numbers", ", one per token of the reply, found ",
                     list->size(), "; \"completion_ids\" say which tokens those are"));
  }
  if (row.has("teacher_ids") || row.has("teacher_logp"))
    give_teacher_words(r, json::get<std::vector<std::vector<token_id>>>(row.object, "teacher_ids", place),
                       json::get<std::vector<std::vector<double>>>(row.object, "teacher_logp", place), place);
  if (!r.token_references.empty()) {
    r.reference = 0;
    for (const double x : r.token_references) r.reference += x;
  }
  return e;
}

namespace detail {

std::vector<example> read_sampled(const std::filesystem::path& path, const tokenizer* words, const read_options& o) {
  return read_rows(path, o,
                   [&](const json::value& v, const std::string& place) { return parse_sampled(v, place, words, o); });
}

}  // namespace detail

}  // namespace plumb::inline v0
