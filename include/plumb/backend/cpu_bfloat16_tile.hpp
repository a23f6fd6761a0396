// SPDX-License-Identifier: BSL-1.0
// Products in bfloat16 on the cpu, their inner part: floats rounded to the nearest bfloat16 (even on a tie), two operands laid
// out for it, and the two kernels, one for machines with registers of whole matrices (Intel's AMX), one for those whose
// vectors multiply pairs of bfloat16 (AVX-512 BF16).
//
// Compilers differ in how they name these few instructions and their types, so they stand here as assembly. Every element
// of C is one chain of additions in the order of k, 32 at a time from the start of K: nothing about the cut, the other
// rows or the number of threads can change its bits.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_packed.hpp>
#include <plumb/backend/cpu_tile.hpp>

namespace plumb::inline v0::detail {

/// bfloat16 as its bits.
using bfloat16_bits = std::uint16_t;

/// K goes in chunks of this length: 64 bytes of a row, as much as a row of a matrix register holds.
inline constexpr index_t bfloat16_chunk = 32;
/// The right operand lies in strips of this many columns: strip[chunk, pair of k, column, 2], so that a chunk of a strip
/// is a matrix register, and 16 columns of one pair a vector.
inline constexpr index_t strip_columns = 16;
/// Numbers of a chunk of a strip.
inline constexpr index_t strip_chunk = bfloat16_chunk * strip_columns;

/// Chunks that cover `depth`.
constexpr index_t bfloat16_chunks(index_t depth) { return (depth + bfloat16_chunk - 1) / bfloat16_chunk; }

#if defined(__x86_64__)

/// The machine's instructions for bfloat16.
struct bfloat16_vectors {
  using s = simd<avx512_set, float>;
  using vector = s::vector;
  using shorts = vector_types<bfloat16_bits, 64>::type;
  typedef std::uint32_t pair __attribute__((may_alias));

  /// to[32] = the lanes of low, then those of high, rounded.
  [[gnu::always_inline]] static inline void round(bfloat16_bits* to, const vector& low, const vector& high) {
    vector both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(low), "v"(high));
    s::store(reinterpret_cast<float*>(to), both);
  }
  /// to[lane, 2] = (low[lane], high[lane]), rounded.
  [[gnu::always_inline]] static inline void round_pairs(bfloat16_bits* to, const vector& low, const vector& high) {
    static constexpr shorts order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    vector both, pairs;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(low), "v"(high));
    asm("vpermw %1, %2, %0" : "=v"(pairs) : "v"(both), "v"(order));
    s::store(reinterpret_cast<float*>(to), pairs);
  }
  /// sum[lane] += Σ over a pair of pairs[lane] · the pair at `a`.
  [[gnu::always_inline]] static inline void multiply_add(vector& sum, const vector& pairs, const bfloat16_bits* a) {
    asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(pairs), "m"(*reinterpret_cast<const pair*>(a)));
  }
};

/// Rows of floats as rows of bfloat16: to[row · stride + i] = alpha · from[row · from_stride + i], zeros up to whole chunks.
struct round_rows {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const float* from, index_t from_stride, index_t rows, index_t depth,
                                                float alpha, bfloat16_bits* to, index_t stride) {
    using s = bfloat16_vectors::s;
    for (index_t r = 0; r < rows; ++r)
      for (index_t k = 0; k < depth; k += bfloat16_chunk) {
        s::vector low, high;
        s::load_some(low, from + r * from_stride + k, depth - k);
        s::load_some(high, from + r * from_stride + k + s::lanes, std::max<index_t>(depth - k - s::lanes, 0));
        low *= alpha;
        high *= alpha;
        bfloat16_vectors::round(to + r * stride + k, low, high);
      }
  }
};

/// Columns of floats as rows of bfloat16: to[column · stride + k] = alpha · from[k · from_stride + column].
struct round_columns {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const float* from, index_t from_stride, index_t columns, index_t depth,
                                                float alpha, bfloat16_bits* to, index_t stride) {
    using s = bfloat16_vectors::s;
    alignas(64) bfloat16_bits staged[strip_chunk];
    for (index_t k = 0; k < depth; k += bfloat16_chunk)
      for (index_t j = 0; j < columns; j += s::lanes) {
        for (index_t i = 0; i < bfloat16_chunk; i += 2) {
          s::vector low{}, high{};
          if (k + i < depth) s::load_some(low, from + (k + i) * from_stride + j, columns - j);
          if (k + i + 1 < depth) s::load_some(high, from + (k + i + 1) * from_stride + j, columns - j);
          low *= alpha;
          high *= alpha;
          bfloat16_vectors::round_pairs(staged + i * s::lanes, low, high);
        }
        square<s>::transpose(reinterpret_cast<const float*>(staged), s::lanes,
                             reinterpret_cast<float*>(to + j * stride + k), stride / 2, s::lanes);
      }
  }
};

/// Strips of a right operand [columns, K] (A·Bᵀ): rows [first, first + columns), k in [k, k + depth), as plain numbers `b` or
/// packed ones. Strips lie `strip` numbers apart.
struct strips_of_rows {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const float* b, index_t b_stride, const packed_matrix* packed,
                                                index_t first, index_t columns, index_t k, index_t depth,
                                                bfloat16_bits* to, index_t strip) {
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
            std::memcpy(row, packed->codes + 2 * ((first + j + r) * packed->columns + k + i),
                        2 * static_cast<std::size_t>(length));
            std::fill_n(row + length, whole - length, bfloat16_bits(0));
          } else {
            const float* from = b + (first + j + r) * b_stride + k + i;
            if (packed) {
              call_with<Set, unpack_row<float>>(packed, first + j + r, k + i, length, static_cast<float*>(numbers));
              from = numbers;
            }
            round_rows::run<Set>(from, 0, 1, length, 1, row, 0);
          }
        }
        for (index_t c = 0; c < whole; c += bfloat16_chunk)
          square<s>::transpose(reinterpret_cast<const float*>(staged + c), stretch / 2,
                               reinterpret_cast<float*>(to + (i + c) * strip_columns), strip_columns, strip_columns);
      }
    }
  }
};

