// SPDX-License-Identifier: BSL-1.0
// A matrix whose numbers are stored in fewer bits than it is computed with: formats, and any one number of it, exactly.
#pragma once

#include <cstdint>

#include <plumb/config.hpp>
#include <plumb/core/half.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// How a packed matrix is stored. `q…` are llama.cpp's blocks, each with its own scale, as they lie in a GGUF file.
enum class packed_format : std::uint8_t {
  bf16,       ///< the upper half of a float
  f16,        ///< IEEE half
  int8,       ///< a signed byte times its row's largest magnitude / 127 (Dettmers et al. 2022, LLM.int8, section 2.1)
  four_bits,  ///< a place in a table of 16 numbers times its block's largest magnitude (NF4: Dettmers et al. 2023)
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k
};

/// Numbers that share a block, always of one row but with four_bits.
PLUMB_HD constexpr index_t block_numbers(packed_format f) noexcept {
  return f < packed_format::four_bits ? 1 : f == packed_format::four_bits ? 2 : f < packed_format::q4_k ? 32 : 256;
}
/// Bytes of such a block; the scales of int8 and four_bits lie apart.
PLUMB_HD constexpr index_t block_bytes(packed_format f) noexcept {
  switch (f) {
    case packed_format::bf16:
    case packed_format::f16: return 2;
    case packed_format::int8:
    case packed_format::four_bits: return 1;
    case packed_format::q8_0: return 34;
    case packed_format::q4_0: return 18;
    case packed_format::q4_1: return 20;
    case packed_format::q5_0: return 22;
    case packed_format::q5_1: return 24;
    case packed_format::q4_k: return 144;
    case packed_format::q5_k: return 176;
    default: return 210;
  }
}

/// A packed matrix [rows, columns] in somebody else's memory, perhaps a GPU's.
///
/// four_bits: two numbers a byte, the first in the upper half, over the matrix row after row; number n is
/// table[code] · scale(n / block). With a second quantisation scale(b) = scale_table[scale_codes[b]] ·
/// scales[b / scale_block] + offset, else scales[b]; as bitsandbytes stores it.
struct packed_matrix {
  packed_format format = packed_format::bf16;
  index_t rows = 0, columns = 0;
  const std::uint8_t* codes = nullptr;
  const float* scales = nullptr;              ///< int8: one a row; four_bits: see above
  const float* table = nullptr;               ///< four_bits: 16 numbers
  const std::uint8_t* scale_codes = nullptr;  ///< four_bits: one a block; null: scales are as they are
  const float* scale_table = nullptr;         ///< with scale_codes: 256 numbers
  float offset = 0;
  index_t block = 64, scale_block = 256;  ///< numbers of a block, blocks that share a scale of scales

  [[nodiscard]] constexpr shape extent() const noexcept { return {rows, columns}; }
};

namespace detail {

/// The bytes of a block, which may lie at any address.
struct packed_block {
  const std::uint8_t* at;

