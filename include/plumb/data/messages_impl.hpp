// SPDX-License-Identifier: BSL-1.0
// The bodies of data/messages.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/data/messages.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/chat_template_impl.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0::detail {

/// Is there more than null, an empty text or an empty list under that key?
bool says_something(const data_row& row, std::string_view key) {
  const json::value* const v = json::find(row.object, key);
  return v && !v->is_null() && !(v->is_string() && v->get_string().empty()) &&
         !(v->is_array() && v->get_array().empty());
}

bool is_conversation(const data_row& row) {
  for (const std::string_view key : {"messages", "conversations", "prompt", "completion", "chosen", "rejected"}) {
    const json::value* const v = json::find(row.object, key);
    if (v != nullptr && (v->is_array() || v->is_object())) return true;
  }
  return row.has("instruction") && (says_something(row, "system") || says_something(row, "history"));
}

json::array messages_of(const json::value& v, std::string_view key, std::string_view role, const std::string& place) {
  json::array out;
  const auto text = [](std::string_view s) { return json::string(boost::json::string_view(s.data(), s.size())); };
  if (v.is_string()) {
    out.push_back(json::object{{"role", text(role)}, {"content", v}});
    return out;
  }
  if (v.is_object()) return messages_of(json::array{v}, key, role, place);
  const auto* const list = v.if_array();
  if (list == nullptr || list->empty())
    throw error(errc::bad_data, place,
                join("\"", key, "\": expected a list of messages, found ",
                     list != nullptr ? std::string("an empty one") : json::describe(v)));
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string what = join("\"", key, "\"[", i, "]");
    const auto* const object = (*list)[i].if_object();
    if (object == nullptr)
      throw error(errc::bad_data, place, join(what, ": expected an object, found ", json::describe((*list)[i])));
    json::object message = *object;
    if (!message.contains("role") && message.contains("from")) {  // ShareGPT
      const auto from = json::as<std::string>(message["from"], join(what, ".from"), place);
      const std::string_view named = from == "human"                                                 ? "user"
                                     : from == "gpt" || from == "chatgpt" || from == "function_call" ? "assistant"
                                     : from == "observation"                                         ? "tool"
                                                             : std::string_view(from);
      message["role"] = text(named);
      if (from == "function_call") {
        const auto call = json::as<std::string>(message["value"], join(what, ".value"), place);
        message["tool_calls"] = json::array{json::object{{"type", "function"}, {"function", json::parse(call, place)}}};
        message["content"] = "";
      } else if (message.contains("value")) {
        message["content"] = json::value(message["value"]);
      }
      message.erase("from");
      message.erase("value");
    }
    const json::value* const said = json::find(message, "role");
    if (said == nullptr || !said->is_string())
      throw error(errc::bad_data, place,
                  join(what, ": expected a \"role\" (system, user, assistant), found ",
                       said == nullptr ? "none" : json::describe(*said)));
    out.push_back(std::move(message));
  }
  return out;
}

inline std::string_view role_of(const json::value& message) {
  const auto& role = message.get_object().at("role").get_string();
  return {role.data(), role.size()};
}

/// Puts the row's "system" before its messages.
void add_system(json::array& messages, const data_row& row) {
  if (!says_something(row, "system")) return;
  if (!messages.empty() && role_of(messages.front()) == "system")
    throw error(errc::bad_data, row.place, "expected \"system\" or a system message, found both");
  messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", row.text("system")}});
}

json::array prompt_messages(const data_row& row) {
  json::array out;
  const char* const whole = row.has("messages") ? "messages" : "conversations";
  const auto say = [&](const char* role, const std::string& text) {
    out.push_back(json::object{{"role", role}, {"content", text}});
  };
  if (row.has("prompt")) {
    out = messages_of(*json::find(row.object, "prompt"), "prompt", "user", row.place);
  } else if (row.has(whole)) {
    out = messages_of(*json::find(row.object, whole), whole, "user", row.place);
  } else if (row.has("instruction")) {
    if (row.has("history"))
      for (const auto& each : json::get<std::vector<std::vector<std::string>>>(row.object, "history", row.place)) {
        if (each.size() != 2)
          throw error(errc::bad_data, row.place,
                      join("\"history\": expected lists of a question and its answer, found one of ", each.size()));
        say("user", each[0]);
        say("assistant", each[1]);
      }
    const std::string input = says_something(row, "input") ? row.text("input") : "";
    say("user", row.text("instruction") + (input.empty() ? "" : "\n" + input));
  }
  if (!out.empty()) add_system(out, row);
  return out;
}

