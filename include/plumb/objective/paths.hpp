// SPDX-License-Identifier: BSL-1.0
// How fields of records are written in messages and JSON: "chosen.logp".
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/objective/group.hpp>
#include <plumb/objective/record.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// "chosen.logp", or "logp" at the top.
inline std::string path(const field& f) {
  return *f.part ? join(std::string_view(f.part), ".", std::string_view(f.name)) : std::string(f.name);
}

/// Calls visit(field, path, member) for every field of a record; those of a group as "replies.0.logp", ….
template <class Record, class Visit>
void visit_fields(const Record& r, Visit&& visit) {
  if constexpr (Record::level == level::group) {
    for (std::size_t k = 0; k < r.replies.size(); ++k) {
      const std::string part = join("replies.", k);
      sequence_record<>::fields([&](const field& f, const auto& member) { visit(f, path(f), member); }, part.c_str(),
                                r.replies[k]);
    }
    visit(field{"", "weight", need::none, role::optional}, std::string("weight"), r.weight);
  } else {
    Record::fields([&](const field& f, const auto& member) { visit(f, path(f), member); }, "", r);
  }
}

/// The paths of the columns of a group's slopes: "replies.0.logp", …, for so many replies.
inline std::vector<std::string> group_slot_paths(std::size_t replies) {
  std::vector<std::string> paths;
  for (std::size_t k = 0; k < replies; ++k)
    for_each_slot<level::sequence>(
        [&](const field& f, int) { paths.push_back(join("replies.", k, ".", std::string_view(f.name))); });
  return paths;
}

/// The paths of the slopes' columns, in order.
template <level L>
  requires has_fixed_slots<L>
std::vector<std::string> slot_paths() {
  std::vector<std::string> paths;
  for_each_slot<L>([&](const field& f, int) { paths.push_back(path(f)); });
  return paths;
}

/// The column of the slopes that belongs to a path: slot_of<level::pair>("rejected.logp"); -1 when nothing
/// differentiable has that path.
template <level L>
  requires has_fixed_slots<L>
constexpr int slot_of(std::string_view wanted) {
  const auto dot = wanted.find('.');
  const std::string_view part = dot == wanted.npos ? "" : wanted.substr(0, dot);
  const std::string_view name = dot == wanted.npos ? wanted : wanted.substr(dot + 1);
  int found = -1;
  for_each_slot<L>([&](const field& f, int slot) {
    if (part == f.part && name == f.name) found = slot;
  });
  return found;
}

}  // namespace plumb::inline v0
