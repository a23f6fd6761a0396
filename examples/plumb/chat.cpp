// SPDX-License-Identifier: BSL-1.0
// The template of a conversation, from a file, by name or from the model.
#include "chat.hpp"

#include "arguments.hpp"

#include <plumb/io/file.hpp>

#include <filesystem>

namespace program {

std::optional<chat_template> find_chat(const std::string& model, const std::string& named, std::string_view option) {
  std::error_code failed;
  const bool folder = !model.empty() && std::filesystem::is_directory(model, failed);
  if (named.empty()) return folder ? chat_template::find(model) : std::nullopt;
  const bool file = std::filesystem::exists(named, failed);
  if (!file && named.find_first_of("./\\") != std::string::npos)
    throw error(errc::not_found, std::string(option),
                join("there is no file \"", named,
                     "\"; give a Jinja file, or a format: chatml, zephyr, llama2, vicuna, alpaca"));
  const chat_template chat =
      file ? chat_template::from_text(read_file(existing_file(named, option)), named) : chat_template::named(named);
  return folder ? chat.with_special_tokens_of(model) : chat;
}

}  // namespace program
