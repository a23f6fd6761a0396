// SPDX-License-Identifier: BSL-1.0
// Rows of text or token ids as tokens for a model.
#pragma once

#include "engine.hpp"

#include <plumb/text/chat_template.hpp>

#include <string>

namespace program {

/// A row of `plumb score`: {"text"}, {"prompt", "completion"} or {"ids", "from"}; ids instead of any text,
/// lists of messages instead of prompt and completion, which `chat` writes.
/// Errors are errc::bad_data at `place`.
scored_tokens read_scored(const json::object& row, const engine& model, const std::string& place,
                          const chat_template* chat = nullptr);

/// A row of `plumb generate`: {"prompt"}, {"prompt_ids"} or {"ids"}.
std::vector<token_id> read_prompt(const json::object& row, const engine& model, const std::string& place,
                                  const chat_template* chat = nullptr);

/// The row's "adapter"; "", the bare model, when it names none. Throws errc::bad_data, with the names there are.
std::string read_adapter_name(const json::object& row, const engine& model, const std::string& place);

}  // namespace program
