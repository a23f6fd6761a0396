// SPDX-License-Identifier: BSL-1.0
// The record of ranked completions. Apart from the other records, because it is the only one that owns memory.
#pragma once

#include <plumb/objective/record.hpp>
#include <vector>

namespace plumb::inline v0 {

/// The completions of one prompt, the best first; any number from 2. Slots are those of the replies, one after another.
/// An objective is handed `replies` as a span.
template <class Real>
struct group_record {
  static constexpr plumb::level level = plumb::level::group;
  using real = Real;

  std::vector<sequence_record<Real>> replies;
  double weight = 1;  ///< of its loss among the others
};

}  // namespace plumb::inline v0
