// SPDX-License-Identifier: BSL-1.0
// Operands of products in bfloat16 on the cpu: floats rounded to the nearest one (even on a tie), laid out for the kernels of
// cpu_bfloat16_blocks.hpp.
//
// Compilers differ in how they name the few instructions and their types, so they stand here as assembly. clang wants every
// function around assembly on 512-bit vectors to name their set, which is that of run_avx512.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_packed.hpp>
#include <plumb/backend/cpu_tile.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

/// bfloat16 as its bits.
using bfloat16_bits = std::uint16_t;

/// K goes in chunks of this length: 64 bytes of a row, as much as a row of a matrix register holds.
inline constexpr index_t bfloat16_chunk = 32;
/// The left operand lies in bands of 16 rows, band[chunk, row, 32]; the right one in strips of 16 columns, strip[chunk, pair of
/// k, column, 2]. A chunk of either is a kilobyte that fills a matrix register, and 16 columns of one pair a vector.
inline constexpr index_t band_rows = 16, strip_columns = 16;
/// Numbers of a chunk of a band or a strip.
inline constexpr index_t chunk_size = bfloat16_chunk * 16;

/// Chunks that cover `depth`.
constexpr index_t bfloat16_chunks(index_t depth) { return (depth + bfloat16_chunk - 1) / bfloat16_chunk; }

#if defined(PLUMB_X86)

/// The machine's instructions for bfloat16.
struct bfloat16_vectors {
  using s = simd<avx512_set, float>;
  using vector = s::vector;
  using shorts = vector_types<bfloat16_bits, 64>::type;
  typedef std::uint32_t pair __attribute__((may_alias));

  /// to[32] = the lanes of low, then those of high, rounded.
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void round(
      bfloat16_bits* to, const vector& low, const vector& high) {
    vector both;
    round(both, low, high);
    s::store(reinterpret_cast<float*>(to), both);
  }
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void round(
      vector& to, const vector& low, const vector& high) {
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(to) : "v"(low), "v"(high));
  }
  /// to[lane, 2] = (low[lane], high[lane]), rounded.
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void round_pairs(
      bfloat16_bits* to, const vector& low, const vector& high) {
    vector pairs;
    round_pairs(pairs, low, high);
    s::store(reinterpret_cast<float*>(to), pairs);
  }
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void round_pairs(
      vector& to, const vector& low, const vector& high) {
    static constexpr shorts order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    vector both;
    round(both, low, high);
    asm("vpermw %1, %2, %0" : "=v"(to) : "v"(both), "v"(order));
  }
  /// The pair at `a` in every lane.
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void spread_pair(
      vector& to, const bfloat16_bits* a) {
    asm("vpbroadcastd %1, %0" : "=v"(to) : "m"(*reinterpret_cast<const pair*>(a)));
  }
  /// sum[lane] += Σ over a pair of left[lane] · right[lane].
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void multiply_add(
      vector& sum, const vector& left, const vector& right) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  }
};

