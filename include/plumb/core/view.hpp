// SPDX-License-Identifier: BSL-1.0
// A view of a matrix in somebody else's memory: the one shape that every layer speaks.
#pragma once

#include <type_traits>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// Rows by columns. plumb has no padding and no batch axis: activations are [tokens, width], vectors [1, n].
struct shape {
  index_t rows = 0;
  index_t columns = 0;

  [[nodiscard]] constexpr index_t size() const noexcept { return rows * columns; }
  friend constexpr bool operator==(shape, shape) noexcept = default;
};

/// A row-major matrix [rows, columns] without gaps, not owned. The memory may be a GPU's: only a backend looks inside.
template <class T>
struct view {
  T* data = nullptr;
  index_t rows = 0;
  index_t columns = 0;

  constexpr view() noexcept = default;
  constexpr view(T* memory, index_t row_count, index_t column_count) noexcept
      : data(memory), rows(row_count), columns(column_count) {}
  constexpr view(T* memory, plumb::shape extent) noexcept : view(memory, extent.rows, extent.columns) {}
  /// A view that may write is also one that may read.
  template <class U>
    requires(std::is_same_v<T, const U>)
  constexpr view(view<U> other) noexcept : view(other.data, other.rows, other.columns) {}

  [[nodiscard]] constexpr plumb::shape extent() const noexcept { return {rows, columns}; }
  [[nodiscard]] constexpr index_t size() const noexcept { return rows * columns; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] constexpr T* row(index_t i) const noexcept { return data + i * columns; }
  /// Rows [first, first + count).
  [[nodiscard]] constexpr view slice(index_t first, index_t count) const noexcept {
    return {row(first), count, columns};
  }
};

/// A parameter type that a template argument is not deduced from, so that views of T convert to views of const T.
template <class T>
using in = std::type_identity_t<view<const T>>;

}  // namespace plumb::inline v0
