// SPDX-License-Identifier: BSL-1.0
// Which rows of a cache of keys and values are taken, and which one a token gets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// Rows are handed out one by one. Stretches of them are set apart for whoever took their first, so that the rows of a sequence
/// lie side by side, as attention reads them fastest; when no stretch is left, anyone gets any free row, be it of somebody's stretch.
class cache_rows {
 public:
  void reset(index_t capacity, index_t stretch) {
    taken_.assign(static_cast<std::size_t>(capacity), false);
    stretch_ = std::max<index_t>(stretch, 1);
    used_ = apart_ = lowest_ = 0;
  }
  /// How many are taken.
  [[nodiscard]] index_t used() const noexcept { return used_; }

  /// A row for the token after that in row `last`. There must be a free one.
  std::int32_t after(std::int32_t last) {
    const auto next = index_t{last} + 1;
    if (next < apart_ && !taken_[static_cast<std::size_t>(next)]) return take(next);
    if (const index_t first = apart_; first < capacity()) {
      apart_ = std::min(first + stretch_, capacity());
      return take(first);
    }
    while (taken_[static_cast<std::size_t>(lowest_)]) ++lowest_;
    return take(lowest_);
  }
  /// Rows for `count` tokens that begin sequences, side by side if that can be.
  void begin(index_t count, std::vector<std::int32_t>& rows) {
    const bool fits = count <= capacity() - apart_;
    if (fits) apart_ += count;
    for (index_t i = 0; i < count; ++i)
      rows.push_back(fits ? take(apart_ - count + i) : after(i == 0 ? -1 : rows.back()));
  }

 private:
  [[nodiscard]] index_t capacity() const noexcept { return static_cast<index_t>(taken_.size()); }
  std::int32_t take(index_t row) {
    taken_[static_cast<std::size_t>(row)] = true;
    ++used_;
    return static_cast<std::int32_t>(row);
  }

  std::vector<bool> taken_;
  index_t stretch_ = 1, used_ = 0;
  index_t apart_ = 0;   ///< rows from here on are in no stretch
  index_t lowest_ = 0;  ///< no row before it is free
};

}  // namespace plumb::inline v0
