// SPDX-License-Identifier: BSL-1.0
// The products of attention's tiles in bfloat16: each operand is rounded once into memory of its own, then multiplied like any
// other product in bfloat16. Weights, sums and the softmax stay floats.
#pragma once

#include <plumb/backend/cpu_bfloat16_blocks.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

/// Are there such kernels that go with these registers?
template <class Set, class T>
constexpr bool has_rounded_tiles = std::is_same_v<T, float> && std::is_same_v<Set, avx512_set>;

/// Left operands [rows, depth] as bands, right ones [depth, columns] as strips; both begin one after the other.
template <class Set>
struct rounded_tiles {
  /// Numbers of a left operand, and of a right one.
  static constexpr index_t left_size(index_t rows, index_t depth) { return up_to(rows, band_rows) * pitch(depth); }
  static constexpr index_t right_size(index_t columns, index_t depth) {
    return up_to(columns, strip_columns) * pitch(depth);
  }
  /// Floats whose memory they take.
  static constexpr index_t left_floats(index_t rows, index_t depth) { return left_size(rows, depth) / 2; }
  static constexpr index_t right_floats(index_t columns, index_t depth) { return right_size(columns, depth) / 2; }

#if defined(PLUMB_X86)
  /// to[row, k] = from[row, k]
  template <class Number>
  [[gnu::always_inline]] static inline void left_of_rows(matrix_rows<Number> from, index_t rows, index_t depth,
                                                         bfloat16_bits* to) {
    call_with<Set, bands_of_rows>(from, rows, depth, 1.0F, to, band_rows * pitch(depth));
  }
  /// to[row, k] = from[k, row], a part of an operand of `whole` k
  template <class Number>
  [[gnu::always_inline]] static inline void left_of_columns(matrix_rows<Number> from, index_t rows, index_t depth,
                                                            index_t whole, bfloat16_bits* to) {
    call_with<Set, bands_of_columns>(from, rows, depth, 1.0F, to, band_rows * pitch(whole));
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
  /// c[rows, columns] (+)= left · right, between `begin` and `end`; the operands were rounded with so many numbers in a row, of
  /// which `depth` are multiplied.
  [[gnu::always_inline]] static inline void multiply(bfloat16_unit unit, index_t rows, index_t columns, index_t depth,
                                                     const bfloat16_bits* left, index_t left_depth,
                                                     const bfloat16_bits* right, index_t right_depth, float* c,
                                                     index_t c_stride, bool accumulate) {
    const index_t chunks = bfloat16_chunks(depth), band = band_rows * pitch(left_depth),
                  strip = strip_columns * pitch(right_depth);
    if (unit == bfloat16_unit::matrices)
      register_blocks::multiply<Set>(rows, columns, chunks, left, band, right, strip, c, c_stride, accumulate);
    else
      vector_blocks::multiply<Set>(rows, columns, chunks, left, band, right, strip, c, c_stride, accumulate);
  }
  [[gnu::always_inline]] static inline void begin(bfloat16_unit unit) {
    if (unit == bfloat16_unit::matrices) register_blocks::begin();
  }
  [[gnu::always_inline]] static inline void end(bfloat16_unit unit) {
    if (unit == bfloat16_unit::matrices) register_blocks::end();
  }
#endif

 private:
  static constexpr index_t pitch(index_t depth) { return up_to(depth, bfloat16_chunk); }
};

}  // namespace plumb::inline v0::detail
