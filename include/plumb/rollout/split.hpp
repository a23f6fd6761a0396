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

/// Puts runs of `count` examples, of which the last may be smaller, in place of what `out` held.
inline void split_by_count(std::span<const example* const> examples, index_t count, micro_batches& out) {
  out.clear();
  for (std::size_t first = 0; first < examples.size(); first += static_cast<std::size_t>(count))
    out.push_back(examples.subspan(first, std::min(static_cast<std::size_t>(count), examples.size() - first)));
}
inline micro_batches split_by_count(std::span<const example* const> examples, index_t count) {
  micro_batches out;
  split_by_count(examples, count, out);
  return out;
}

/// Tokens of an example that go through the network: the prompt once, and every reply.
inline index_t tokens_of(const example& e) {
  auto count = static_cast<index_t>(e.prompt.size());
  for (const reply& r : e.replies) count += static_cast<index_t>(r.tokens.size());
  return count;
}

/// Splits examples, in their order, into runs of at most `tokens` tokens (a longer example stands alone); calls
/// f(first, count) for each run. at(i): the i-th of `count` examples.
template <class At, class F>
void for_each_run(std::size_t count, At&& at, index_t tokens, F&& f) {
  std::size_t first = 0;
  while (first < count) {
    std::size_t end = first;
    for (index_t used = 0; end < count; ++end) {
      const index_t size = tokens_of(at(end));
      if (end > first && used + size > tokens) break;
      used += size;
    }
    f(first, end - first);
    first = end;
  }
}
template <class F>
void for_each_run(std::span<const example> data, index_t tokens, F&& f) {
  for_each_run(data.size(), [&](std::size_t i) -> const example& { return data[i]; }, tokens, f);
}
template <class F>
void for_each_run(std::span<const example* const> data, index_t tokens, F&& f) {
  for_each_run(data.size(), [&](std::size_t i) -> const example& { return *data[i]; }, tokens, f);
}

/// The same runs as micro-batches, in place of what `out` held.
inline void split_by_tokens(std::span<const example* const> examples, index_t tokens, micro_batches& out) {
  out.clear();
  for_each_run(examples, tokens,
               [&](std::size_t first, std::size_t count) { out.push_back(examples.subspan(first, count)); });
}
inline micro_batches split_by_tokens(std::span<const example* const> examples, index_t tokens) {
  micro_batches out;
  split_by_tokens(examples, tokens, out);
  return out;
}

/// Examples as what micro-batches are made of; `data` must outlive them.
inline void pointers_to(std::span<const example> data, std::vector<const example*>& out) {
  out.clear();
  for (const example& e : data) out.push_back(&e);
}
inline std::vector<const example*> pointers_to(std::span<const example> data) {
  std::vector<const example*> out;
  pointers_to(data, out);
  return out;
}

}  // namespace plumb::inline v0
