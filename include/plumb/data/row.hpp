// SPDX-License-Identifier: BSL-1.0
// One row of a file of examples, and what all readers of such rows share. Bodies: row_impl.hpp.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

namespace detail {

/// One row with the names of its keys checked off as they are read.
struct data_row {
  const json::object& object;
  const std::string& place;

  [[nodiscard]] bool has(std::string_view key) const {
    const json::value* v = json::find(object, key);
    return v && !v->is_null();
  }
  [[nodiscard]] std::string text(std::string_view key) const {
    const json::value* v = json::find(object, key);
    if (v && v->is_array())
      throw error(
          errc::unsupported, place,
          join("\"", key,
               "\" is a list of messages, which does not go with the row's other keys; see docs/chat_templates.md"));
    return json::get<std::string>(object, key, place);
  }
  [[nodiscard]] std::vector<token_id> ids(std::string_view key) const {
    return json::get<std::vector<token_id>>(object, key, place);
  }
};

/// "Below is an instruction …": the prompt of Alpaca's rows, with or without an input (Taori et al. 2023).
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

/// The prompt of a row: "prompt", or Alpaca's "instruction" and "input"; nothing when the row has neither.
std::optional<std::string> prompt_text(const data_row& row);

std::size_t common_prefix(const std::vector<token_id>& a, const std::vector<token_id>& b);

void add_end(std::vector<token_id>& tokens, const tokenizer& words, const read_options& o);

/// Prompt and replies as tokens. Each whole text is tokenised at once, as the model will see it; the prompt is what all
/// of them begin with, so a token that spans prompt and reply belongs to the reply.
void tokenise(example& e, const tokenizer& words, const std::string& prompt, const std::vector<std::string>& replies,
              const read_options& o);

/// The tokenizer, or errc::bad_data at `place` when there is none.
const tokenizer& needed(const tokenizer* words, const std::string& place);

[[noreturn]] void unknown_row(const data_row& row, std::string_view expected);

/// Is the row a preference, with two replies?
bool is_preference(const json::value& row);

/// Throws errc::unsupported for rows with images, videos or sounds, which the text would refer to.
void refuse_media(const data_row& row);

/// "weight" of a row, 1 when it says nothing.
double weight_of(const data_row& row);

void check_replies(const example& e);

}  // namespace detail

}  // namespace plumb::inline v0
