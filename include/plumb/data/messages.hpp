// SPDX-License-Identifier: BSL-1.0
// Rows that are conversations become examples, written by a chat template. Bodies: messages_impl.hpp.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/row.hpp>
#include <plumb/text/chat_template.hpp>

namespace plumb::inline v0::detail {

/// Does the row hold messages: under "messages" or "conversations", or as its prompt or replies? So do Alpaca's rows with
/// a "system" or a "history".
bool is_conversation(const data_row& row);

/// Is there more than null, an empty text or an empty list under that key?
bool says_something(const data_row& row, std::string_view key);

/// Messages from a value: a list of {"role", "content"} (or ShareGPT's {"from", "value"}), one of them alone, or a text,
/// which `role` says. ShareGPT's function_call becomes a message with "tool_calls".
json::array messages_of(const json::value& v, std::string_view key, std::string_view role, const std::string& place);

/// The messages before the replies: "prompt"; without it "messages" or "conversations"; or Alpaca's "system", "history"
/// ([[question, answer], …]), "instruction" and "input". A "system" beside them comes first. Empty when there are none.
json::array prompt_messages(const data_row& row);

/// What the row says besides messages: "tools" (a list, or one written as text), "documents" and the members of
/// "chat_template_kwargs".
json::object chat_variables(const data_row& row);

/// The template that the options name; without one, errc::bad_data at `place` with the cure.
const chat_template& needed_chat(const read_options& o, const std::string& place);

/// The tokens that a reply follows: the conversation with the generation prompt.
std::vector<token_id> chat_prompt(const data_row& row, const tokenizer& words, const read_options& o);

/// The options for objectives on whole replies: of a conversation in one list, the last reply counts.
read_options for_one_reply(const data_row& row, read_options o);

/// Prompt and replies of a row, as parse_pair and parse_demonstration describe; `keys` are the replies' keys. A text
/// among messages is the user's in a prompt and the assistant's in a reply. Without "prompt", the messages that all
/// replies begin with are the prompt. No end token is added: the template ends turns.
void read_chat_replies(example& e, const data_row& row, std::initializer_list<std::string_view> keys,
                       const tokenizer& words, const read_options& o);

/// The same for these messages; without a prompt, what all replies begin with is one.
void read_chat_replies(example& e, const data_row& row, json::array prompt, std::vector<json::array> replies,
                       const tokenizer& words, const read_options& o);

/// The same with the replies in one list, "completions", each a text or a list of messages.
void read_chat_completions(example& e, const data_row& row, const tokenizer& words, const read_options& o);

/// One conversation from its first to its last learnt token, with a mask where tokens in between are not learnt. A
/// "weight" of 0 in an assistant's message leaves the message out (OpenAI's rows); other weights than 0 and 1 are refused.
void read_conversation(example& e, const json::array& messages, const data_row& row, const tokenizer& words,
                       const read_options& o);

}  // namespace plumb::inline v0::detail
