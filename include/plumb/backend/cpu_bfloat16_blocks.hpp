// SPDX-License-Identifier: BSL-1.0
// The inner part of products in bfloat16 on the cpu, twice: for machines with registers of whole matrices (Intel's AMX), and
// for those whose vectors multiply pairs of bfloat16 (AVX-512 BF16).
//
// Every element of C is one chain of additions in the order of k, 32 at a time from the start of K: nothing about the cut,
// the other rows or the number of threads can change its bits.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_bfloat16_operands.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

#if defined(PLUMB_X86)

/// Four matrix registers become 16 rows of 64 bytes, and hold nothing.
inline void shape_registers() {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, unused[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16};
  } const shape;
  asm volatile("tilerelease\n\tldtilecfg %0" : : "m"(shape));
}

/// One block of C: sums[16, 16 Across] (+)= a band's chunks · strips [Across, chunks], in matrix registers. Four of
/// the eight: where two threads share a core, they share what registers are renamed to, and with all eight in use loads wait for
/// products (a block of 32 by 32 took 2.3 times as long; alone on a core both take the same). `begin` comes first, `end`
/// last, and `begin` again now and then: a thread that was interrupted comes back with all eight in use.
template <int Rows, int Across>
struct register_block {
  static_assert(Rows == 16);
  static constexpr index_t rows = Rows, columns = 16 * Across;

  static void begin() { shape_registers(); }
  static void end() { asm volatile("tilerelease"); }
  [[gnu::always_inline]] static inline void run(index_t chunks, const bfloat16_bits* a, const bfloat16_bits* b,
                                                index_t strip, float* sums, index_t sums_stride, bool accumulate) {
    const index_t sums_row = 4 * sums_stride;
    if (accumulate) {
      load<0>(sums, sums_row);
      if constexpr (Across == 2) load<1>(sums + 16, sums_row);
    } else {
      asm volatile("tilezero %tmm0\n\ttilezero %tmm1");
    }
    for (index_t i = 0; i < chunks; ++i, a += chunk_size, b += chunk_size) {
      load<2>(a, 64);
      load<3>(b, 64);
      multiply_add<0, 2, 3>();
      if constexpr (Across == 2) {
        load<3>(b + strip, 64);
        multiply_add<1, 2, 3>();
      }
    }
    store<0>(sums, sums_row);
    if constexpr (Across == 2) store<1>(sums + 16, sums_row);
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

/// The same block with vectors: sums[Rows, 16 Across]. Numbers of the left operand are spread once for all columns: as operands in
/// memory each would be loaded once a product, and loads, two in a cycle like products, would take longer than they do.
template <int Rows, int Across>
struct vector_block {
  static constexpr index_t rows = Rows, columns = 16 * Across;
  /// Numbers of a strip that are asked for in advance: with few rows strips stream from memory.
  static constexpr index_t ahead = 4 * chunk_size;

  static void begin() {}
  static void end() {}
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      index_t chunks, const bfloat16_bits* a, const bfloat16_bits* b, index_t strip, float* sums, index_t sums_stride,
      bool accumulate) {
    unrolled(std::make_integer_sequence<int, Rows * Across>{}, std::make_integer_sequence<int, Rows>{}, chunks, a, b,
             strip, sums, sums_stride, accumulate);
  }

 private:
  template <int... I, int... R>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void unrolled(
      std::integer_sequence<int, I...>, std::integer_sequence<int, R...>, index_t chunks, const bfloat16_bits* a,
      const bfloat16_bits* b, index_t strip, float* sums, index_t sums_stride, bool accumulate) {
    using s = bfloat16_vectors::s;
    s::vector sum[Rows * Across];
    if (accumulate)
      (s::load(sum[I], sums + I / Across * sums_stride + I % Across * s::lanes), ...);
    else
      ((sum[I] = s::vector{}), ...);
    for (index_t i = 0; i < chunks; ++i, a += chunk_size, b += chunk_size)
      for (index_t k = 0; k < bfloat16_chunk; k += 2) {
        s::vector left, right;
        __builtin_prefetch(b + k * strip_columns + ahead);
        if constexpr (Across == 2) __builtin_prefetch(b + strip + k * strip_columns + ahead);
        s::load(left, reinterpret_cast<const float*>(b + k * strip_columns));
        s::load(right, reinterpret_cast<const float*>(b + (Across - 1) * strip + k * strip_columns));
        (step(sum + R * Across, a + R * bfloat16_chunk + k, left, right), ...);
      }
    (s::store(sums + I / Across * sums_stride + I % Across * s::lanes, sum[I]), ...);
  }
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void step(
      bfloat16_vectors::vector* sum, const bfloat16_bits* a, const bfloat16_vectors::vector& left,
      const bfloat16_vectors::vector& right) {
    bfloat16_vectors::vector row;
    bfloat16_vectors::spread_pair(row, a);
    bfloat16_vectors::multiply_add(sum[0], row, left);
    if constexpr (Across == 2) bfloat16_vectors::multiply_add(sum[1], row, right);
  }
};

/// One block of `rows` by `columns` of C: straight into C where it is whole there.
template <class Block>
struct bfloat16_block {
  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      index_t chunks, const bfloat16_bits* a, const bfloat16_bits* b, index_t strip, float* c, index_t c_stride,
      index_t rows, index_t columns, bool accumulate) {
    if (rows >= Block::rows && columns >= Block::columns)
      return Block::run(chunks, a, b, strip, c, c_stride, accumulate);
    alignas(64) float sums[Block::rows * Block::columns];
    const index_t down = std::min(rows, Block::rows), across = std::min(columns, Block::columns);
    if (accumulate)
      for (index_t i = 0; i < Block::rows; ++i)
        for (index_t j = 0; j < Block::columns; ++j)
          sums[i * Block::columns + j] = i < down && j < across ? c[i * c_stride + j] : 0.0F;
    Block::run(chunks, a, b, strip, sums, Block::columns, accumulate);
    for (index_t i = 0; i < down; ++i)
      std::memcpy(c + i * c_stride, sums + i * Block::columns, sizeof(float) * static_cast<std::size_t>(across));
  }
};

