// SPDX-License-Identifier: BSL-1.0
// Rows of text or token ids from JSON Lines (or a JSON array) become examples.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/nearest.hpp>
#include <plumb/data/example.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// How rows become tokens.
struct read_options {
  bool end =
      true;  ///< append the tokenizer's end-of-text token to each reply given as text, so that the model learns to stop
  index_t limit = 0;  ///< rows to read; 0: all
};

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
               "\" is a list of messages; chat templates are not supported yet: give the rendered text as a string"));
    return json::get<std::string>(object, key, place);
  }
  [[nodiscard]] std::vector<token_id> ids(std::string_view key) const {
    return json::get<std::vector<token_id>>(object, key, place);
  }
};

/// "Below is an instruction …": the prompt of Alpaca's rows, with or without an input (Taori et al. 2023).
inline std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  if (input.empty())
    return "Below is an instruction that describes a task. Write a response that appropriately completes the "
           "request.\n\n"
           "### Instruction:\n" +
           instruction + "\n\n### Response:\n";
  return "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\n" +
         instruction + "\n\n### Input:\n" + input + "\n\n### Response:\n";
}

/// The prompt of a row: "prompt", or Alpaca's "instruction" and "input"; nothing when the row has neither.
inline std::optional<std::string> prompt_text(const data_row& row) {
  if (row.has("prompt")) return row.text("prompt");
  if (row.has("instruction")) return alpaca_prompt(row.text("instruction"), row.has("input") ? row.text("input") : "");
  return std::nullopt;
}

inline std::size_t common_prefix(const std::vector<token_id>& a, const std::vector<token_id>& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

inline void add_end(std::vector<token_id>& tokens, const tokenizer& words, const read_options& o) {
  if (o.end && words.eos() && (tokens.empty() || tokens.back() != *words.eos())) tokens.push_back(*words.eos());
}

/// Prompt and replies as tokens. Each whole text is tokenised at once, as the model will see it; the prompt is what all
/// of them begin with, so a token that spans prompt and reply belongs to the reply.
inline void tokenise(example& e, const tokenizer& words, const std::string& prompt,
                     const std::vector<std::string>& replies, const read_options& o) {
  e.prompt = words.encode(prompt);
  while (!e.prompt.empty() && words.eos() && e.prompt.back() == *words.eos() && e.prompt.size() > 1)
    e.prompt.pop_back();
  std::vector<std::vector<token_id>> whole;
  for (const std::string& r : replies) {
    whole.push_back(words.encode(prompt + r));
    add_end(whole.back(), words, o);
    e.prompt.resize(common_prefix(e.prompt, whole.back()));
  }
  for (auto& w : whole) e.replies.push_back({{w.begin() + static_cast<std::ptrdiff_t>(e.prompt.size()), w.end()}});
}

inline const tokenizer& needed(const tokenizer* words, const std::string& place) {
  if (!words)
    throw error(errc::bad_data, place,
                "the row is text, but the model has no tokenizer; give token ids (prompt_ids, chosen_ids, "
                "rejected_ids, completion_ids, ids)");
  return *words;
}

[[noreturn]] inline void unknown_row(const data_row& row, std::string_view expected) {
  std::string keys;
  for (const auto& member : row.object)
    keys += join(keys.empty() ? "" : ", ", std::string_view(member.key().data(), member.key().size()));
  throw error(errc::bad_data, row.place,
              join("expected ", expected, ", found the keys: ", keys.empty() ? "none" : keys));
}

inline void check_replies(const example& e) {
  for (const reply& r : e.replies)
    if (r.tokens.empty())
      throw error(errc::bad_data, e.place, "the reply is empty; every reply needs at least one token");
}

template <class Parse>
std::vector<example> read_rows(const std::filesystem::path& path, const read_options& o, Parse&& parse) {
  std::vector<example> out;
  json::for_each_row(path, [&](json::value&& value, const std::string& place) {
    if (o.limit > 0 && static_cast<index_t>(out.size()) >= o.limit) return false;
    out.push_back(parse(value, place));
    return true;
  });
  if (out.empty()) throw error(errc::bad_data, path.string(), "the file has no rows");
  return out;
}

}  // namespace detail