/// A vector of numbers as floats, zeros beyond `count`.
[[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] inline void load_as_floats(
    bfloat16_vectors::vector& to, const float* from, index_t count) {
  bfloat16_vectors::s::load_some(to, from, count);
}
[[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] inline void load_as_floats(
    bfloat16_vectors::vector& to, const bfloat16_bits* from, index_t count) {
  constexpr index_t lanes = bfloat16_vectors::s::lanes;
  using widen = widening<avx512_set>;
  bfloat16_vectors::s::integers codes{};
  if (count >= lanes) {
    widen::shorts(codes, reinterpret_cast<const std::uint8_t*>(from));
  } else {
    alignas(64) bfloat16_bits staged[lanes] = {};
    std::copy_n(from, std::max<index_t>(count, 0), staged);
    widen::shorts(codes, reinterpret_cast<const std::uint8_t*>(staged));
  }
  widen::template short_floats<true>(to, codes);
}

/// Rows of floats, or of what was rounded before, as bands, `band` numbers apart: (row, k) = alpha · from[row, k], zeros up to whole
/// chunks. What lies in the last band beyond the rows may be anything.
struct bands_of_rows {
  template <class Set, class Number>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      matrix_rows<Number> from, index_t rows, index_t depth, float alpha, bfloat16_bits* to, index_t band) {
    for (index_t r = 0; r < rows; ++r)
      round_row(from.row(r), depth, alpha, to + r / band_rows * band + r % band_rows * bfloat16_chunk, chunk_size);
  }
  /// One row, its chunks `chunk` numbers apart.
  template <class Number>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void round_row(
      const Number* from, index_t depth, float alpha, bfloat16_bits* to, index_t chunk) {
    using s = bfloat16_vectors::s;
    for (index_t k = 0; k < depth; k += bfloat16_chunk, to += chunk) {
      s::vector low, high;
      load_as_floats(low, from + k, depth - k);
      load_as_floats(high, from + k + s::lanes, std::max<index_t>(depth - k - s::lanes, 0));
      low *= alpha;
      high *= alpha;
      bfloat16_vectors::round(to, low, high);
    }
  }
};

/// Their columns as bands: (column, k) = alpha · from[k, column].
struct bands_of_columns {
  template <class Set, class Number>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      matrix_rows<Number> from, index_t columns, index_t depth, float alpha, bfloat16_bits* to, index_t band) {
    using s = bfloat16_vectors::s;
    alignas(64) bfloat16_bits staged[chunk_size];
    for (index_t k = 0; k < depth; k += bfloat16_chunk)
      for (index_t j = 0; j < columns; j += band_rows) {
        for (index_t i = 0; i < bfloat16_chunk; i += 2) {
          s::vector low{}, high{};
          if (k + i < depth) load_as_floats(low, from.row(k + i) + j, columns - j);
          if (k + i + 1 < depth) load_as_floats(high, from.row(k + i + 1) + j, columns - j);
          low *= alpha;
          high *= alpha;
          bfloat16_vectors::round_pairs(staged + i * s::lanes, low, high);
        }
        square_block<s>::transpose(reinterpret_cast<const float*>(staged), s::lanes,
                                   reinterpret_cast<float*>(to + j / band_rows * band + k * band_rows), s::lanes,
                                   s::lanes);
      }
  }
};

/// Strips of a right operand [columns, K] (A·Bᵀ): rows [first, first + columns), k in [k, k + depth), as plain numbers `b` or
/// packed ones. Strips lie `strip` numbers apart.
struct strips_of_rows {
  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      const float* b, index_t b_stride, const packed_matrix* packed, index_t first, index_t columns, index_t k,
      index_t depth, bfloat16_bits* to, index_t strip) {
    using s = bfloat16_vectors::s;
    constexpr index_t stretch = 4 * bfloat16_chunk;
    alignas(64) float numbers[stretch];
    alignas(64) bfloat16_bits staged[strip_columns * stretch];
    const bool as_they_are = packed && packed->format == packed_format::bf16;
    for (index_t j = 0; j < columns; j += strip_columns, to += strip) {
      const index_t across = std::min(strip_columns, columns - j);
      for (index_t i = 0; i < depth; i += stretch) {
        const index_t length = std::min(stretch, depth - i), whole = bfloat16_chunks(length) * bfloat16_chunk;
        for (index_t r = 0; r < strip_columns; ++r) {
          bfloat16_bits* const row = staged + r * stretch;
          if (r >= across) {
            std::fill_n(row, whole, bfloat16_bits(0));
          } else if (as_they_are) {
            const std::uint8_t* const codes = packed->codes + 2 * ((first + j + r) * packed->columns + k + i);
            for (index_t c = 0; c < length; c += bfloat16_chunk)
              __builtin_prefetch(codes + 2 * (strip_columns * packed->columns + c));  // of the next strip
            std::memcpy(row, codes, 2 * static_cast<std::size_t>(length));
            std::fill_n(row + length, whole - length, bfloat16_bits(0));
          } else {
            const float* from = b + (first + j + r) * b_stride + k + i;
            if (packed) {
              call_with<Set, unpack_row<float>>(packed, first + j + r, k + i, length, static_cast<float*>(numbers));
              from = numbers;
            }
            bands_of_rows::round_row(from, length, 1, row, bfloat16_chunk);
          }
        }
        for (index_t c = 0; c < whole; c += bfloat16_chunk)
          square_block<s>::transpose(reinterpret_cast<const float*>(staged + c), stretch / 2,
                                     reinterpret_cast<float*>(to + (i + c) * strip_columns), strip_columns,
                                     strip_columns);
      }
    }
  }
};

