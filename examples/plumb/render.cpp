// SPDX-License-Identifier: BSL-1.0
// plumb render: conversations to text by a chat template.
#include "chat.hpp"
#include "commands.hpp"
#include "input.hpp"
#include "output.hpp"

#include <plumb/text/chat_template.hpp>
#include <plumb/text/tokenizer.hpp>

#include <filesystem>
#include <optional>

namespace program {

namespace {

chat_template open_template(const arguments& given) {
  const std::string model = given.text("--model");
  if (!given.has("--template") && model.empty())
    throw error(errc::bad_argument, "--model", "expected --model MODEL, --template F.jinja or both, found neither");
  std::error_code failed;
  if (!model.empty() && !std::filesystem::is_directory(model, failed))
    throw error(errc::not_found, "--model", join("there is no folder \"", model, "\"; give a Hugging Face folder"));
  const auto found = find_chat(model, given.text("--template"), "--template");
  return found ? *found : chat_template::load(model);  // which says what is missing
}

int run_render(const arguments& given) {
  const common_options common = read_common(given);
  const chat_template chat = open_template(given);
  const bool wants_ids = given.has("--ids");
  std::optional<tokenizer> words;
  if (wants_ids) {
    if (!given.has("--model"))
      throw error(errc::bad_argument, "--ids", "token ids need a tokenizer: give --model MODEL as well");
    words = tokenizer::load(given.required("--model"));
  }
  bool warned = false;
  write_output(given.text("--out"), [&](output& out) {
    read_rows(
        given,
        [&](const json::object& row, const std::string& place) {
          const json::value* const messages = json::find(row, "messages");
          if (messages == nullptr || !messages->is_array())
            throw error(errc::bad_data, place,
                        join("\"messages\": expected a list of messages, found ",
                             messages == nullptr ? "no such key" : json::describe(*messages)));
          json::object variables = row;
          variables.erase("messages");
          template_options options;
          if (const json::value* const today = json::find(row, "strftime_now");
              today != nullptr && today->is_string()) {
            options.today = json::as<std::string>(*today, "\"strftime_now\"", place);
            variables.erase("strftime_now");
          }
          // As in transformers, what a conversation lacks is none, not undefined. Templates by themselves are plain Jinja.
          if (given.has("--model"))
            for (const char* const key : {"tools", "documents"})
              if (!variables.contains(key)) variables[key] = nullptr;
          try {
            json::object result;
            if (wants_ids) {
              const rendered_chat rendered = chat.render(messages->get_array(), variables, options);
              const chat_tokens tokens = chat.tokens(rendered, *words);
              result["text"] = rendered.text;
              result["ids"] = list(tokens.ids);
              json::array mask;
              for (const bool said : tokens.assistant) mask.emplace_back(said ? 1 : 0);
              result["assistant_mask"] = std::move(mask);
              if (const auto warning = warn_of_endless_replies(tokens, *words);
                  warning && !warned && !rendered.assistant.empty())
                tell(common, join(place, ": ", *warning)), warned = true;
            } else {
              result["text"] = chat.text(messages->get_array(), variables, options);
            }
            out.line(result);
          } catch (const error& e) {
            throw error(e.code(), place, e.what());
          }
        },
        [&] { out.flush(); });
  });
  return 0;
}

}  // namespace

const command render_command{
    "render",
    "",
    "Conversations to text, by a chat template.",
    "Rows: {\"messages\": [{\"role\", \"content\"}, ..]} to {\"text\": s}. Other keys of a row are variables of the "
    "template: "
    "\"tools\",\n"
    "\"add_generation_prompt\", \"documents\", \"enable_thinking\" ..; \"strftime_now\" fixes the date that the "
    "template sees. "
    "--ids adds\n"
    "\"ids\" and \"assistant_mask\": 1 for the tokens that the assistant says, its end of turn included.",
    "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"add_generation_prompt\": true}' |\n"
    "    plumb render --template chatml --in -",
    {{"--model", "MODEL", "a Hugging Face folder: its chat template and special tokens"},
     {"--template", "F", "a Jinja file, or a format: chatml, zephyr, llama2, vicuna, alpaca"},
     {"--in", "F", "rows; - is standard input"},
     {"--out", "F", "where results go, instead of standard output"},
     {"--ids", "", "also the tokens, and which of them the assistant says"}},
    run_render};

}  // namespace program
