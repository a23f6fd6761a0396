// SPDX-License-Identifier: BSL-1.0
// The bodies of data/row.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/example.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/row.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

namespace detail {

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  if (input.empty())
    return "Below is an instruction that describes a task. Write a response that appropriately completes the "
           "request.\n\n"
           "### Instruction:\n" +
           instruction + "\n\n### Response:\n";
  return "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\n" +
         instruction + "\n\n### Input:\n" + input + "\n\n### Response:\n";
}

std::optional<std::string> prompt_text(const data_row& row) {
  if (row.has("prompt")) return row.text("prompt");
  if (row.has("instruction")) return alpaca_prompt(row.text("instruction"), row.has("input") ? row.text("input") : "");
  return std::nullopt;
}

std::size_t common_prefix(const std::vector<token_id>& a, const std::vector<token_id>& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

void add_end(std::vector<token_id>& tokens, const tokenizer& words, const read_options& o) {
  if (o.end && words.eos() && (tokens.empty() || tokens.back() != *words.eos())) tokens.push_back(*words.eos());
}

void tokenise(example& e, const tokenizer& words, const std::string& prompt, const std::vector<std::string>& replies,
              const read_options& o) {
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

const tokenizer& needed(const tokenizer* words, const std::string& place) {
  if (!words)
    throw error(errc::bad_data, place,
                "the row is text, but the model has no tokenizer; give token ids (prompt_ids, chosen_ids, "
                "rejected_ids, completion_ids, ids)");
  return *words;
}

[[noreturn]] void unknown_row(const data_row& row, std::string_view expected) {
  std::string keys;
  for (const auto& member : row.object)
    keys += join(keys.empty() ? "" : ", ", std::string_view(member.key().data(), member.key().size()));
  throw error(errc::bad_data, row.place,
              join("expected ", expected, ", found the keys: ", keys.empty() ? "none" : keys));
}

bool is_preference(const json::value& row) {
  const auto* const object = row.if_object();
  return object && ((json::find(*object, "chosen") && json::find(*object, "rejected")) ||
                    (json::find(*object, "chosen_ids") && json::find(*object, "rejected_ids")));
}

void refuse_media(const data_row& row) {
  for (const char* const key : {"images", "image", "videos", "video", "audios", "audio"}) {
    const json::value* const v = json::find(row.object, key);
    if (!v || v->is_null() || (v->is_array() && v->get_array().empty())) continue;
    throw error(errc::unsupported, row.place,
                join("the row has \"", key, "\", and plumb's models read text alone; leave such rows out"));
  }
}

double weight_of(const data_row& row) {
  const double weight = json::get_or<double>(row.object, "weight", 1.0, row.place);
  if (!(weight >= 0) || weight - weight != 0)
    throw error(errc::bad_data, row.place, join("\"weight\": expected a finite number from 0, found ", weight));
  return weight;
}

void check_replies(const example& e) {
  for (const reply& r : e.replies)
    if (r.tokens.empty())
      throw error(errc::bad_data, e.place, "the reply is empty; every reply needs at least one token");
}

}  // namespace detail

}  // namespace plumb::inline v0
