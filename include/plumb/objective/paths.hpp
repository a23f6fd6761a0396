// SPDX-License-Identifier: BSL-1.0
// How fields of records are written in messages and JSON: "chosen.logp".
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/objective/record.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// "chosen.logp", or "logp" at the top.
inline std::string path(const field& f) {
  return *f.part ? join(std::string_view(f.part), ".", std::string_view(f.name)) : std::string(f.name);
}

/// The paths of the slopes' columns, in order.
template <level L>
std::vector<std::string> slot_paths() {
  std::vector<std::string> paths;
  for_each_slot<L>([&](const field& f, int) { paths.push_back(path(f)); });
  return paths;
}

}  // namespace plumb::inline v0
