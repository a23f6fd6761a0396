// SPDX-License-Identifier: BSL-1.0
// The bodies of nn/virtual_tokens.hpp: a layout with tokens ahead. Collected by plumb/impl.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include <plumb/nn/virtual_tokens.hpp>

namespace plumb::inline v0 {

batch_layout with_virtual_tokens(const batch_layout& own, std::int32_t count, bool fresh, std::int32_t first_key,
                                 std::int32_t shift) {
  batch_layout out;
  out.tokens = own.tokens;
  const std::int32_t rows = fresh ? count : 0;
  const auto see_virtual = [&] {
    const auto at = static_cast<std::int32_t>(out.key_rows.size());
    for (std::int32_t i = 0; i < count; ++i) out.key_rows.push_back(first_key + i);
    return at;
  };
  if (fresh) {
    for (std::int32_t i = 0; i < count; ++i) out.positions.push_back(i);
    out.segments.push_back({0, count, 0, see_virtual()});
    out.row_segment.assign(static_cast<std::size_t>(count), 0);
  }
  for (const std::int32_t p : own.positions) out.positions.push_back(p + count);
  for (const query_segment& s : own.segments) {
    out.segments.push_back({s.first_row + rows, s.length, s.first_position + count, see_virtual()});
    const auto first = own.key_rows.begin() + s.keys;
    for (auto at = first; at != first + s.first_position + s.length; ++at) out.key_rows.push_back(*at + shift);
  }
  for (const std::int32_t s : own.row_segment) out.row_segment.push_back(s + (fresh ? 1 : 0));
  return out;
}

}  // namespace plumb::inline v0
