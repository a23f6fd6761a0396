// SPDX-License-Identifier: BSL-1.0
// Pieces of a step's memory that were used and are free again.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// Pieces of memory for anyone to take. Within a scope only those that it gave itself are there, for they go with it.
template <class T>
class free_list {
 public:
  /// A piece for so many numbers or more, or one of exactly that size; the latest that was given. Empty: there is none.
  view<T> take(index_t size, bool exactly) {
    for (std::size_t i = pieces_.size(); i-- > first_;) {
      if (exactly ? pieces_[i].size() != size : pieces_[i].size() < size) continue;
      const view<T> found = std::exchange(pieces_[i], pieces_.back());
      pieces_.pop_back();
      return found;
    }
    return {};
  }
  void give(view<T> piece) { pieces_.push_back(piece); }
  void clear() noexcept { pieces_.clear(); }

  /// Begins a scope; what it returns is for `end`.
  std::size_t begin() noexcept { return std::exchange(first_, pieces_.size()); }
  void end(std::size_t before) {
    pieces_.resize(first_);
    first_ = before;
  }

 private:
  std::vector<view<T>> pieces_;
  std::size_t first_ = 0;  ///< of this scope's
};

}  // namespace plumb::inline v0
