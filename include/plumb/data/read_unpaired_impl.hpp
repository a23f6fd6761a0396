// SPDX-License-Identifier: BSL-1.0
// The bodies of data/read_unpaired.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/messages.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/data/row.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

example parse_unpaired(const json::value& value, const std::string& place, const tokenizer* words,
                       const read_options& o) {
  const detail::data_row row{json::as_object(value, "a row", place), place};
  if (row.has("label") == row.has("desirable"))
    throw error(errc::bad_data, place,
                row.has("label")
                    ? "expected \"label\" or \"desirable\", found both"
                    : "expected \"label\": true for a liked reply or false for a disliked one, found none; "
                      "rows with \"chosen\" and \"rejected\" are taken apart by themselves");
  example e = parse_demonstration(value, place, words, detail::for_one_reply(row, o));
  e.desirable = json::get<bool>(row.object, row.has("label") ? "label" : "desirable", place);
  e.kl = json::get_or<double>(row.object, "kl", e.kl, place);
  double& reference = e.replies.front().reference;
  reference = json::get_or<double>(row.object, "ref", reference, place);
  return e;
}

std::vector<example> unpair(std::vector<example> rows) {
  std::vector<example> out, rejected;
  for (example& e : rows) {
    if (e.replies.size() != 2) {
      out.push_back(std::move(e));
      continue;
    }
    example other{.prompt = e.prompt, .replies = {std::move(e.replies[1])}, .desirable = false, .place = e.place};
    rejected.push_back(std::move(other));
    e.replies.pop_back();
    e.desirable = true;
    out.push_back(std::move(e));
  }
  std::move(rejected.begin(), rejected.end(), std::back_inserter(out));
  return out;
}

namespace detail {

std::vector<example> read_unpaired(const std::filesystem::path& path, const tokenizer* words, const read_options& o) {
  return unpair(read_rows(path, o, [&](const json::value& v, const std::string& place) {
    return is_preference(v) ? parse_pair(v, place, words, o) : parse_unpaired(v, place, words, o);
  }));
}

}  // namespace detail

}  // namespace plumb::inline v0
