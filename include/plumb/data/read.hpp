// SPDX-License-Identifier: BSL-1.0
// Rows of text or token ids from JSON Lines (or a JSON array) become examples. Bodies: read_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <plumb/core/function_ref.hpp>
#include <plumb/core/types.hpp>
#include <plumb/data/example.hpp>
#include <plumb/io/json_fwd.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

class chat_template;

/// Which tokens a demonstration teaches.
enum class learnt_part {
  usual,       ///< every reply of a conversation, the completion after a prompt, all of a text
  completion,  ///< the last reply
  assistant,   ///< every reply
  all          ///< everything, prompts too
};

/// How rows become tokens.
struct read_options {
  bool end =
      true;  ///< append the tokenizer's end-of-text token to each reply given as text, so that the model learns to stop
  index_t limit = 0;                       ///< rows to read; 0: all
  const chat_template* chat = nullptr;     ///< writes rows that hold messages; without one they are an error
  learnt_part learn = learnt_part::usual;  ///< of demonstrations
};

namespace detail {

/// Calls `parse(value, place)` for the rows of a file, in order; errc::bad_data when there are none.
std::vector<example> read_rows(const std::filesystem::path& path, const read_options& o,
                               function_ref<example(const json::value&, const std::string&)> parse);

}  // namespace detail

/// A preference: {"prompt", "chosen", "rejected"}; Alpaca's {"instruction", "input", "chosen", "rejected"}; whole texts
/// {"chosen", "rejected"} that begin alike; or token ids {"prompt_ids", "chosen_ids", "rejected_ids"}. Optional: "margin",
/// "ref_chosen", "ref_rejected" (reference log-probabilities, nats), "weight". Errors name `place`.
///
/// Prompt and replies may be lists of messages, {"role", "content"}, which `read_options::chat` writes; "messages" or
/// "conversations" beside the replies are the prompt, too; without any, the messages that both begin with are. "tools", "documents" and "chat_template_kwargs" reach the template.
example parse_pair(const json::value& value, const std::string& place, const tokenizer* words,
                   const read_options& o = {});

/// A demonstration: {"prompt", "completion"}; Alpaca's {"instruction", "input", "output"}; {"text"} (every token is
/// learnt); or token ids {"prompt_ids", "completion_ids"} or {"ids"}. Optional: "weight" (from 0). Errors name `place`.
///
/// Conversations: {"messages": [{"role", "content"}, …]} (ShareGPT's "conversations", too), of which every assistant's
/// turn is learnt in one pass, or "prompt" and "completion" as lists of messages; Alpaca's rows with "system" or "history"
/// are conversations, too. An assistant's message with "weight": 0 is not learnt.
example parse_demonstration(const json::value& value, const std::string& place, const tokenizer* words,
                            const read_options& o = {});

/// Reads preferences from JSON Lines or a JSON array; each row as `parse_pair` takes it. Errors name file and line.
std::vector<example> read_pairs(const std::filesystem::path& path, const tokenizer& words, const read_options& o = {});
/// The same for a model, which may lack a tokenizer: then rows must hold token ids.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_pairs(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  const tokenizer* words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_pair(v, place, words, o); });
}

/// Reads demonstrations; each row as `parse_demonstration` takes it.
std::vector<example> read_demonstrations(const std::filesystem::path& path, const tokenizer& words,
                                         const read_options& o = {});
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_demonstrations(const std::filesystem::path& path, const Model& model,
                                         const read_options& o = {}) {
  const tokenizer* words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_demonstration(v, place, words, o); });
}

}  // namespace plumb::inline v0
