// SPDX-License-Identifier: BSL-1.0
// The bodies of train/references.hpp: into a checkpoint and back. Collected by plumb/impl.hpp.
#pragma once

#include <cstddef>
#include <vector>

#include <plumb/train/references.hpp>

namespace plumb::inline v0 {

void keep_references(run_rows& rows, run_state& state) {
  state.references.clear();
  state.token_references.clear();
  rows.for_each_list([&](std::vector<example>& list) {
    for (const example& e : list)
      for (const reply& r : e.replies) {
        state.references.push_back(r.reference);
        state.token_references.insert(state.token_references.end(), r.token_references.begin(),
                                      r.token_references.end());
      }
  });
}

void restore_references(const run_state& state, run_rows& rows) {
  std::size_t which = 0, token = 0;
  rows.for_each_list([&](std::vector<example>& list) {
    for (example& e : list)
      for (reply& r : e.replies) {
        if (which < state.references.size()) r.reference = state.references[which++];
        if (state.token_references.size() - token < r.tokens.size()) continue;
        const auto first = state.token_references.begin() + static_cast<std::ptrdiff_t>(token);
        r.token_references.assign(first, first + static_cast<std::ptrdiff_t>(r.tokens.size()));
        token += r.tokens.size();
      }
  });
}

}  // namespace plumb::inline v0
