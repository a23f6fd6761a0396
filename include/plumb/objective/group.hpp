// SPDX-License-Identifier: BSL-1.0
// The record of ranked completions. Apart from the other records, because it is the only one that owns memory.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/objective/record.hpp>
#include <string_view>
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

/// Is this the size of group that the objective wants? 0: any from 2.
constexpr bool fits_group_size(int wanted, std::size_t found) {
  return wanted > 0 ? found == static_cast<std::size_t>(wanted) : found >= 2;
}
/// Throws errc::bad_data for a group of another size.
inline void check_group_size(std::string_view objective, int wanted, std::size_t found, std::string_view place) {
  if (fits_group_size(wanted, found)) return;
  throw error(errc::bad_data, std::string(place),
              wanted > 0 ? join(objective, " takes groups of ", wanted, " replies, found ", found)
                         : join("a group needs at least two replies to rank, found ", found));
}

}  // namespace plumb::inline v0
