// SPDX-License-Identifier: BSL-1.0
// The known name nearest to a mistyped one, for messages: "unknown key 'bta'; did you mean 'beta'?".
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// The least number of insertions, deletions, replacements and swaps of neighbours that turn a into b
/// (Damerau–Levenshtein, restricted: no letter is edited twice). Upper and lower case are equal, so are '-' and '_'.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto plain = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c == '-' ? '_' : c;
  };
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> cost(3 * width);  // the rows i - 2, i - 1 and i of the table, in turn
  const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& { return cost[i % 3 * width + j]; };
  for (std::size_t j = 0; j < width; ++j) at(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    at(i, 0) = i;
    for (std::size_t j = 1; j < width; ++j) {
      const bool same = plain(a[i - 1]) == plain(b[j - 1]);
      std::size_t best = at(i - 1, j - 1) + (same ? 0 : 1);
      if (at(i - 1, j) + 1 < best) best = at(i - 1, j) + 1;
      if (at(i, j - 1) + 1 < best) best = at(i, j - 1) + 1;
      const bool swapped = i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) && plain(a[i - 2]) == plain(b[j - 1]);
      if (swapped && at(i - 2, j - 2) + 1 < best) best = at(i - 2, j - 2) + 1;
      at(i, j) = best;
    }
  }
  return at(a.size(), b.size());
}

/// The known name with the least edit distance to `wanted`, the first of equals; empty when nothing is known.
inline std::string_view nearest(std::string_view wanted, std::span<const std::string_view> known) {
  std::string_view best;
  std::size_t least = static_cast<std::size_t>(-1);
  for (const std::string_view name : known) {
    const std::size_t distance = edit_distance(wanted, name);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

/// "unknown KIND 'WANTED'; did you mean 'NEAREST'? (known: A, B, C)", for an `error`.
inline std::string unknown_name(std::string_view kind, std::string_view wanted,
                                std::span<const std::string_view> known) {
  std::string text = "unknown ";
  text += kind;
  text += " '";
  text += wanted;
  text += "'";
  if (known.empty()) return text + "; there is none";
  text += "; did you mean '";
  text += nearest(wanted, known);
  text += "'? (known: ";
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (i > 0) text += ", ";
    text += known[i];
  }
  return text + ")";
}

}  // namespace plumb::inline v0
