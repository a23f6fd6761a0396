// SPDX-License-Identifier: BSL-1.0
// Conversations as text in a named format, for models without a chat template: chatml, zephyr, llama2, vicuna, alpaca.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>

namespace plumb::inline v0 {

/// One message of a conversation; `role` is system, user or assistant.
struct chat_message {
  std::string role;
  std::string content;
};

/// Bytes [begin, end) of a rendered conversation.
struct chat_span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A conversation as text, and where the assistant speaks: each reply with its end-of-turn mark, so that training on
/// the spans teaches the model to stop.
struct rendered_chat {
  std::string text;
  std::vector<chat_span> assistant;
};

/// How a named format writes a conversation. The beginning-of-text token is left out, because tokenizers add it.
struct chat_format {
  std::string_view name;
  std::string_view system_before, system_after;      ///< around the system message
  std::string_view user_before, user_after;          ///< around a user's message
  std::string_view user_before_first_after_system;   ///< instead of `user_before` where a system message precedes
  std::string_view user_before_later;                ///< instead of `user_before` after a reply
  std::string_view assistant_before;                 ///< what a reply follows; the generation prompt ends with it
  std::string_view assistant_lead, assistant_after;  ///< trained text around a reply; the second ends the turn
  std::string_view assistant_tail;                   ///< what follows the end of the turn; not trained
};

/// The formats that have a name here; vicuna, alpaca, llama2 and zephyr as FastChat prints them.
inline constexpr std::array<chat_format, 5> chat_formats{{
    {"chatml", "<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>user\n",
     "<|im_start|>user\n", "<|im_start|>assistant\n", "", "<|im_end|>", "\n"},
    {"zephyr", "<|system|>\n", "</s>\n", "<|user|>\n", "</s>\n", "<|user|>\n", "<|user|>\n", "<|assistant|>\n", "",
     "</s>", "\n"},
    {"llama2", "[INST] <<SYS>>\n", "\n<</SYS>>\n\n", "[INST] ", " [/INST]", "", "<s>[INST] ", "", " ", " </s>", ""},
    {"vicuna", "", " ", "USER: ", " ", "USER: ", "USER: ", "ASSISTANT:", " ", "</s>", ""},
    {"alpaca", "", "\n\n", "### Instruction: ", "\n\n", "### Instruction: ", "### Instruction: ", "### Response:", " ",
     "</s>", ""},
}};

/// The format called `name`; an unknown name throws `bad_argument` and lists the known ones.
inline const chat_format& find_chat_format(std::string_view name) {
  std::string known;
  for (const chat_format& format : chat_formats) {
    if (format.name == name) return format;
    known += join(known.empty() ? "" : ", ", format.name);
  }
  throw error(errc::bad_argument, "template", join("expected one of ", known, ", found \"", name, "\""));
}

/// A conversation as text: an optional system message, then user and assistant in turn.
///
/// `add_generation_prompt` appends what a reply follows; the conversation must then end with the user's message. A role
/// out of turn throws `bad_data` and names the message, counted from 0.
inline rendered_chat render_chat(const chat_format& format, const std::vector<chat_message>& messages,
                                 bool add_generation_prompt = false) {
  rendered_chat out;
  std::string_view before;
  std::string_view expected = "system or user";
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    const bool in_turn = role == "system" ? i == 0 : role == expected || (role == "user" && i == 0);
    if (!in_turn) {
      throw error(errc::bad_data, join("messages[", i, "]"),
                  join("expected the role ", expected, ", found \"", role, "\"; the format ", format.name,
                       " takes an optional system message, then user and assistant in turn"));
    }
    if (role == "system") {
      out.text += join(format.system_before, content, format.system_after);
      expected = "user";
    } else if (role == "user") {
      const std::string_view open = before.empty()       ? format.user_before
                                    : before == "system" ? format.user_before_first_after_system
                                                         : format.user_before_later;
      out.text += join(open, content, format.user_after);
      expected = "assistant";
    } else {
      out.text += format.assistant_before;
      const std::size_t begin = out.text.size();
      out.text += join(format.assistant_lead, content, format.assistant_after);
      out.assistant.push_back({begin, out.text.size()});
      out.text += format.assistant_tail;
      expected = "user";
    }
    before = role;
  }
  if (before != "user" && (add_generation_prompt || before != "assistant")) {
    throw error(
        errc::bad_data, "messages",
        join("expected a conversation that ends with a user's message", add_generation_prompt ? "" : " or a reply",
             ", found ", messages.empty() ? "no messages" : join("a last message of the role ", before)));
  }
  if (add_generation_prompt) out.text += format.assistant_before;
  return out;
}

}  // namespace plumb::inline v0
