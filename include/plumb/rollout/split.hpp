// SPDX-License-Identifier: BSL-1.0
// Many examples as micro-batches.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include <plumb/data/example.hpp>

namespace plumb::inline v0 {

/// Examples in their order, some at a time.
using micro_batches = std::vector<std::span<const example* const>>;

/// Runs of `count` examples; the last may be smaller.
inline micro_batches split_by_count(std::span<const example* const> examples, index_t count) {
  micro_batches out;
  for (std::size_t first = 0; first < examples.size(); first += static_cast<std::size_t>(count))
    out.push_back(examples.subspan(first, std::min(static_cast<std::size_t>(count), examples.size() - first)));
  return out;
}

/// Runs of at most `tokens` tokens; a longer example stands alone.
inline micro_batches split_by_tokens(std::span<const example* const> examples, index_t tokens) {
  micro_batches out;
  std::size_t first = 0;
  index_t used = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    auto size = static_cast<index_t>(examples[i]->prompt.size());
    for (const reply& r : examples[i]->replies) size += static_cast<index_t>(r.tokens.size());
    if (i > first && used + size > tokens) {
      out.push_back(examples.subspan(first, i - first));
      first = i;
      used = 0;
    }
    used += size;
  }
  if (first < examples.size()) out.push_back(examples.subspan(first));
  return out;
}

}  // namespace plumb::inline v0
