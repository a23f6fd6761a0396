// SPDX-License-Identifier: BSL-1.0
// The named chat formats against FastChat's prompts, the assistant's spans, and what they refuse.
#include <plumb/text/chat_format.hpp>

#include "catch.hpp"

using namespace plumb;
using Catch::Matchers::Contains;

namespace {
const std::vector<chat_message> talk{
    {"user", "Hello!"}, {"assistant", "Hi! How can I help?"}, {"user", "What is 2+2?"}};

std::vector<chat_message> with_system(std::string text) {
  std::vector<chat_message> all{{"system", std::move(text)}};
  all.insert(all.end(), talk.begin(), talk.end());
  return all;
}
std::string prompt(std::string_view name, const std::vector<chat_message>& messages) {
  return render_chat(find_chat_format(name), messages, true).text;
}
}  // namespace

TEST_CASE("named chat formats print what FastChat prints", "[chat]") {
  CHECK(prompt("vicuna", with_system("A chat.")) ==
        "A chat. USER: Hello! ASSISTANT: Hi! How can I help?</s>USER: What is 2+2? ASSISTANT:");
  CHECK(prompt("alpaca", with_system("Below is an instruction.")) ==
        "Below is an instruction.\n\n### Instruction: Hello!\n\n### Response: Hi! How can I help?</s>"
        "### Instruction: What is 2+2?\n\n### Response:");
  CHECK(prompt("llama2", talk) == "[INST] Hello! [/INST] Hi! How can I help? </s><s>[INST] What is 2+2? [/INST]");
  CHECK(prompt("zephyr", with_system("")) ==
        "<|system|>\n</s>\n<|user|>\nHello!</s>\n<|assistant|>\nHi! How can I help?</s>\n<|user|>\nWhat is 2+2?</s>\n"
        "<|assistant|>\n");
}

TEST_CASE("chatml, and llama2's system message", "[chat]") {
  CHECK(prompt("chatml", with_system("Be kind.")) ==
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
        "Hi! How can I help?<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n");
  CHECK(prompt("llama2", {{"system", "Be kind."}, {"user", "Hello!"}}) ==
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello! [/INST]");
}

TEST_CASE("assistant spans hold each reply and its end of turn, and continue the generation prompt", "[chat]") {
  const std::vector<std::pair<std::string_view, std::string>> replies{{"chatml", "Hi!<|im_end|>"},
                                                                      {"zephyr", "Hi!</s>"},
                                                                      {"llama2", " Hi! </s>"},
                                                                      {"vicuna", " Hi!</s>"},
                                                                      {"alpaca", " Hi!</s>"}};
  for (const auto& [name, reply] : replies) {
    CAPTURE(name);
    const chat_format& format = find_chat_format(name);
    const std::vector<chat_message> asked{{"system", "S"}, {"user", "Hello!"}};
    std::vector<chat_message> answered = asked;
    answered.push_back({"assistant", "Hi!"});
    const rendered_chat got = render_chat(format, answered);
    REQUIRE(got.assistant.size() == 1);
    CHECK(got.text.substr(got.assistant[0].begin, got.assistant[0].end - got.assistant[0].begin) == reply);
    CHECK(got.text.substr(0, got.assistant[0].begin) == render_chat(format, asked, true).text);
  }
  CHECK(render_chat(find_chat_format("chatml"), talk).assistant.size() == 1);
}

TEST_CASE("conversations that a named format cannot write are refused", "[chat]") {
  const chat_format& format = find_chat_format("chatml");
  CHECK_THROWS_WITH(find_chat_format("chatlm"),
                    Contains("chatml, zephyr, llama2, vicuna, alpaca") && Contains("chatlm"));
  CHECK_THROWS_WITH(render_chat(format, {{"user", "a"}, {"user", "b"}}), Contains("messages[1]"));
  CHECK_THROWS_WITH(render_chat(format, {{"user", "a"}, {"system", "b"}}), Contains("messages[1]"));
  CHECK_THROWS_WITH(render_chat(format, {{"assistant", "a"}}), Contains("messages[0]"));
  CHECK_THROWS_WITH(render_chat(format, {{"tool", "a"}}), Contains("\"tool\""));
  CHECK_THROWS_WITH(render_chat(format, {}), Contains("no messages"));
  CHECK_THROWS_WITH(render_chat(format, {{"system", "a"}}), Contains("system"));
  CHECK_THROWS_WITH(render_chat(format, {{"user", "a"}, {"assistant", "b"}}, true), Contains("a user's message"));
}