  PLUMB_HD int u8(index_t i) const { return at[i]; }
  PLUMB_HD int i8(index_t i) const { return static_cast<std::int8_t>(at[i]); }
  PLUMB_HD float half(index_t i) const { return f16_to_f32(static_cast<std::uint16_t>(u8(i) | (u8(i + 1) << 8))); }
  /// Bit `i` of 32 that begin at byte `from`.
  PLUMB_HD int bit(index_t from, index_t i) const { return (u8(from + i / 8) >> (i % 8)) & 1; }
  /// Code `i` of 32 with 4 bits: the low halves of 16 bytes come first, then the high halves.
  PLUMB_HD int nibble(index_t from, index_t i) const { return (u8(from + i % 16) >> (i < 16 ? 0 : 4)) & 15; }
  /// Scale of sub-block j of 8 in q4_k and q5_k (6 bits each, in 12 bytes), and its offset.
  PLUMB_HD int scale(index_t j) const { return j < 4 ? u8(4 + j) & 63 : (u8(8 + j) & 15) | ((u8(j) >> 6) << 4); }
  PLUMB_HD int least(index_t j) const { return j < 4 ? u8(8 + j) & 63 : (u8(8 + j) >> 4) | ((u8(4 + j) >> 6) << 4); }
};

/// Number `i` of a block of llama.cpp's.
PLUMB_HD inline float block_number(packed_format format, packed_block b, index_t i) {
  const auto f = [](int q) { return static_cast<float>(q); };
  switch (format) {
    case packed_format::q8_0: return b.half(0) * f(b.i8(2 + i));
    case packed_format::q4_0: return b.half(0) * f(b.nibble(2, i) - 8);
    case packed_format::q4_1: return b.half(0) * f(b.nibble(4, i)) + b.half(2);
    case packed_format::q5_0: return b.half(0) * f((b.nibble(6, i) | (b.bit(2, i) << 4)) - 16);
    case packed_format::q5_1: return b.half(0) * f(b.nibble(8, i) | (b.bit(4, i) << 4)) + b.half(2);
    case packed_format::q4_k:
    case packed_format::q5_k: {
      const bool five = format == packed_format::q5_k;  // a fifth bit of each code lies in 32 bytes of its own
      const index_t j = i / 32, in = i % 32;
      int q = (b.u8((five ? 48 : 16) + 32 * (j / 2) + in) >> (4 * (j % 2))) & 15;
      if (five) q |= ((b.u8(16 + in) >> j) & 1) << 4;
      return b.half(0) * f(b.scale(j)) * f(q) - b.half(2) * f(b.least(j));
    }
    case packed_format::q6_k: {
      const index_t part = i / 128, quarter = i % 128 / 32, in = i % 32;
      const int low = (b.u8(64 * part + 32 * (quarter % 2) + in) >> (4 * (quarter / 2))) & 15;
      const int high = (b.u8(128 + 32 * part + in) >> (2 * quarter)) & 3;
      return b.half(208) * f(b.i8(192 + i / 16)) * f((low | (high << 4)) - 32);
    }
    default: return 0;
  }
}

/// The factor of a block of four_bits. The product is rounded before the sum, as the file's writer did: a compiler that fused
/// the two would change bits, and `volatile` keeps it from that on every processor.
PLUMB_HD inline float block_scale(const packed_matrix& m, index_t block) {
  if (!m.scale_codes) return m.scales[block];
  const volatile float product = m.scale_table[m.scale_codes[block]] * m.scales[block / m.scale_block];
  return product + m.offset;
}

}  // namespace detail

/// Number (row, column) of the matrix, the same bits on every backend.
PLUMB_HD inline float packed_number(const packed_matrix& m, index_t row, index_t column) {
  const index_t n = row * m.columns + column;
  switch (m.format) {
    case packed_format::bf16:
    case packed_format::f16: {
      const auto bits = static_cast<std::uint16_t>(m.codes[2 * n] | (m.codes[2 * n + 1] << 8));
      return m.format == packed_format::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    }
    case packed_format::int8:  // bitsandbytes' order of the two products
      return static_cast<float>(static_cast<std::int8_t>(m.codes[n])) * m.scales[row] * 7.874015718698502e-3F;
    case packed_format::four_bits:
      return m.table[(m.codes[n / 2] >> (n % 2 == 0 ? 4 : 0)) & 15] * detail::block_scale(m, n / m.block);
    default: {
      const index_t together = block_numbers(m.format);
      return detail::block_number(m.format, {m.codes + n / together * block_bytes(m.format)}, n % together);
    }
  }
}

namespace detail {

/// to[n] = number n of the matrix, for `for_each`.
template <class T>
struct unpack_each {
  packed_matrix from;
  T* to;
  PLUMB_HD void operator()(index_t n) const {
    to[n] = static_cast<T>(packed_number(from, n / from.columns, n % from.columns));
  }
};

/// to[i, j] = number (first + rows[i], j) of the matrix, for `for_each` over all of `to`.
template <class T>
struct unpack_rows_each {
  packed_matrix from;
  const std::int32_t* rows;
  index_t first;
  T* to;
  PLUMB_HD void operator()(index_t n) const {
    to[n] = static_cast<T>(packed_number(from, first + rows[n / from.columns], n % from.columns));
  }
};

}  // namespace detail

}  // namespace plumb::inline v0
