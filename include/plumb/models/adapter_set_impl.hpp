// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_set.hpp: orders and checks. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <vector>

#include <plumb/models/adapter_set.hpp>

namespace plumb::inline v0 {

namespace detail {

std::vector<std::size_t> grouped_by_adapter(std::span<const index_t> adapters) {
  std::vector<std::size_t> out(adapters.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = i;
  std::stable_sort(out.begin(), out.end(), [&](std::size_t a, std::size_t b) { return adapters[a] < adapters[b]; });
  return out;
}

void check_names(std::size_t sequences, std::size_t names) {
  if (sequences != names)
    throw error(
        errc::bad_argument, "adapters",
        join("expected a name for each of the ", sequences, " sequences (\"\": the bare model), found ", names));
}

}  // namespace detail

}  // namespace plumb::inline v0
