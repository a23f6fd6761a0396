// SPDX-License-Identifier: BSL-1.0
// The constants of a batch: what an objective computes from all records before it looks at any of them.
#pragma once

#include <array>
#include <plumb/core/error.hpp>
#include <plumb/objective/concept.hpp>
#include <span>
#include <type_traits>
#include <vector>

namespace plumb::inline v0 {

/// A constant per record, or one for all of them, which asks for no memory.
template <class O>
using prepared_constants = std::conditional_t<prepares_each<O>, std::vector<prepared<O>>, std::array<prepared<O>, 1>>;

/// The constants that the objective's `prepare` makes of these records: [records] when it makes one each, else [1]; of an
/// objective without `prepare`, one empty struct. Every record is shown to `prepare`, masked tokens included.
/// Throws errc::bad_argument when `prepare` makes another number of constants than there are records.
template <class O>
prepared_constants<O> prepare_in_place(const O& objective, [[maybe_unused]] std::span<const record<O::level>> records) {
  if constexpr (!detail::with_prepare<O>) {
    return {};
  } else if constexpr (prepares_each<O>) {
    auto constants = objective.prepare(records);
    if (constants.size() != records.size())
      throw error(errc::bad_argument, O::name,
                  join("prepare() must make one constant per record: expected ", records.size(), ", found ",
                       constants.size(), "; return a std::vector as long as its argument"));
    return constants;
  } else {
    return {{objective.prepare(records)}};
  }
}
/// The same as a list, whichever they are.
template <class O>
std::vector<prepared<O>> prepare(const O& objective, std::span<const record<O::level>> records) {
  const auto constants = prepare_in_place(objective, records);
  return {constants.begin(), constants.end()};
}

}  // namespace plumb::inline v0
