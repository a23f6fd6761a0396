// SPDX-License-Identifier: BSL-1.0
// The bodies of nn/forest.hpp: segments, what is predicted in them, and the plan of a batch. Collected by plumb/impl.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/nn/forest.hpp>

namespace plumb::inline v0 {

void append_rows(std::vector<adapter_range>& ranges, index_t count, index_t adapter) {
  if (count == 0) return;
  const index_t first = ranges.empty() ? 0 : ranges.back().first + ranges.back().count;
  if (!ranges.empty() && ranges.back().adapter == adapter)
    ranges.back().count += count;
  else
    ranges.push_back({first, count, adapter});
}

index_t forest::add(std::span<const token_id> tokens, index_t parent) {
  const auto count = static_cast<index_t>(segments_.size());
  if (parent < root || parent >= count)
    throw error(errc::bad_argument, "",
                join("segment ", count, " continues segment ", parent, ", which is not there yet"));
  segment s{.parent = parent};
  if (parent != root) s.position = (*this)[parent].end_position(), s.adapter = (*this)[parent].adapter;
  return append(s, tokens);
}

index_t forest::add_from(index_t position, std::span<const token_id> tokens) {
  return append({.position = position}, tokens);
}

index_t forest::append(segment s, std::span<const token_id> tokens) {
  s.first = static_cast<index_t>(tokens_.size());
  s.length = static_cast<index_t>(tokens.size());
  path_total_ += s.end_position();
  if (s.first + s.length > limit || path_total_ > limit)
    throw error(errc::bad_argument, "", "a batch holds at most 2147483647 tokens and path entries; make it smaller");
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  segments_.push_back(s);
  return static_cast<index_t>(segments_.size()) - 1;
}

void forest::predictions(index_t s, std::vector<prediction>& out, index_t from) const {
  const segment& own = (*this)[s];
  for (index_t i = from; i < own.length; ++i) {
    const index_t position = own.position + i;
    if (position == 0) continue;
    out.push_back(
        {static_cast<std::int32_t>(row_at(s, position - 1)), tokens_[static_cast<std::size_t>(own.first + i)]});
  }
}

void forest::lay_out(batch_layout& out) const {
  out.tokens.assign(tokens_.begin(), tokens_.end());
  out.positions.clear();
  out.segments.clear();
  out.key_rows.clear();
  out.row_segment.clear();
  out.adapters.clear();
  out.key_rows.reserve(static_cast<std::size_t>(path_total_));
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    const segment& own = segments_[s];
    const auto keys = static_cast<std::int32_t>(out.key_rows.size());
    append_rows(out.adapters, own.length, own.adapter);
    if (own.length > 0) {
      out.key_rows.resize(out.key_rows.size() + static_cast<std::size_t>(own.end_position()));
      for (auto a = static_cast<index_t>(s); a != root; a = (*this)[a].parent)
        for (index_t i = 0; i < (*this)[a].length; ++i)
          out.key_rows[static_cast<std::size_t>(keys + (*this)[a].position + i)] =
              static_cast<std::int32_t>((*this)[a].first + i);
    }
    for (index_t i = 0; i < own.length; ++i) {
      out.positions.push_back(static_cast<std::int32_t>(own.position + i));
      out.row_segment.push_back(static_cast<std::int32_t>(out.segments.size()));
    }
    if (own.length > 0)
      out.segments.push_back({static_cast<std::int32_t>(own.first), static_cast<std::int32_t>(own.length),
                              static_cast<std::int32_t>(own.position), keys});
  }
}

}  // namespace plumb::inline v0
