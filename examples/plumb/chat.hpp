// SPDX-License-Identifier: BSL-1.0
// Where the program finds the template of a conversation.
#pragma once

#include <plumb/text/chat_template.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace program {

using namespace plumb;

/// The template that `named` says, a Jinja file or a format, with the model's special tokens; without a name the model's
/// own, or nothing when it has none. `option` names the choice in errors. `model` may be empty where there is none.
std::optional<chat_template> find_chat(const std::string& model, const std::string& named, std::string_view option);

}  // namespace program