/// A preference: {"prompt", "chosen", "rejected"}; Alpaca's {"instruction", "input", "chosen", "rejected"}; whole texts
/// {"chosen", "rejected"} that begin alike; or token ids {"prompt_ids", "chosen_ids", "rejected_ids"}. Optional: "margin",
/// "ref_chosen", "ref_rejected" (reference log-probabilities, nats). Errors name `place`.
inline example parse_pair(const json::value& value, const std::string& place, const tokenizer* words,
                          const read_options& o = {}) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  example e;
  e.place = place;
  if (row.has("chosen_ids") && row.has("rejected_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    e.replies = {{row.ids("chosen_ids")}, {row.ids("rejected_ids")}};
  } else if (row.has("chosen") && row.has("rejected")) {
    const auto prompt = detail::prompt_text(row);
    const std::string chosen = row.text("chosen"), rejected = row.text("rejected");
    if (prompt && (chosen.empty() || rejected.empty()))
      throw error(errc::bad_data, place, "a reply is empty; every reply needs at least one token");
    detail::tokenise(e, detail::needed(words, place), prompt.value_or(""), {chosen, rejected}, o);
    if (!prompt) {  // an implicit prompt is what both texts begin with
      const std::size_t shared = detail::common_prefix(e.replies[0].tokens, e.replies[1].tokens);
      const auto& c = e.replies[0].tokens;
      e.prompt.insert(e.prompt.end(), c.begin(), c.begin() + static_cast<std::ptrdiff_t>(shared));
      for (reply& r : e.replies)
        r.tokens.erase(r.tokens.begin(), r.tokens.begin() + static_cast<std::ptrdiff_t>(shared));
    }
  } else {
    detail::unknown_row(
        row, "a preference with \"prompt\", \"chosen\" and \"rejected\" (or prompt_ids, chosen_ids, rejected_ids)");
  }
  detail::check_replies(e);
  if (e.replies[0].tokens == e.replies[1].tokens)
    throw error(errc::bad_data, place,
                "chosen and rejected are the same tokens; a preference needs two different replies");
  e.margin = json::get_or<double>(row.object, "margin", 0.0, place);
  e.replies[0].reference = json::get_or<double>(row.object, "ref_chosen", e.replies[0].reference, place);
  e.replies[1].reference = json::get_or<double>(row.object, "ref_rejected", e.replies[1].reference, place);
  return e;
}

/// A demonstration: {"prompt", "completion"}; Alpaca's {"instruction", "input", "output"}; {"text"} (every token is
/// learnt); or token ids {"prompt_ids", "completion_ids"} or {"ids"}. Errors name `place`.
inline example parse_demonstration(const json::value& value, const std::string& place, const tokenizer* words,
                                   const read_options& o = {}) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  example e;
  e.place = place;
  const char* answer = row.has("completion") ? "completion" : "output";
  if (row.has("completion_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    e.replies = {{row.ids("completion_ids")}};
  } else if (row.has("ids")) {
    e.replies = {{row.ids("ids")}};
  } else if (const auto prompt = detail::prompt_text(row); prompt && row.has(answer)) {
    const std::string text = row.text(answer);
    if (text.empty()) throw error(errc::bad_data, place, "the reply is empty; every reply needs at least one token");
    detail::tokenise(e, detail::needed(words, place), *prompt, {text}, o);
  } else if (row.has("text")) {
    const tokenizer& t = detail::needed(words, place);
    e.replies = {{t.encode(row.text("text"))}};
    detail::add_end(e.replies[0].tokens, t, o);
  } else {
    detail::unknown_row(
        row,
        "a demonstration with \"prompt\" and \"completion\", or \"text\" (or prompt_ids and completion_ids, or ids)");
  }
  detail::check_replies(e);
  return e;
}

/// Reads preferences from JSON Lines or a JSON array; each row as `parse_pair` takes it. Errors name file and line.
inline std::vector<example> read_pairs(const std::filesystem::path& path, const tokenizer& words,
                                       const read_options& o = {}) {
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_pair(v, place, &words, o); });
}
/// The same for a model, which may lack a tokenizer: then rows must hold token ids.
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_pairs(const std::filesystem::path& path, const Model& model, const read_options& o = {}) {
  const tokenizer* words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_pair(v, place, words, o); });
}

/// Reads demonstrations; each row as `parse_demonstration` takes it.
inline std::vector<example> read_demonstrations(const std::filesystem::path& path, const tokenizer& words,
                                                const read_options& o = {}) {
  return detail::read_rows(path, o, [&](const json::value& v, const std::string& place) {
    return parse_demonstration(v, place, &words, o);
  });
}
template <class Model>
  requires requires(const Model& m) { m.has_tokenizer(); }
std::vector<example> read_demonstrations(const std::filesystem::path& path, const Model& model,
                                         const read_options& o = {}) {
  const tokenizer* words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  return detail::read_rows(
      path, o, [&](const json::value& v, const std::string& place) { return parse_demonstration(v, place, words, o); });
}

}  // namespace plumb::inline v0
