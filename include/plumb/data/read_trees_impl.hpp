// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read_trees.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/messages.hpp>
#include <plumb/data/read_trees.hpp>
#include <plumb/data/row.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Walks a tree; the parser's limit on nesting bounds the depth.
struct tree_reader {
  const data_row& row;
  const tokenizer& words;
  const read_options& options;
  bool ranked;
  std::vector<example> out{};

  /// Is the message there for everybody?
  [[nodiscard]] bool counts(const json::object& message) const {
    return !json::get_or<bool>(message, "deleted", false, row.place) &&
           json::get_or<bool>(message, "review_result", true, row.place);
  }
  [[nodiscard]] json::object as_message(const json::object& node) const {
    const auto role = json::get<std::string>(node, "role", row.place);
    if (role != "prompter" && role != "assistant")
      throw error(errc::bad_data, row.place, join("expected the role prompter or assistant, found \"", role, "\""));
    return {{"role", role == "prompter" ? "user" : "assistant"},
            {"content", json::get<std::string>(node, "text", row.place)}};
  }
  /// Its replies that count, those with a rank first.
  [[nodiscard]] std::vector<const json::object*> replies_to(const json::object& node) const {
    std::vector<std::pair<double, const json::object*>> found;
    const json::value* const replies = json::find(node, "replies");
    if (replies && !replies->is_null()) {
      if (!replies->is_array())
        throw error(errc::bad_data, row.place, join("\"replies\": expected a list, found ", json::describe(*replies)));
      for (const json::value& each : replies->get_array()) {
        const json::object& reply = json::as_object(each, "a reply", row.place);
        if (counts(reply)) found.emplace_back(json::get_or<double>(reply, "rank", 1e9, row.place), &reply);
      }
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const json::object*> sorted;
    for (const auto& each : found) sorted.push_back(each.second);
    return sorted;
  }
  [[nodiscard]] bool has_rank(const json::object& message) const {
    const json::value* const rank = json::find(message, "rank");
    return rank && !rank->is_null();
  }

  void walk(const json::object& node, json::array& before) {
    before.push_back(as_message(node));
    const auto replies = replies_to(node);
    if (json::get<std::string>(node, "role", row.place) == "prompter") add_turn(replies, before);
    for (const json::object* reply : replies) walk(*reply, before);
    before.pop_back();
  }
  void add_turn(const std::vector<const json::object*>& replies, const json::array& before) {
    std::vector<json::array> texts;
    for (const json::object* reply : replies)
      if (!ranked || has_rank(*reply)) texts.push_back({json::value(as_message(*reply))});
    if (texts.empty() || (ranked && texts.size() < 2)) return;
    example e;
    e.place = row.place;
    read_chat_replies(e, row, before, std::move(texts), words, options);
    check_replies(e);
    std::vector<reply> different;  // two people may write the same
    for (reply& r : e.replies)
      if (std::none_of(different.begin(), different.end(), [&](const reply& d) { return d.tokens == r.tokens; }))
        different.push_back(std::move(r));
    e.replies = std::move(different);
    if (!ranked || e.replies.size() > 1) out.push_back(std::move(e));
  }
};

}  // namespace detail

bool is_tree(const json::value& row) {
  const auto* const object = row.if_object();
  const json::value* const prompt = object ? json::find(*object, "prompt") : nullptr;
  const auto* const root = prompt ? prompt->if_object() : nullptr;
  return root && json::find(*root, "replies") && json::find(*root, "text") && json::find(*root, "role");
}

std::vector<example> parse_tree(const json::value& value, const std::string& place, const tokenizer* words,
                                const read_options& o, bool ranked) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  if (!is_tree(value))
    detail::unknown_row(row, "a tree with \"prompt\": {\"text\", \"role\": \"prompter\", \"replies\": [..]}");
  detail::tree_reader reader{row, detail::needed(words, place), o, ranked};
  const json::object& root = json::find(row.object, "prompt")->get_object();
  json::array before;
  if (reader.counts(root)) reader.walk(root, before);
  return std::move(reader.out);
}

std::vector<example> pairs_of(const example& ranking) {
  std::vector<example> out;
  for (std::size_t better = 0; better < ranking.replies.size(); ++better)
    for (std::size_t worse = better + 1; worse < ranking.replies.size(); ++worse) {
      example pair = ranking;
      pair.replies = {ranking.replies[better], ranking.replies[worse]};
      out.push_back(std::move(pair));
    }
  return out;
}

}  // namespace plumb::inline v0
