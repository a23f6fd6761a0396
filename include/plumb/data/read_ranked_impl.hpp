// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read_ranked.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/messages.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/row.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The numbers under that key, one per reply.
inline std::vector<double> one_per_reply(const data_row& row, const char* key, std::size_t count) {
  auto out = json::get<std::vector<double>>(row.object, key, row.place);
  if (out.size() != count)
    throw error(errc::bad_data, row.place,
                join("\"", key, "\": expected ", count, " numbers, one per completion, found ", out.size()));
  return out;
}

/// Puts the replies into the order that the row's scores or ranks say.
inline void sort_replies(example& e, const data_row& row) {
  const char* by = nullptr;
  for (const char* key : {"scores", "rewards", "ranks"}) {
    if (!row.has(key)) continue;
    if (by)
      throw error(errc::bad_data, row.place,
                  join("expected one of \"scores\", \"rewards\" and \"ranks\", found \"", by, "\" and \"", key, "\""));
    by = key;
  }
  if (!by) return;
  auto keys = one_per_reply(row, by, e.replies.size());
  if (by[1] != 'a')  // ranks count from the best, the others grow towards it
    for (double& x : keys) x = -x;
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
  std::vector<reply> sorted;
  for (const std::size_t i : order) sorted.push_back(std::move(e.replies[i]));
  e.replies = std::move(sorted);
}

/// A preference with a gold reply, as TRL's TPO keeps it: {"prompt", "reference", "chosen", "rejected"}, texts or ids.
inline void read_triple(example& e, const data_row& row, const tokenizer* words, const read_options& o) {
  if (row.has("reference_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    e.replies = {{row.ids("reference_ids")}, {row.ids("chosen_ids")}, {row.ids("rejected_ids")}};
    return;
  }
  if (is_conversation(row))
    return read_chat_replies(e, row, {"reference", "chosen", "rejected"}, needed(words, row.place), o);
  const auto prompt = prompt_text(row);
  if (!prompt)
    throw error(errc::bad_data, row.place, "a preference with a \"reference\" reply needs its \"prompt\" apart");
  std::vector<std::string> texts;
  for (const char* key : {"reference", "chosen", "rejected"}) {
    texts.push_back(row.text(key));
    if (texts.back().empty())
      throw error(errc::bad_data, row.place, join("\"", key, "\" is empty; every reply needs at least one token"));
  }
  tokenise(e, needed(words, row.place), *prompt, texts, o);
}

}  // namespace detail

example parse_ranked(const json::value& value, const std::string& place, const tokenizer* words,
                     const read_options& o) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  detail::refuse_media(row);
  const bool two = detail::is_preference(value), gold = two && (row.has("reference") || row.has("reference_ids"));
  if (two && !gold) return parse_pair(value, place, words, o);
  example e;
  e.place = place;
  if (gold) {
    detail::read_triple(e, row, words, o);
  } else if (row.has("completions_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    for (auto& ids : json::get<std::vector<std::vector<token_id>>>(row.object, "completions_ids", place))
      e.replies.push_back({std::move(ids)});
  } else if (row.has("completions") && detail::is_conversation(row)) {
    detail::read_chat_completions(e, row, detail::needed(words, place), o);
  } else if (const auto prompt = detail::prompt_text(row); prompt && row.has("completions")) {
    const auto texts = json::get<std::vector<std::string>>(row.object, "completions", place);
    for (const std::string& text : texts)
      if (text.empty()) throw error(errc::bad_data, place, "a reply is empty; every reply needs at least one token");
    detail::tokenise(e, detail::needed(words, place), *prompt, texts, o);
  } else {
    detail::unknown_row(row,
                        "a ranking with \"prompt\" and \"completions\" from best to worst (or prompt_ids and "
                        "completions_ids), or a preference");
  }
  detail::check_replies(e);
  if (e.replies.size() < 2)
    throw error(errc::bad_data, place, join("a ranking needs at least two completions, found ", e.replies.size()));
  for (std::size_t i = 0; i < e.replies.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (e.replies[i].tokens == e.replies[j].tokens)
        throw error(
            errc::bad_data, place,
            join("completions ", j + 1, " and ", i + 1, " are the same tokens; a ranking needs replies that differ"));
  if (row.has("refs")) {
    const auto refs = detail::one_per_reply(row, "refs", e.replies.size());
    for (std::size_t i = 0; i < refs.size(); ++i) e.replies[i].reference = refs[i];
  }
  detail::sort_replies(e, row);
  const double weight = detail::weight_of(row);
  for (reply& r : e.replies) r.weight = weight;
  return e;
}

namespace detail {

std::vector<example> read_ranked(const std::filesystem::path& path, const tokenizer* words, const read_options& o) {
  return read_rows(path, o,
                   [&](const json::value& v, const std::string& place) { return parse_ranked(v, place, words, o); });
}

}  // namespace detail

}  // namespace plumb::inline v0