/// Strips of a right operand [K, columns] (A·B, Aᵀ·B): columns [first, first + columns), k in [k, k + depth).
struct strips_of_columns {
  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      const float* b, index_t b_stride, const packed_matrix* packed, index_t first, index_t columns, index_t k,
      index_t depth, bfloat16_bits* to, index_t strip) {
    if (packed && packed->format == packed_format::bf16)
      return of_codes<Set>(*packed, first, columns, k, depth, to, strip);
    using s = bfloat16_vectors::s;
    constexpr index_t stretch = 256;
    alignas(64) float numbers[2][stretch] = {};
    for (index_t i = 0; i < bfloat16_chunks(depth) * bfloat16_chunk; i += 2)
      for (index_t begin = 0; begin < columns; begin += stretch) {
        const index_t length = std::min(stretch, columns - begin);
        const float* row[2] = {};
        for (index_t r = 0; r < 2 && i + r < depth; ++r) {
          row[r] = b + (k + i + r) * b_stride + first + begin;
          if (packed) {
            call_with<Set, unpack_row<float>>(packed, k + i + r, first + begin, length,
                                              static_cast<float*>(numbers[r]));
            row[r] = numbers[r];
          }
        }
        for (index_t j = 0; j < length; j += strip_columns) {
          s::vector low{}, high{};
          if (row[0]) s::load_some(low, row[0] + j, length - j);
          if (row[1]) s::load_some(high, row[1] + j, length - j);
          bfloat16_vectors::round_pairs(to + (begin + j) / strip_columns * strip + i * strip_columns, low, high);
        }
      }
  }

 private:
  /// The processor's own guess stops at the end of a stretch of columns.
  static constexpr index_t rows_asked_ahead = 16;

  /// What is bfloat16 already is moved, not rounded.
  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void of_codes(
      const packed_matrix& packed, index_t first, index_t columns, index_t k, index_t depth, bfloat16_bits* to,
      index_t strip) {
    for (index_t i = 0; i < bfloat16_chunks(depth) * bfloat16_chunk; i += 2)
      for (index_t j = 0; j < columns; j += strip_columns) {
        const index_t here = std::min(strip_columns, columns - j);
        bfloat16_vectors::s::integers row[2] = {};
        for (index_t r = 0; r < 2 && i + r < depth; ++r) {
          const std::uint8_t* const codes = packed.codes + 2 * ((k + i + r) * packed.columns + first + j);
          __builtin_prefetch(codes + 2 * rows_asked_ahead * packed.columns);
          if (here == strip_columns) {
            widening<Set>::shorts(row[r], codes);
          } else {
            std::uint8_t staged[2 * strip_columns] = {};
            std::memcpy(staged, codes, 2 * static_cast<std::size_t>(here));
            widening<Set>::shorts(row[r], staged);
          }
        }
        row[0] |= row[1] << 16;
        std::memcpy(to + j / strip_columns * strip + i * strip_columns, row, sizeof row[0]);
      }
  }
};

#endif

}  // namespace plumb::inline v0::detail
