// SPDX-License-Identifier: BSL-1.0
// Text becomes tokens exactly as training makes them, so that scores and losses speak of the same numbers.
#include "token_rows.hpp"

#include "input.hpp"

#include <plumb/data/messages.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/row.hpp>

#include <algorithm>

namespace program {

namespace {

using plumb::detail::data_row;

void check_ids(const std::vector<token_id>& ids, const engine& model, const std::string& place) {
  const index_t vocabulary = model.config().vocabulary;
  for (const token_id id : ids)
    if (id < 0 || id >= vocabulary)
      throw error(errc::bad_data, place,
                  join("token id ", id, " lies outside the model's vocabulary of ", vocabulary,
                       "; were the ids made by another tokenizer?"));
}

void refuse_both(const data_row& row, std::string_view text, std::string_view ids) {
  if (row.has(text) && row.has(ids))
    throw error(errc::bad_data, row.place, join("expected \"", text, "\" or \"", ids, "\", found both"));
}

/// What a template reads goes with messages only.
void check_chat_keys(const data_row& row) {
  for (const char* const key : {"tools", "documents", "chat_template_kwargs"})
    if (row.has(key) && !plumb::detail::is_conversation(row))
      throw error(errc::bad_data, row.place,
                  join("\"", key, "\" goes with messages, found texts or ids; leave it out"));
}

}  // namespace

scored_tokens read_scored(const json::object& object, const engine& model, const std::string& place,
                          const chat_template* chat) {
  check_keys(object,
             {"text", "prompt", "completion", "prompt_ids", "completion_ids", "ids", "from", "adapter", "tools",
              "documents", "chat_template_kwargs"},
             place);
  const data_row row{object, place};
  check_chat_keys(row);
  scored_tokens out;
  if (row.has("from") && !row.has("ids"))
    throw error(errc::bad_data, place, "\"from\" goes with \"ids\"; leave it out, or give ids");
  const int kinds = (row.has("text") ? 1 : 0) + (row.has("ids") ? 1 : 0) +
                    (row.has("completion") || row.has("completion_ids") ? 1 : 0);
  if (kinds > 1)
    throw error(errc::bad_data, place, "expected one of \"text\", \"ids\" or \"completion\" in a row, found several");
  if (row.has("completion") || row.has("completion_ids")) {
    refuse_both(row, "prompt", "prompt_ids");
    refuse_both(row, "completion", "completion_ids");
    if (plumb::detail::is_conversation(row)) {
      if (!row.has("prompt") || !row.has("completion"))
        throw error(errc::bad_data, place,
                    "expected messages or texts as \"prompt\" and \"completion\", found one of them");
      example e;
      plumb::detail::read_chat_replies(e, row, {"completion"}, model.tokenizer(), {.chat = chat});
      out.ids = std::move(e.prompt);
      out.from = static_cast<index_t>(out.ids.size());
      out.ids.insert(out.ids.end(), e.replies[0].tokens.begin(), e.replies[0].tokens.end());
    } else if (row.has("completion") &&
               !row.has("prompt_ids")) {  // texts: tokenised as one, as the model will see them
      const std::string completion = row.text("completion");
      if (completion.empty())
        throw error(errc::bad_data, place, "the completion is empty; it needs at least one token to score");
      example e;
      plumb::detail::tokenise(e, model.tokenizer(), row.has("prompt") ? row.text("prompt") : "", {completion},
                              {.end = false});
      out.ids = std::move(e.prompt);
      out.from = static_cast<index_t>(out.ids.size());
      out.ids.insert(out.ids.end(), e.replies[0].tokens.begin(), e.replies[0].tokens.end());
    } else {
      if (row.has("prompt_ids"))
        out.ids = row.ids("prompt_ids");
      else if (row.has("prompt"))
        out.ids = model.tokenizer().encode(row.text("prompt"));
      out.from = static_cast<index_t>(out.ids.size());
      const auto reply = row.has("completion_ids") ? row.ids("completion_ids")
                                                   : model.tokenizer().encode(row.text("completion"), false);
      out.ids.insert(out.ids.end(), reply.begin(), reply.end());
    }
    out.from = std::max<index_t>(out.from, 1);  // nothing predicts the first token of all
  } else if (row.has("text")) {
    out.ids = model.tokenizer().encode(row.text("text"));
  } else if (row.has("ids")) {
    out.ids = row.ids("ids");
    out.from = json::get_or<index_t>(object, "from", 1, place);
  } else {
    plumb::detail::unknown_row(row, "\"text\", or \"prompt\" and \"completion\", or \"ids\"");
  }
  check_ids(out.ids, model, place);
  const auto count = static_cast<index_t>(out.ids.size());
  if (count < 2 || out.from >= count)
    throw error(errc::bad_data, place,
                join("there is no token to score: the row has ", count, " tokens and scoring begins at position ",
                     out.from, " (the first token of all has no probability)"));
  if (out.from < 1)
    throw error(errc::bad_data, place, join("\"from\": expected 1 to ", count - 1, ", found ", out.from));
  if (count > model.positions())
    throw error(errc::bad_data, place,
                join("the row has ", count, " tokens; the model has ", model.positions(), " positions; shorten it"));
  return out;
}

std::vector<token_id> read_prompt(const json::object& object, const engine& model, const std::string& place,
                                  const chat_template* chat) {
  check_keys(object, {"prompt", "prompt_ids", "ids", "adapter", "tools", "documents", "chat_template_kwargs"}, place);
  const data_row row{object, place};
  check_chat_keys(row);
  const bool messages = plumb::detail::is_conversation(row);
  const int kinds = (row.has("prompt") ? 1 : 0) + (row.has("ids") ? 1 : 0) + (row.has("prompt_ids") ? 1 : 0);
  if (kinds > 1)
    throw error(errc::bad_data, place, "expected one of \"prompt\", \"prompt_ids\" or \"ids\", found several");
  if (kinds == 0) plumb::detail::unknown_row(row, "\"prompt\" or \"ids\"");
  std::vector<token_id> ids = messages            ? plumb::detail::chat_prompt(row, model.tokenizer(), {.chat = chat})
                              : row.has("prompt") ? model.tokenizer().encode(row.text("prompt"))
                              : row.has("prompt_ids") ? row.ids("prompt_ids")
                                                      : row.ids("ids");
  // A template that closes every text with an end token would have the model answer after the end.
  if (row.has("prompt") && !messages)
    while (ids.size() > 1 && model.ends(ids.back()) && !model.tokenizer().suffix().empty()) ids.pop_back();
  check_ids(ids, model, place);
  if (ids.empty())
    throw error(errc::bad_data, place, "the prompt is empty; a model needs at least one token to go on from");
  if (static_cast<index_t>(ids.size()) >= model.positions())
    throw error(errc::bad_data, place,
                join("the prompt has ", ids.size(), " tokens; the model has ", model.positions(),
                     " positions, so there is no room for a reply"));
  return ids;
}

std::string read_adapter_name(const json::object& row, const engine& model, const std::string& place) {
  const auto name = json::get_or<std::string>(row, "adapter", "", place);
  const auto names = model.adapter_names();
  if (names.empty() && row.contains("adapter"))
    throw error(errc::bad_data, place,
                "\"adapter\" chooses among those of --adapter NAME=FOLDER, of which there are none");
  if (name.empty() || std::find(names.begin(), names.end(), name) != names.end()) return name;
  std::string known;
  for (const std::string& each : names) known += join(known.empty() ? "" : ", ", each);
  throw error(errc::bad_data, place,
              join("\"adapter\": expected one of ", known, ", or \"\" for the bare model; found \"", name, "\""));
}

}  // namespace program
