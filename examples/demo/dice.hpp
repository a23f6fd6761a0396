// SPDX-License-Identifier: BSL-1.0
// The demo's only source of chance: the same seed and stream give the same texts on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include <plumb/core/philox.hpp>

namespace demo {

/// Draws from one of plumb's Philox streams. Different streams of a seed are independent, so training texts and test
/// texts never share a draw.
class dice {
 public:
  explicit constexpr dice(std::uint64_t seed, std::uint64_t stream = 0) : numbers_{seed, stream} {}

  /// One of 0 … n − 1, each equally likely; n is at least 1.
  constexpr std::size_t below(std::size_t n) { return static_cast<std::size_t>(numbers_.next_below(n)); }
  /// True with probability p.
  constexpr bool chance(double p) { return numbers_.next_uniform() < p; }
  /// One of the entries of a list that is not empty.
  template <class List>
  constexpr const auto& pick(const List& list) {
    return list[below(std::size(list))];
  }
  /// Puts the entries into random order (Fisher and Yates).
  template <class T>
  constexpr void shuffle(std::span<T> list) {
    for (std::size_t left = list.size(); left > 1; --left) std::swap(list[left - 1], list[below(left)]);
  }

 private:
  plumb::philox_stream numbers_;
};

}  // namespace demo