json::object chat_variables(const data_row& row) {
  json::object out;
  for (const char* const key : {"tools", "documents"}) {
    const json::value* const v = json::find(row.object, key);
    out[key] = v != nullptr ? *v : json::value(nullptr);
  }
  if (const auto* const written = out["tools"].if_string())  // as LLaMA-Factory's rows have them
    out["tools"] = written->empty() ? json::value(nullptr)
                                    : json::parse(std::string_view(written->data(), written->size()), row.place);
  if (const json::value* const more = json::find(row.object, "chat_template_kwargs");
      more != nullptr && !more->is_null())
    for (const auto& member : json::as_object(*more, "\"chat_template_kwargs\"", row.place))
      out[member.key()] = member.value();
  return out;
}

const chat_template& needed_chat(const read_options& o, const std::string& place) {
  if (o.chat == nullptr)
    throw error(
        errc::bad_data, place,
        "the row has messages, but the model has no chat template (chat_template.jinja, or \"chat_template\" in "
        "tokenizer_config.json); name a format: template=chatml, or zephyr, llama2, vicuna, alpaca, or a .jinja "
        "file");
  return *o.chat;
}

/// The text that a reply follows.
inline std::string prompt_of(const json::array& messages, const json::object& variables, const data_row& row,
                             const chat_template& chat) {
  if (!messages.empty() && role_of(messages.back()) == "assistant")
    throw error(
        errc::bad_data, row.place,
        "the prompt ends with an assistant's message; end it with the user's, or move that message to the reply");
  json::object given = variables;
  given["add_generation_prompt"] = true;
  return chat.text(messages, given);
}

/// Runs f; an error of the template or the conversation names the row.
template <class F>
auto at_row(const std::string& place, F&& f) {
  try {
    return f();
  } catch (const error& e) {
    if (e.place() == place) throw;
    throw error(e.code(), place, e.what());
  }
}

std::vector<token_id> chat_prompt(const data_row& row, const tokenizer& words, const read_options& o) {
  const chat_template& chat = needed_chat(o, row.place);
  return at_row(row.place,
                [&] { return chat.encode(prompt_of(prompt_messages(row), chat_variables(row), row, chat), words); });
}

read_options for_one_reply(const data_row& row, read_options o) {
  if (row.has("messages") || row.has("conversations") || says_something(row, "history"))
    o.learn = learnt_part::completion;
  return o;
}

void read_chat_replies(example& e, const data_row& row, std::initializer_list<std::string_view> keys,
                       const tokenizer& words, const read_options& o) {
  std::vector<json::array> replies;
  for (const std::string_view key : keys)
    replies.push_back(messages_of(*json::find(row.object, key), key, "assistant", row.place));
  read_chat_replies(e, row, prompt_messages(row), std::move(replies), words, o);
}

void read_chat_completions(example& e, const data_row& row, const tokenizer& words, const read_options& o) {
  std::vector<json::array> replies;
  for (const json::value& each : json::get<json::array>(row.object, "completions", row.place))
    replies.push_back(messages_of(each, "completions", "assistant", row.place));
  read_chat_replies(e, row, prompt_messages(row), std::move(replies), words, o);
}

