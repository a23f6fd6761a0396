// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/messages.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/row.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

namespace detail {

std::vector<example> read_rows(const std::filesystem::path& path, const read_options& o,
                               function_ref<example(const json::value&, const std::string&)> parse) {
  std::vector<example> out;
  json::for_each_row(path, [&](json::value&& value, const std::string& place) {
    if (o.limit > 0 && static_cast<index_t>(out.size()) >= o.limit) return false;
    out.push_back(parse(value, place));
    return true;
  });
  if (out.empty()) throw error(errc::bad_data, path.string(), "the file has no rows");
  return out;
}

}  // namespace detail

example parse_pair(const json::value& value, const std::string& place, const tokenizer* words, const read_options& o) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  detail::refuse_media(row);
  example e;
  e.place = place;
  if (row.has("chosen_ids") && row.has("rejected_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    e.replies = {{row.ids("chosen_ids")}, {row.ids("rejected_ids")}};
  } else if (row.has("chosen") && row.has("rejected") && detail::is_conversation(row)) {
    detail::read_chat_replies(e, row, {"chosen", "rejected"}, detail::needed(words, place), o);
  } else if (row.has("chosen") && row.has("rejected")) {
    const auto prompt = detail::prompt_text(row);
    const std::string chosen = row.text("chosen"), rejected = row.text("rejected");
    if (prompt && (chosen.empty() || rejected.empty()))
      throw error(errc::bad_data, place, "a reply is empty; every reply needs at least one token");
    detail::tokenise(e, detail::needed(words, place), prompt.value_or(""), {chosen, rejected}, o);
    if (!prompt) {  // an implicit prompt is what both texts begin with
      const std::size_t shared = detail::common_prefix(e.replies[0].tokens, e.replies[1].tokens);
      const auto& c = e.replies[0].tokens;
      e.prompt.insert(e.prompt.end(), c.begin(), c.begin() + static_cast<std::ptrdiff_t>(shared));
      for (reply& r : e.replies)
        r.tokens.erase(r.tokens.begin(), r.tokens.begin() + static_cast<std::ptrdiff_t>(shared));
    }
  } else {
    detail::unknown_row(
        row, "a preference with \"prompt\", \"chosen\" and \"rejected\" (or prompt_ids, chosen_ids, rejected_ids)");
  }
  detail::check_replies(e);
  if (e.replies[0].tokens == e.replies[1].tokens)
    throw error(errc::bad_data, place,
                "chosen and rejected are the same tokens; a preference needs two different replies");
  e.margin = json::get_or<double>(row.object, "margin", 0.0, place);
  e.replies[0].reference = json::get_or<double>(row.object, "ref_chosen", e.replies[0].reference, place);
  e.replies[1].reference = json::get_or<double>(row.object, "ref_rejected", e.replies[1].reference, place);
  e.replies[0].weight = e.replies[1].weight = detail::weight_of(row);
  return e;
}

namespace detail {

/// A conversation in one list, or a prompt and a completion of which one at least is a list of messages.
void parse_conversation(example& e, const data_row& row, const tokenizer& words, const read_options& o) {
  const char* const whole = row.has("messages") ? "messages" : "conversations";
  if (row.has(whole)) {
    if (row.has("completion") || row.has("prompt"))
      throw error(errc::bad_data, row.place,
                  join("expected \"", whole, "\", or \"prompt\" and \"completion\", found both"));
    return read_conversation(e, prompt_messages(row), row, words, o);
  }
  const char* const answer = row.has("completion") ? "completion" : "output";
  if (!(row.has("prompt") || row.has("instruction")) || !row.has(answer))
    unknown_row(row, "\"messages\", or \"prompt\" and \"completion\"");
  const bool turns = says_something(row, "history") && o.learn != learnt_part::completion;
  if (o.learn != learnt_part::assistant && !turns) return read_chat_replies(e, row, {answer}, words, o);
  json::array all = prompt_messages(row);
  for (json::value& m : messages_of(*json::find(row.object, answer), answer, "assistant", row.place))
    all.push_back(std::move(m));
  read_conversation(e, all, row, words, o);
}

/// Rows that say what is a prompt can have it learnt, too; of others nobody knows what the completion is.
void learn_only(example& e, const data_row& row, const read_options& o) {
  if (o.learn == learnt_part::usual || row.has("messages") || row.has("conversations") ||
      says_something(row, "history"))
    return;
  const bool has_prompt = row.has("prompt") || row.has("prompt_ids") || row.has("instruction");
  if (o.learn != learnt_part::all) {
    if (has_prompt) return;
    throw error(
        errc::bad_data, row.place,
        "tokens=completion and tokens=assistant need rows with a prompt or messages, found a text without either; "
        "tokens=all learns all of it");
  }
  auto& tokens = e.replies[0].tokens;
  tokens.insert(tokens.begin(), e.prompt.begin(), e.prompt.end());
  e.prompt.clear();
}

}  // namespace detail

example parse_demonstration(const json::value& value, const std::string& place, const tokenizer* words,
                            const read_options& o) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  detail::refuse_media(row);
  example e;
  e.place = place;
  const char* answer = row.has("completion") ? "completion" : "output";
  if (row.has("completion_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    e.replies = {{row.ids("completion_ids")}};
  } else if (row.has("ids")) {
    e.replies = {{row.ids("ids")}};
  } else if (detail::is_conversation(row)) {
    detail::parse_conversation(e, row, detail::needed(words, place), o);
  } else if (const auto prompt = detail::prompt_text(row); prompt && row.has(answer)) {
    const std::string text = row.text(answer);
    if (text.empty()) throw error(errc::bad_data, place, "the reply is empty; every reply needs at least one token");
    detail::tokenise(e, detail::needed(words, place), *prompt, {text}, o);
  } else if (row.has("text") && row.has("message_id") && row.has("role")) {
    throw error(errc::unsupported, place,
                "the row is a single message of a tree; take Open Assistant's file of trees (*.trees.jsonl), which has "
                "them together");
  } else if (row.has("text")) {
    const tokenizer& t = detail::needed(words, place);
    e.replies = {{t.encode(row.text("text"))}};
    detail::add_end(e.replies[0].tokens, t, o);
  } else {
    detail::unknown_row(
        row,
        "a demonstration with \"prompt\" and \"completion\", or \"text\" (or prompt_ids and completion_ids, or ids)");
  }
  detail::check_replies(e);
  detail::learn_only(e, row, o);
  e.replies[0].weight = detail::weight_of(row);
  return e;
}

std::vector<example> read_pairs(const std::filesystem::path& path, const tokenizer& words, const read_options& o) {
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_pair(v, place, &words, o); });
}

std::vector<example> read_demonstrations(const std::filesystem::path& path, const tokenizer& words,
                                         const read_options& o) {
  return detail::read_rows(path, o, [&](const json::value& v, const std::string& place) {
    return parse_demonstration(v, place, &words, o);
  });
}

}  // namespace plumb::inline v0
