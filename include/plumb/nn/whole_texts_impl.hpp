// SPDX-License-Identifier: BSL-1.0
// The bodies of nn/whole_texts.hpp: the paths of a forest one by one. Collected by plumb/impl.hpp.
#pragma once

#include <vector>

#include <plumb/nn/whole_texts.hpp>

namespace plumb::inline v0 {

whole_texts make_whole_texts(const batch_layout& from, std::span<const std::int32_t> rows) {
  forest texts;
  std::vector<std::int32_t> first(from.segments.size(), -1);
  std::vector<token_id> ids;
  whole_texts out;
  for (const std::int32_t row : rows) {
    const auto number = static_cast<std::size_t>(from.row_segment[static_cast<std::size_t>(row)]);
    if (first[number] < 0) {
      const query_segment& s = from.segments[number];
      ids.clear();
      for (std::int32_t p = 0; p < s.first_position + s.length; ++p)
        ids.push_back(from.tokens[static_cast<std::size_t>(from.key_rows[static_cast<std::size_t>(s.keys + p)])]);
      first[number] = static_cast<std::int32_t>(texts.tokens().size());
      texts.add(ids);
    }
    out.first_rows.push_back(first[number]);
  }
  texts.lay_out(out.layout);
  return out;
}

}  // namespace plumb::inline v0
