// SPDX-License-Identifier: BSL-1.0
// Packed weights in the order of products: where codes and scales lie in a panel, and how a panel is written.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_packed.hpp>

namespace plumb::inline v0::detail {

/// How codes lie in packed panels: `lanes` twice for each number of the depth.
enum class panel_codes : std::uint8_t { bf16, f16, bytes, row_bytes, nibbles };

/// The order of a packed matrix in panels. A panel has groups of the depth one after the other; each group is a row of scales,
/// `scale_bytes`, then `step` bytes for each k. A group never crosses a block of the depth (768).
struct panel_order {
  panel_codes codes = panel_codes::bf16;
  index_t group = depth_block, scale_bytes = 0, step = 0;
  index_t panel_bytes = 0;  ///< of one panel, all of the depth; 0: this matrix cannot lie so

  /// Where the numbers from k, the start of a group, begin.
  [[nodiscard]] index_t place(index_t panel, index_t k) const {
    return panel * panel_bytes + k / group * (scale_bytes + group * step);
  }
};

template <class Set>
panel_order order_of_panels(const packed_matrix& m) {
  constexpr index_t wide = panel_columns<Set, float>;
  panel_order o;
  switch (m.format) {
    case packed_format::bf16: o.codes = panel_codes::bf16, o.step = 2 * wide; break;
    case packed_format::f16: o.codes = panel_codes::f16, o.step = 2 * wide; break;
    case packed_format::int8: o.codes = panel_codes::row_bytes, o.step = wide, o.scale_bytes = 4 * wide; break;
    case packed_format::q8_0:
      o.codes = panel_codes::bytes, o.step = wide, o.scale_bytes = 4 * wide, o.group = 32;
      break;
    case packed_format::q4_0:
    case packed_format::four_bits:
      o.codes = panel_codes::nibbles, o.step = wide / 2, o.scale_bytes = 4 * wide;
      o.group = m.format == packed_format::q4_0 ? 32 : m.block;
      break;
    default: return o;
  }
  if constexpr (widening<Set>::available)
    if (o.group == depth_block || (depth_block % o.group == 0 && m.columns % o.group == 0))
      o.panel_bytes = up_to((m.columns + o.group - 1) / o.group * o.scale_bytes + m.columns * o.step, 64);
  return o;
}

/// The 16 numbers of codes of 4 bits: a table, or what llama.cpp's codes stand for.
inline constexpr float q4_0_table[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
inline const float* table_of(const packed_matrix& m) { return m.format == packed_format::q4_0 ? q4_0_table : m.table; }

/// A register of codes: what `square` transposes.
template <class Code, int Lanes>
struct code_vector {
  using number = Code;
  static constexpr int lanes = Lanes;
  using vector = typename vector_types<Code, Lanes* static_cast<int>(sizeof(Code))>::type;
  [[gnu::always_inline]] static inline void load(vector& to, const Code* from) { std::memcpy(&to, from, sizeof to); }
  [[gnu::always_inline]] static inline void store(Code* to, const vector& from) { std::memcpy(to, &from, sizeof from); }
};

/// Writes one panel: rows [first, first + rows) of the matrix, the places after them zero. A stretch of every row is staged
/// in the nearest cache as plain codes, and transposed from there.
struct write_packed_panel {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const packed_matrix* m, const panel_order* order, index_t first,
                                                index_t rows, std::uint8_t* to) {
    constexpr index_t wide = panel_columns<Set, float>;
    const panel_order& o = *order;
    alignas(64) std::uint8_t staged[wide * row_bytes] = {};
    for (index_t k = 0; k < m->columns; k += o.group) {
      std::uint8_t* place = to + o.place(0, k);
      if (o.scale_bytes > 0)
        for (index_t j = 0; j < wide; ++j) {
          const float scale = j < rows ? scale_of(*m, first + j, k) : 0;
          std::memcpy(place + 4 * j, &scale, 4);
        }
      place += o.scale_bytes;
      const index_t length = std::min(o.group, m->columns - k);
      for (index_t i = 0; i < length; i += stretch, place += stretch * o.step) {
        const index_t here = std::min(stretch, length - i);
        for (index_t j = 0; j < rows; ++j) stage(*m, first + j, k + i, here, staged + j * row_bytes);
        if (o.codes == panel_codes::bf16 || o.codes == panel_codes::f16) {
          transpose_codes<std::uint16_t, wide>(staged, here, place);
        } else if (o.codes == panel_codes::nibbles) {
          for (index_t j = 0; j < wide / 2; ++j)
            merge(staged + j * row_bytes, staged + (j + wide / 2) * row_bytes, j + wide / 2 < rows);
          transpose_codes<std::uint8_t, wide / 2>(staged, here, place);
        } else {
          transpose_codes<std::uint8_t, wide>(staged, here, place);
        }
      }
    }
    const index_t used = (m->columns + o.group - 1) / o.group * o.scale_bytes + m->columns * o.step;
    std::memset(to + used, 0, static_cast<std::size_t>(o.panel_bytes - used));
  }

 private:
  static constexpr index_t stretch = 128, row_bytes = 2 * stretch;  ///< as many numbers, of 2 bytes at most
  using bytes = code_vector<std::uint8_t, 16>;

  static float scale_of(const packed_matrix& m, index_t row, index_t k) {
    const index_t n = row * m.columns + k;
    if (m.format == packed_format::int8) return m.scales[row];
    if (m.format == packed_format::four_bits) return block_scale(m, n / m.block);
    return packed_block{m.codes + n / 32 * block_bytes(m.format)}.half(0);
  }
  /// Codes of numbers [k, k + count) of a row, one after another; those of 4 bits become bytes.
  [[gnu::always_inline]] static inline void stage(const packed_matrix& m, index_t row, index_t k, index_t count,
                                                  std::uint8_t* to) {
    const index_t n = row * m.columns + k;
    const auto copy = [&](index_t from, index_t size) {
      std::memcpy(to, m.codes + from, static_cast<std::size_t>(size));
    };
    switch (m.format) {
      case packed_format::int8: return copy(n, count);
      case packed_format::q8_0: return copy(n / 32 * 34 + 2, count);
      case packed_format::q4_0: {  // a group is a block
        typename bytes::vector both;
        bytes::load(both, m.codes + n / 32 * 18 + 2);
        bytes::store(to, both & 15);
        bytes::store(to + 16, both >> 4);
        return;
      }
      case packed_format::four_bits: {
        index_t i = 0;
        for (; i + 32 <= count; i += 32) {
          typename bytes::vector both, low, high;
          bytes::load(both, m.codes + (n + i) / 2);
          square_block<bytes>::interleave(both >> 4, both & 15, low, high);
          bytes::store(to + i, low);
          bytes::store(to + i + 16, high);
        }
        for (; i < count; ++i) to[i] = (m.codes[(n + i) / 2] >> ((n + i) % 2 == 0 ? 4 : 0)) & 15;
        return;
      }
      default: return copy(2 * n, 2 * count);
    }
  }
  /// Two rows of codes of 4 bits to one of bytes, the first in the lower half.
  [[gnu::always_inline]] static inline void merge(std::uint8_t* low, const std::uint8_t* high, bool both) {
    if (!both) return;
    for (index_t i = 0; i < stretch; i += 16) {
      typename bytes::vector x, y;
      bytes::load(x, low + i);
      bytes::load(y, high + i);
      bytes::store(low + i, x | (y << 4));
    }
  }
  /// to[i, Rows] = from[Rows, i] for i < count.
  template <class Code, index_t Rows>
  [[gnu::always_inline]] static inline void transpose_codes(const std::uint8_t* from, index_t count, std::uint8_t* to) {
    constexpr index_t lanes = std::min<index_t>(16 / static_cast<index_t>(sizeof(Code)), Rows);
    constexpr index_t stride = row_bytes / static_cast<index_t>(sizeof(Code));
    const auto* const codes = reinterpret_cast<const Code*>(from);
    for (index_t i = 0; i < count; i += lanes)
      for (index_t j = 0; j < Rows; j += lanes)
        square_block<code_vector<Code, lanes>>::transpose(codes + j * stride + i, stride,
                                                          reinterpret_cast<Code*>(to) + i * Rows + j, Rows,
                                                          std::min(lanes, count - i));
  }
};

}  // namespace plumb::inline v0::detail