/// c[rows, columns] (+)= bands [rows, chunks] · strips [columns, chunks], block by block, `Rows` tall each, or `Least` for a
/// single row. All columns of a band come one after the other: the band stays in the nearest cache, the strips in the next.
template <template <int, int> class Block, int Rows, int Least>
struct bfloat16_blocks {
  static_assert(band_rows % Rows == 0);

  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, index_t chunks,
                                                const bfloat16_bits* bands, index_t band, const bfloat16_bits* strips,
                                                index_t strip, float* c, index_t c_stride, bool accumulate) {
    const index_t at_once = std::max<index_t>(blocks_between * 2 * strip_columns / columns, 1) * band_rows;
    for (index_t i = 0; i < rows; i += at_once) {
      begin();
      multiply<Set>(std::min(at_once, rows - i), columns, chunks, bands + i / band_rows * band, band, strips, strip,
                    c + i * c_stride, c_stride, accumulate);
    }
    end();
  }
  /// The same for some ten microseconds between a `begin` and an `end` of the caller's.
  template <class Set>
  [[gnu::always_inline]] static inline void multiply(index_t rows, index_t columns, index_t chunks,
                                                     const bfloat16_bits* bands, index_t band,
                                                     const bfloat16_bits* strips, index_t strip, float* c,
                                                     index_t c_stride, bool accumulate) {
    if (rows == 1)
      multiply_with<Set, Least>(rows, columns, chunks, bands, band, strips, strip, c, c_stride, accumulate);
    else
      multiply_with<Set, Rows>(rows, columns, chunks, bands, band, strips, strip, c, c_stride, accumulate);
  }
  static void begin() { Block<Rows, 2>::begin(); }
  static void end() { Block<Rows, 2>::end(); }

 private:
  template <class Set, int Tall>
  [[gnu::always_inline]] static inline void multiply_with(index_t rows, index_t columns, index_t chunks,
                                                          const bfloat16_bits* bands, index_t band,
                                                          const bfloat16_bits* strips, index_t strip, float* c,
                                                          index_t c_stride, bool accumulate) {
    for (index_t i = 0; i < rows; i += Tall) {
      const bfloat16_bits* const a = bands + i / band_rows * band + i % band_rows * bfloat16_chunk;
      for (index_t j = 0; j < columns; j += 2 * strip_columns) {
        const bfloat16_bits* const b = strips + j / strip_columns * strip;
        float* const to = c + i * c_stride + j;
        if (columns - j > strip_columns)
          call_with<Set, bfloat16_block<Block<Tall, 2>>>(chunks, a, b, strip, to, c_stride, rows - i, columns - j,
                                                         accumulate);
        else
          call_with<Set, bfloat16_block<Block<Tall, 1>>>(chunks, a, b, strip, to, c_stride, rows - i, columns - j,
                                                         accumulate);
      }
    }
  }

  static constexpr index_t blocks_between = 32;  ///< from one `begin` to the next: some ten microseconds
};
using register_blocks = bfloat16_blocks<register_block, 16, 16>;
using vector_blocks = bfloat16_blocks<vector_block, 8, 1>;

#endif

}  // namespace plumb::inline v0::detail