void read_chat_replies(example& e, const data_row& row, json::array prompt, std::vector<json::array> replies,
                       const tokenizer& words, const read_options& o) {
  const chat_template& chat = needed_chat(o, row.place);
  at_row(row.place, [&] {
    const json::object variables = chat_variables(row);
    if (prompt.empty()) {
      std::size_t shared = 0;
      const auto alike = [&](const json::array& r) { return shared < r.size() && r[shared] == replies[0][shared]; };
      while (std::all_of(replies.begin(), replies.end(), alike)) ++shared;
      while (shared > 0 && role_of(replies[0][shared - 1]) == "assistant") --shared;
      prompt = json::array(replies[0].begin(), replies[0].begin() + shared);
      for (json::array& r : replies) r.erase(r.begin(), r.begin() + shared);
      add_system(prompt, row);
    } else if (std::all_of(replies.begin(), replies.end(), [&](const json::array& r) {  // the prompt is said twice
                 return r.size() > prompt.size() && std::equal(prompt.begin(), prompt.end(), r.begin());
               })) {
      for (json::array& r : replies) r.erase(r.begin(), r.begin() + prompt.size());
    }
    std::string before = prompt.empty() ? std::string() : prompt_of(prompt, variables, row, chat);
    std::vector<std::string> whole;
    for (const json::array& r : replies) {
      json::array all = prompt;
      all.insert(all.end(), r.begin(), r.end());
      whole.push_back(chat.text_to_end_of_turn(all, variables));
      before.resize(common_bytes(before, whole.back()));
    }
    e.prompt = chat.encode(before, words);
    std::vector<std::vector<token_id>> ids;
    for (const std::string& text : whole) {
      ids.push_back(chat.encode(text, words));
      e.prompt.resize(common_prefix(e.prompt, ids.back()));
    }
    for (const auto& each : ids)
      e.replies.push_back({{each.begin() + static_cast<std::ptrdiff_t>(e.prompt.size()), each.end()}});
  });
}

/// Messages of the assistant with "weight": 0 are not learnt.
void leave_out(rendered_chat& rendered, const json::array& messages, const std::string& place) {
  std::vector<bool> learnt;
  bool all = true;
  for (const json::value& m : messages) {
    const json::value* const given = json::find(m.get_object(), "weight");
    const double weight = given && !given->is_null() ? json::as<double>(*given, "a message's \"weight\"", place) : 1;
    if (weight != 0 && weight != 1)
      throw error(
          errc::unsupported, place,
          join("expected 0 or 1 as \"weight\" of a message, found ", weight, "; \"weight\" of a row may be any"));
    if (role_of(m) == "assistant") learnt.push_back(weight == 1), all = all && weight == 1;
  }
  if (all) return;
  if (learnt.size() != rendered.assistant.size())
    throw error(errc::unsupported, place,
                join("messages have weights, but the template marks ", rendered.assistant.size(), " stretches for ",
                     learnt.size(), " replies, so it is not known which are meant"));
  std::vector<chat_span> kept;
  for (std::size_t i = 0; i < learnt.size(); ++i)
    if (learnt[i]) kept.push_back(rendered.assistant[i]);
  rendered.assistant = std::move(kept);
}

void read_conversation(example& e, const json::array& messages, const data_row& row, const tokenizer& words,
                       const read_options& o) {
  const chat_template& chat = needed_chat(o, row.place);
  at_row(row.place, [&] {
    rendered_chat rendered = chat.render(messages, chat_variables(row));
    leave_out(rendered, messages, row.place);
    chat_tokens tokens = chat.tokens(rendered, words);
    auto& learnt = tokens.assistant;
    if (o.learn == learnt_part::all) {
      learnt.assign(learnt.size(), true);
      if (learnt.size() > 1) learnt[0] = false;  // nothing predicts it
    }
    const auto last = std::find(learnt.rbegin(), learnt.rend(), true);
    if (last == learnt.rend())
      throw error(
          errc::bad_data, row.place,
          "the conversation has no assistant's message, so there is nothing to learn; tokens=all learns every token");
    if (o.learn == learnt_part::completion) {  // the last turn alone
      const auto before = std::find(last, learnt.rend(), false);
      std::fill(before, learnt.rend(), false);
    }
    const auto first = std::find(learnt.begin(), learnt.end(), true);
    const auto end = last.base();
    const auto at = [&](auto place) { return tokens.ids.begin() + (place - learnt.begin()); };
    e.prompt.assign(tokens.ids.begin(), at(first));
    reply r;
    r.tokens.assign(at(first), at(end));
    if (std::find(first, end, false) != end) r.mask.assign(first, end);
    e.replies.push_back(std::move(r));
  });
}

}  // namespace plumb::inline v0::detail