/// Strips of a right operand [K, columns] (A·B, Aᵀ·B): columns [first, first + columns), k in [k, k + depth).
struct strips_of_columns {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const float* b, index_t b_stride, const packed_matrix* packed,
                                                index_t first, index_t columns, index_t k, index_t depth,
                                                bfloat16_bits* to, index_t strip) {
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
};

/// One block of C: sums[16 Down, 16 Across] (+)= the left rows [16 Down, chunks] · strips [Across, chunks], in matrix
/// registers, of which there are eight. `shape_registers` comes first on a thread, `forget_registers` last.
template <int Down, int Across>
struct register_block {
  static constexpr index_t rows = 16 * Down, columns = 16 * Across;

  [[gnu::always_inline]] static inline void run(index_t chunks, const bfloat16_bits* a, index_t a_stride,
                                                const bfloat16_bits* b, index_t strip, float* sums, index_t sums_stride,
                                                bool accumulate) {
    const index_t row = 2 * a_stride, sums_row = 4 * sums_stride;
    if (accumulate) {
      load<0>(sums, sums_row);
      if constexpr (Across == 2) load<1>(sums + 16, sums_row);
      if constexpr (Down == 2) load<2>(sums + 16 * sums_stride, sums_row);
      if constexpr (Down == 2 && Across == 2) load<3>(sums + 16 * sums_stride + 16, sums_row);
    } else {
      asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
    }
    for (index_t i = 0; i < chunks; ++i, a += bfloat16_chunk, b += strip_chunk) {
      load<4>(a, row);
      load<6>(b, 64);
      multiply_add<0, 4, 6>();
      if constexpr (Across == 2) {
        load<7>(b + strip, 64);
        multiply_add<1, 4, 7>();
      }
      if constexpr (Down == 2) {
        load<5>(a + 16 * a_stride, row);
        multiply_add<2, 5, 6>();
      }
      if constexpr (Down == 2 && Across == 2) multiply_add<3, 5, 7>();
    }
    store<0>(sums, sums_row);
    if constexpr (Across == 2) store<1>(sums + 16, sums_row);
    if constexpr (Down == 2) store<2>(sums + 16 * sums_stride, sums_row);
    if constexpr (Down == 2 && Across == 2) store<3>(sums + 16 * sums_stride + 16, sums_row);
  }

 private:
  template <int Register>
  [[gnu::always_inline]] static inline void load(const void* from, index_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(Register) : "memory");
  }
  template <int Register>
  [[gnu::always_inline]] static inline void store(void* to, index_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(Register) : "memory");
  }
  template <int Sum, int A, int B>
  [[gnu::always_inline]] static inline void multiply_add() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
  }
};

/// All eight matrix registers become 16 rows of 64 bytes.
inline void shape_registers() {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, unused[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const shape;
  asm volatile("ldtilecfg %0" : : "m"(shape));
}
inline void forget_registers() { asm volatile("tilerelease"); }

/// The same block with vectors: sums[Rows, 16 Across].
template <int Rows, int Across>
struct vector_block {
  static constexpr index_t rows = Rows, columns = 16 * Across;

  [[gnu::always_inline]] static inline void run(index_t chunks, const bfloat16_bits* a, index_t a_stride,
                                                const bfloat16_bits* b, index_t strip, float* sums, index_t sums_stride,
                                                bool accumulate) {
    unrolled(std::make_integer_sequence<int, Rows * Across>{}, std::make_integer_sequence<int, Rows>{}, chunks, a,
             a_stride, b, strip, sums, sums_stride, accumulate);
  }

 private:
  template <int... I, int... R>
  [[gnu::always_inline]] static inline void unrolled(std::integer_sequence<int, I...>, std::integer_sequence<int, R...>,
                                                     index_t chunks, const bfloat16_bits* a, index_t a_stride,
                                                     const bfloat16_bits* b, index_t strip, float* sums,
                                                     index_t sums_stride, bool accumulate) {
    using s = bfloat16_vectors::s;
    s::vector sum[Rows * Across];
    if (accumulate)
      (s::load(sum[I], sums + I / Across * sums_stride + I % Across * s::lanes), ...);
    else
      ((sum[I] = s::vector{}), ...);
    for (index_t k = 0; k < chunks * bfloat16_chunk; k += 2) {
      s::vector left, right;
      s::load(left, reinterpret_cast<const float*>(b + k * strip_columns));
      s::load(right, reinterpret_cast<const float*>(b + (Across - 1) * strip + k * strip_columns));
      (step(sum + R * Across, a + R * a_stride + k, left, right), ...);
    }
    (s::store(sums + I / Across * sums_stride + I % Across * s::lanes, sum[I]), ...);
  }
  [[gnu::always_inline]] static inline void step(bfloat16_vectors::vector* sum, const bfloat16_bits* a,
                                                 const bfloat16_vectors::vector& left,
                                                 const bfloat16_vectors::vector& right) {
    bfloat16_vectors::multiply_add(sum[0], left, a);
    if constexpr (Across == 2) bfloat16_vectors::multiply_add(sum[1], right, a);
  }
};

#endif

}  // namespace plumb::inline v0::detail
