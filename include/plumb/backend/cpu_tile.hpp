// SPDX-License-Identifier: BSL-1.0
// The inner loop of every product on the cpu, and how operands are laid out for it.
//
// A tile of C stays in registers while the loop runs over K: for each k it loads a few vectors of a row of B and
// multiplies them with one number of each row of A. Every element of C is therefore one chain of fused multiply-adds
// in the order of k. Nothing about the shape of a tile, the other rows or the number of threads can change its bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include <plumb/backend/cpu_vector.hpp>

namespace plumb::inline v0::detail {

constexpr index_t up_to(index_t n, index_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// How many rows of B the inner loop asks for in advance. With a few rows of A, B streams from memory, and the processor's
/// own guess stops at every page: a tile of 14 rows is three times as fast with this on one thread.
inline constexpr index_t rows_ahead = 48;

/// How much of K is packed at a time.
inline constexpr index_t depth_block = 768;

/// Distance between the rows of a packed panel of A: an odd number of cache lines, so that rows do not push each other
/// out of the cache.
template <class T>
inline constexpr index_t panel_stride = depth_block + 64 / static_cast<index_t>(sizeof(T));

/// Rows of a tile whose rows of A lie a multiple of 4,096 bytes apart: all of them fall on the same ways of the nearest cache,
/// which are no more than 12. Panels of A lie otherwise.
template <class Set>
inline constexpr int spaced_tile_rows = std::min(Set::tile_rows, 12);

/// Columns of a full panel of B.
template <class Set, class T>
inline constexpr index_t panel_columns = Set::tile_vectors * simd<Set, T>::lanes;

/// Rows of a matrix, one after the other or wherever their numbers say.
template <class T>
struct matrix_rows {
  const T* first;
  index_t stride;
  const std::int32_t* numbers = nullptr;  ///< null: 0, 1, 2, …

  [[nodiscard]] [[gnu::always_inline]] inline const T* row(index_t r) const {
    return first + (numbers ? numbers[r] : r) * stride;
  }
  /// Those from row r on.
  [[nodiscard]] [[gnu::always_inline]] inline matrix_rows from(index_t r) const {
    return numbers ? matrix_rows{first, stride, numbers + r} : matrix_rows{first + r * stride, stride};
  }
};

/// How a tile of A lies: number (row, k) at row · stride + k, or at k · stride + row.
enum class left_order : std::uint8_t { rows, columns };

/// sums[Rows, columns] (+)= a[Rows, depth] · b[depth, columns], columns = Vectors · lanes; what follows one another in a
/// (by `Order`), in b and in sums is `a_stride`, `b_stride` and `sums_stride` apart.
template <class T, int Rows, int Vectors, left_order Order>
struct product_tile {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t depth, const T* a, index_t a_stride, const T* b,
                                                index_t b_stride, T* sums, index_t sums_stride, bool accumulate) {
    unrolled<Set>(std::make_integer_sequence<int, Rows * Vectors>{}, std::make_integer_sequence<int, Rows>{}, depth, a,
                  a_stride, b, b_stride, sums, sums_stride, accumulate);
  }

 private:
  /// `I` numbers the vectors of the tile, row by row; `R` the rows. Folds over them unroll at every optimisation level.
  template <class Set, int... I, int... R>
  [[gnu::always_inline]] static inline void unrolled(std::integer_sequence<int, I...>, std::integer_sequence<int, R...>,
                                                     index_t depth, const T* a, index_t a_stride, const T* b,
                                                     index_t b_stride, T* sums, index_t sums_stride, bool accumulate) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    static_assert(Rows <= 20 && (Vectors == 1 || Vectors == 2));
    vector sum[Rows * Vectors];
    if (accumulate)
      (s::load(sum[I], sums + I / Vectors * sums_stride + I % Vectors * s::lanes), ...);
    else
      ((sum[I] = vector{}), ...);
    // Every fifth row has a pointer: the rows between are reached by adding 1 to 4 strides, which registers can hold.
    constexpr bool rows = Order == left_order::rows;
    const index_t row_stride = rows ? a_stride : 1, step_k = rows ? 1 : a_stride;
    const T* row[4] = {a, a + std::min(5, Rows - 1) * row_stride, a + std::min(10, Rows - 1) * row_stride,
                       a + std::min(15, Rows - 1) * row_stride};
    for (index_t k = 0; k < depth; ++k, b += b_stride) {
      vector left, right;
      __builtin_prefetch(b + rows_ahead * b_stride);
      if constexpr (Vectors == 2) __builtin_prefetch(b + rows_ahead * b_stride + s::lanes);
      s::load(left, b);
      s::load(right, b + (Vectors - 1) * s::lanes);
      (step<Set>(sum + R * Vectors, row[R / 5][R % 5 * row_stride], left, right), ...);
      row[0] += step_k, row[1] += step_k, row[2] += step_k, row[3] += step_k;
    }
    (s::store(sums + I / Vectors * sums_stride + I % Vectors * s::lanes, sum[I]), ...);
  }
  template <class Set>
  [[gnu::always_inline]] static inline void step(typename simd<Set, T>::vector* sum, const T& a,
                                                 const typename simd<Set, T>::vector& left,
                                                 const typename simd<Set, T>::vector& right) {
    const typename simd<Set, T>::vector all = a - typename simd<Set, T>::vector{};  // a in every lane
    simd<Set, T>::fma(sum[0], all, left);
    if constexpr (Vectors == 2) simd<Set, T>::fma(sum[1], all, right);
  }
};

