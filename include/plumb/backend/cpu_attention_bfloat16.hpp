// SPDX-License-Identifier: BSL-1.0
// The products of attention's tiles in bfloat16: each operand is rounded once into memory of its own, then multiplied like any
// other product in bfloat16. Weights, sums and the softmax stay floats.
#pragma once

#include <plumb/backend/cpu_bfloat16_blocks.hpp>

namespace plumb::inline v0::detail {

/// Left operands [rows, depth] as bands, right ones [depth, columns] as strips; both begin one after the other.
template <class Set>
struct rounded_tiles {
  /// Numbers of a left operand, and of a right one.
  static constexpr index_t left_size(index_t rows, index_t depth) { return up_to(rows, band_rows) * pitch(depth); }
  static constexpr index_t right_size(index_t columns, index_t depth) {
    return up_to(columns, strip_columns) * pitch(depth);
  }

#if defined(__x86_64__)
  /// to[row, k] = from[row · stride + k]
  [[gnu::always_inline]] static inline void left_of_rows(const float* from, index_t stride, index_t rows, index_t depth,
                                                         bfloat16_bits* to) {
    call_with<Set, bands_of_rows>(from, stride, rows, depth, 1.0F, to, band_rows * pitch(depth));
  }
  /// to[row, k] = from[k · stride + row]
  [[gnu::always_inline]] static inline void left_of_columns(const float* from, index_t stride, index_t rows,
                                                            index_t depth, bfloat16_bits* to) {
    call_with<Set, bands_of_columns>(from, stride, rows, depth, 1.0F, to, band_rows * pitch(depth));
  }
  /// to[k, column] = from[column · stride + k]
  [[gnu::always_inline]] static inline void right_of_rows(const float* from, index_t stride, index_t columns,
                                                          index_t depth, bfloat16_bits* to) {
    call_with<Set, strips_of_rows>(from, stride, static_cast<const packed_matrix*>(nullptr), index_t{0}, columns,
                                   index_t{0}, depth, to, strip_columns * pitch(depth));
  }
  /// to[k, column] = from[k · stride + column]
  [[gnu::always_inline]] static inline void right_of_columns(const float* from, index_t stride, index_t columns,
                                                             index_t depth, bfloat16_bits* to) {
    call_with<Set, strips_of_columns>(from, stride, static_cast<const packed_matrix*>(nullptr), index_t{0}, columns,
                                      index_t{0}, depth, to, strip_columns * pitch(depth));
  }
  /// c[rows, columns] (+)= left · right
  [[gnu::always_inline]] static inline void multiply(bfloat16_unit unit, index_t rows, index_t columns, index_t depth,
                                                     const bfloat16_bits* left, const bfloat16_bits* right, float* c,
                                                     index_t c_stride, bool accumulate) {
    if (unit == bfloat16_unit::matrices)
      multiply_with<register_blocks>(rows, columns, depth, left, right, c, c_stride, accumulate);
    else
      multiply_with<vector_blocks>(rows, columns, depth, left, right, c, c_stride, accumulate);
  }

 private:
  template <class Blocks>
  [[gnu::always_inline]] static inline void multiply_with(index_t rows, index_t columns, index_t depth,
                                                          const bfloat16_bits* left, const bfloat16_bits* right,
                                                          float* c, index_t c_stride, bool accumulate) {
    Blocks::template run<Set>(rows, columns, bfloat16_chunks(depth), left, band_rows * pitch(depth), right,
                              strip_columns * pitch(depth), c, c_stride, accumulate);
  }
#endif

 private:
  static constexpr index_t pitch(index_t depth) { return up_to(depth, bfloat16_chunk); }
};

}  // namespace plumb::inline v0::detail
