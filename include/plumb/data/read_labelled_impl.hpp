// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read_labelled.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <plumb/data/messages.hpp>
#include <plumb/data/read_labelled.hpp>

namespace plumb::inline v0 {

std::optional<example> parse_rated(const json::value& value, const std::string& place, const tokenizer* words,
                                   const read_options& o) {
  const auto& row = json::as_object(value, "a row", place);
  const json::value *const rating = json::find(row, "rating"), *const target = json::find(row, "target");
  if (!rating == !target)
    throw error(errc::bad_data, place,
                rating ? "expected \"rating\" or \"target\", found both"
                       : "expected a rating of the reply: \"rating\": a number, or null where there is none");
  const char* const key = rating ? "rating" : "target";
  if ((rating ? rating : target)->is_null()) return std::nullopt;
  example e = parse_demonstration(value, place, words, detail::for_one_reply({row, place}, o));
  e.replies.front().targets = {json::get<double>(row, key, place)};
  return e;
}

namespace detail {

/// true, false, a probability, or null: NaN.
double step_label(const json::value& v, const std::string& place) {
  if (v.is_null()) return __builtin_nan("");
  if (const auto* const word = v.if_bool()) return *word ? 1 : 0;
  const double number = json::as<double>(v, "a label", place);
  if (!(number >= 0 && number <= 1))
    throw error(errc::bad_data, place,
                join("expected labels that are true, false, null or from 0 to 1, found ", number));
  return number;
}

}  // namespace detail

example parse_steps(const json::value& value, const std::string& place, const tokenizer* words,
                    const step_options& steps) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  detail::refuse_media(row);
  example e;
  e.place = place;
  std::vector<std::size_t> ends;  // of steps: how many of the reply's tokens they cover
  if (row.has("completions_ids")) {
    if (row.has("prompt_ids")) e.prompt = row.ids("prompt_ids");
    auto& all = e.replies.emplace_back().tokens;
    for (const auto& step : json::get<std::vector<std::vector<token_id>>>(row.object, "completions_ids", place)) {
      if (step.empty()) throw error(errc::bad_data, place, "a step is empty; every step needs at least one token");
      all.insert(all.end(), step.begin(), step.end());
      ends.push_back(all.size());
    }
  } else if (row.has("prompt") && row.has("completions")) {
    const tokenizer& t = detail::needed(words, place);
    const std::string prompt = row.text("prompt");
    std::vector<std::vector<token_id>> until;  // prompt and the first steps
    std::string text = prompt;
    for (const auto& step : json::get<std::vector<std::string>>(row.object, "completions", place)) {
      if (step.empty()) throw error(errc::bad_data, place, "a step is empty; every step needs text");
      auto& ids = until.emplace_back(t.encode(text += step + steps.separator));
      while (ids.size() > 1 && t.eos() && ids.back() == *t.eos()) ids.pop_back();
    }
    detail::tokenise(e, t, prompt, {text.substr(prompt.size())}, {.end = false});
    const std::size_t before = e.prompt.size(), total = before + e.replies.front().tokens.size();
    for (const auto& ids : until) {
      const std::size_t same = detail::common_prefix(ids, until.back());
      ends.push_back(std::clamp(same == ids.size() ? same : same + 1, before + 1, total) - before);
      if (ends.size() > 1 && ends[ends.size() - 2] >= ends.back())
        throw error(errc::bad_data, place,
                    "two steps end in the same token; choose a separator that is a token of its own");
    }
  } else {
    detail::unknown_row(row,
                        "a solution with \"prompt\", \"completions\" and \"labels\" (or prompt_ids, completions_ids)");
  }
  const json::value* const labels = json::find(row.object, "labels");
  if (!labels || !labels->is_array() || labels->as_array().size() != ends.size() || ends.empty())
    throw error(
        errc::bad_data, place,
        join("expected \"labels\": one for each of the ", ends.size(), " steps, of which there is at least one"));
  auto& out = e.replies.front();
  out.targets.assign(out.tokens.size(), __builtin_nan(""));
  for (std::size_t i = steps.last_step_only ? ends.size() - 1 : 0; i < ends.size(); ++i)
    out.targets[ends[i] - 1] = detail::step_label(labels->as_array()[i], place);
  for (const double label : out.targets) out.mask.push_back(label == label);  // NaN is no label
  return e;
}

}  // namespace plumb::inline v0