/// A tile of `rows` ≤ Set::tile_rows by `columns` ≤ panel_columns through the smallest kernel that covers it. Operands and
/// sums have room for the rows and columns of that kernel; what lies there beyond the tile may be anything.
template <class Set, class T, left_order Order = left_order::rows>
[[gnu::always_inline]] inline void multiply_tile(index_t rows, index_t columns, index_t depth, const T* a,
                                                 index_t a_stride, const T* b, index_t b_stride, T* sums,
                                                 index_t sums_stride, bool accumulate) {
  constexpr int most = Set::tile_rows, spaced = spaced_tile_rows<Set>, wide = Set::tile_vectors;
  const auto call = [&]<int Rows, int Vectors>() {
    call_with<Set, product_tile<T, Rows, Vectors, Order>>(depth, a, a_stride, b, b_stride, sums, sums_stride,
                                                          accumulate);
  };
  if (columns > simd<Set, T>::lanes) {
    if (rows > spaced) return call.template operator()<most, wide>();
    if (rows > 4) return call.template operator()<spaced, wide>();
    if (rows > 1) return call.template operator()<4, wide>();
    return call.template operator()<1, wide>();
  }
  if (rows > spaced) return call.template operator()<most, 1>();
  if (rows > 4) return call.template operator()<spaced, 1>();
  if (rows > 1) return call.template operator()<4, 1>();
  return call.template operator()<1, 1>();
}
/// The rows of the kernel that `multiply_tile` takes, which a panel of A must hold.
template <class Set>
constexpr index_t kernel_rows(index_t rows) {
  return rows > spaced_tile_rows<Set> ? Set::tile_rows : rows > 4 ? spaced_tile_rows<Set> : rows > 1 ? 4 : 1;
}
/// The columns of that kernel, which a packed panel of B and the sums hold.
template <class Set, class T>
constexpr index_t kernel_columns(index_t columns) {
  return columns > simd<Set, T>::lanes ? panel_columns<Set, T> : index_t{simd<Set, T>::lanes};
}

/// Transposes one square block in registers: interleaving row i with row i + lanes/2, log₂(lanes) times over. `S` has a
/// vector of `lanes` numbers, `load` and `store`.
template <class S>
struct square_block {
  using vector = typename S::vector;
  using number = typename S::number;
  static constexpr int lanes = S::lanes;

  [[gnu::always_inline]] static inline void interleave(const vector& x, const vector& y, vector& low, vector& high) {
    interleave(x, y, low, high, std::make_integer_sequence<int, lanes>{});
  }
  template <int... I>
  [[gnu::always_inline]] static inline void interleave(const vector& x, const vector& y, vector& low, vector& high,
                                                       std::integer_sequence<int, I...>) {
    low = __builtin_shufflevector(x, y, (I / 2 + I % 2 * lanes)...);
    high = __builtin_shufflevector(x, y, (lanes / 2 + I / 2 + I % 2 * lanes)...);
  }
  /// One more round, or, when the rows are columns, stores the first `used`. `I` runs over the rows and `H` over half of
  /// them: folds unroll, so that all rows stay in registers.
  template <int Round, int... I, int... H>
  [[gnu::always_inline]] static inline void rounds(vector* row, vector* other, std::integer_sequence<int, I...> all,
                                                   std::integer_sequence<int, H...> half, number* to, index_t stride,
                                                   index_t used) {
    if constexpr (Round < lanes) {
      (interleave(row[H], row[H + lanes / 2], other[2 * H], other[2 * H + 1]), ...);
      rounds<2 * Round>(other, row, all, half, to, stride, used);
    } else if (used == lanes) {
      (S::store(to + I * stride, row[I]), ...);
    } else {
      ((I < used ? S::store(to + I * stride, row[I]) : void()), ...);
    }
  }
  [[gnu::always_inline]] static inline void transpose(const number* from, index_t from_stride, number* to,
                                                      index_t to_stride, index_t used) {
    transpose(from, from_stride, to, to_stride, used, std::make_integer_sequence<int, lanes>{});
  }

 private:
  template <int... I>
  [[gnu::always_inline]] static inline void transpose(const number* from, index_t from_stride, number* to,
                                                      index_t to_stride, index_t used,
                                                      std::integer_sequence<int, I...> all) {
    vector row[lanes], other[lanes];
    (S::load(row[I], from + I * from_stride), ...);
    rounds<1>(row, other, all, std::make_integer_sequence<int, lanes / 2>{}, to, to_stride, used);
  }
};

/// to[j · to_stride + i] = from[i · from_stride + j] for i < rows, j < columns. `readable` ≥ columns: how many numbers of
/// each row of `from` may be read.
template <class T>
struct transpose {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const T* from, index_t from_stride, index_t rows, index_t columns,
                                                index_t readable, T* to, index_t to_stride) {
    using s = simd<Set, T>;
    constexpr index_t lanes = s::lanes;
    const index_t whole_rows = rows - rows % lanes;
    const index_t whole_columns = std::min(up_to(columns, lanes), readable - readable % lanes);
    for (index_t i = 0; i < whole_rows; i += lanes)
      for (index_t j = 0; j < whole_columns; j += lanes)
        square_block<s>::transpose(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride,
                                   std::min(lanes, columns - j));
    for (index_t j = 0; j < columns; ++j)
      for (index_t i = j < whole_columns ? whole_rows : 0; i < rows; ++i)
        to[j * to_stride + i] = from[i * from_stride + j];
  }
};

}  // namespace plumb::inline v0::detail
