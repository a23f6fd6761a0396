// SPDX-License-Identifier: BSL-1.0
// The inner loop of cpu_tile.hpp over a weight that stays packed: codes lie in the order of products and become floats in
// registers, so that a pass over few rows reads the packed bytes and nothing else.
#pragma once

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

/// Writes one panel: rows [first, first + rows) of the matrix, the places after them zero.
template <class Set>
void make_packed_panel(const packed_matrix& m, const panel_order& o, index_t first, index_t rows, std::uint8_t* to) {
  constexpr index_t wide = panel_columns<Set, float>, lanes = wide / 2;
  std::memset(to, 0, static_cast<std::size_t>(o.panel_bytes));
  for (index_t j = 0; j < rows; ++j) {
    const index_t row = first + j, base = row * m.columns;
    for (index_t k = 0; k < m.columns; ++k) {
      std::uint8_t* const group = to + k / o.group * (o.scale_bytes + o.group * o.step);
      std::uint8_t* const codes = group + o.scale_bytes + k % o.group * o.step;
      const index_t n = base + k;
      if (k % o.group == 0 && o.scale_bytes > 0) {
        const float scale = m.format == packed_format::int8 ? m.scales[row]
                            : m.format == packed_format::four_bits
                                ? block_scale(m, n / m.block)
                                : packed_block{m.codes + n / 32 * block_bytes(m.format)}.half(0);
        std::memcpy(group + 4 * j, &scale, 4);
      }
      switch (o.codes) {
        case panel_codes::bf16:
        case panel_codes::f16: std::memcpy(codes + 2 * j, m.codes + 2 * n, 2); break;
        case panel_codes::row_bytes: codes[j] = m.codes[n]; break;
        case panel_codes::bytes: codes[j] = m.codes[n / 32 * 34 + 2 + n % 32]; break;
        case panel_codes::nibbles: {
          const int code = m.format == packed_format::q4_0 ? packed_block{m.codes + n / 32 * 18}.nibble(2, n % 32)
                                                           : (m.codes[n / 2] >> (n % 2 == 0 ? 4 : 0)) & 15;
          std::uint8_t& byte = codes[j % lanes];
          byte = static_cast<std::uint8_t>(byte | (j < lanes ? code : code << 4));
        }
      }
    }
  }
}

/// sums[Rows, wide] (+)= a[Rows, depth] · the numbers of a packed panel from `codes` on: product_tile's chain of additions.
/// Panels are whole; of a `narrow` one, the last, only the first vector has columns, and sums have room for no more.
template <panel_codes Codes, int Rows>
struct packed_tile {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t depth, const float* a, index_t a_stride,
                                                const std::uint8_t* codes, index_t group, const float* table,
                                                float* sums, bool narrow, bool accumulate) {
    if constexpr (widening<Set>::available)
      unrolled<Set>(std::make_integer_sequence<int, Rows>{}, depth, a, a_stride, codes, group, table, sums, narrow,
                    accumulate);
  }

 private:
  template <class Set, int... R>
  [[gnu::always_inline]] static inline void unrolled(std::integer_sequence<int, R...>, index_t depth, const float* a,
                                                     index_t a_stride, const std::uint8_t* codes, index_t group,
                                                     const float* table, float* sums, bool narrow, bool accumulate) {
    using s = simd<Set, float>;
    using vector = typename s::vector;
    constexpr index_t lanes = s::lanes;
    constexpr index_t step = Codes == panel_codes::nibbles                             ? lanes
                             : Codes == panel_codes::bf16 || Codes == panel_codes::f16 ? 4 * lanes
                                                                                       : 2 * lanes;
    constexpr bool scaled = Codes != panel_codes::bf16 && Codes != panel_codes::f16;
    vector sum[2 * Rows];
    const index_t stride = narrow ? lanes : 2 * lanes;
    if (accumulate) {
      (s::load(sum[2 * R], sums + R * stride), ...);
      if (narrow)
        ((sum[2 * R + 1] = vector{}), ...);
      else
        (s::load(sum[2 * R + 1], sums + R * stride + lanes), ...);
    } else {
      ((sum[2 * R] = sum[2 * R + 1] = vector{}), ...);
    }
    const float* row[3] = {a, a + std::min<index_t>(5, sizeof...(R) - 1) * a_stride,
                           a + std::min<index_t>(10, sizeof...(R) - 1) * a_stride};  // see product_tile
    for (index_t done = 0; done < depth; done += group) {
      const index_t length = std::min(group, depth - done);
      vector scale_left{}, scale_right{};
      if constexpr (scaled) {
        s::load(scale_left, reinterpret_cast<const float*>(codes));
        s::load(scale_right, reinterpret_cast<const float*>(codes) + lanes);
        codes += 8 * lanes;
      }
      for (index_t k = 0; k < length; ++k, ++row[0], ++row[1], ++row[2], codes += step) {
        vector left{}, right{};
        __builtin_prefetch(codes + 4096);
        widen<Set>(left, right, codes, table);
        if constexpr (scaled) {
          left *= scale_left;
          right *= scale_right;
        }
        if constexpr (Codes == panel_codes::row_bytes) {
          left *= 7.874015718698502e-3F;
          right *= 7.874015718698502e-3F;
        }
        (add<Set>(sum + 2 * R, row[R / 5][R % 5 * a_stride], left, right), ...);
      }
    }
    (s::store(sums + R * stride, sum[2 * R]), ...);
    if (!narrow) (s::store(sums + R * stride + lanes, sum[2 * R + 1]), ...);
  }
  template <class Set>
  [[gnu::always_inline]] static inline void add(typename simd<Set, float>::vector* sum, const float& a,
                                                const typename simd<Set, float>::vector& left,
                                                const typename simd<Set, float>::vector& right) {
    const typename simd<Set, float>::vector all = a - typename simd<Set, float>::vector{};  // a in every lane
    simd<Set, float>::fma(sum[0], all, left);
    simd<Set, float>::fma(sum[1], all, right);
  }
  template <class Set>
  [[gnu::always_inline]] static inline void widen(typename simd<Set, float>::vector& left,
                                                  typename simd<Set, float>::vector& right, const std::uint8_t* codes,
                                                  const float* table) {
    using w = widening<Set>;
    constexpr index_t lanes = simd<Set, float>::lanes;
    typename w::integers one{}, two{};
    if constexpr (Codes == panel_codes::bf16 || Codes == panel_codes::f16) {
      w::shorts(one, codes);
      w::shorts(two, codes + 2 * lanes);
      w::template short_floats<Codes == panel_codes::bf16>(left, one);
      w::template short_floats<Codes == panel_codes::bf16>(right, two);
    } else if constexpr (Codes == panel_codes::nibbles) {
      w::unsigned_bytes(one, codes);
      w::look_up(left, table, one & 15);
      w::look_up(right, table, one >> 4);
    } else {
      w::signed_bytes(one, codes);
      w::signed_bytes(two, codes + lanes);
      w::to_floats(left, one);
      w::to_floats(right, two);
    }
  }
};

/// A tile of `rows` ≤ Set::tile_rows by a whole panel, through the smallest kernel that covers the rows.
template <panel_codes Codes, class Set>
[[gnu::always_inline]] inline void multiply_packed_rows(index_t rows, index_t depth, const float* a, index_t a_stride,
                                                        const std::uint8_t* codes, index_t group, const float* table,
                                                        float* sums, bool narrow, bool accumulate) {
  constexpr int most = Set::tile_rows;
  if (rows > 4)
    return call_with<Set, packed_tile<Codes, most>>(depth, a, a_stride, codes, group, table, sums, narrow, accumulate);
  if (rows > 1)
    return call_with<Set, packed_tile<Codes, 4>>(depth, a, a_stride, codes, group, table, sums, narrow, accumulate);
  return call_with<Set, packed_tile<Codes, 1>>(depth, a, a_stride, codes, group, table, sums, narrow, accumulate);
}
template <class Set>
[[gnu::always_inline]] inline void multiply_packed_tile(const panel_order& o, index_t rows, index_t depth,
                                                        const float* a, index_t a_stride, const std::uint8_t* codes,
                                                        const float* table, float* sums, bool narrow, bool accumulate) {
  const auto with = [&]<panel_codes Codes>(std::integral_constant<panel_codes, Codes>) {
    multiply_packed_rows<Codes, Set>(rows, depth, a, a_stride, codes, o.group, table, sums, narrow, accumulate);
  };
  switch (o.codes) {
    case panel_codes::bf16: return with(std::integral_constant<panel_codes, panel_codes::bf16>{});
    case panel_codes::f16: return with(std::integral_constant<panel_codes, panel_codes::f16>{});
    case panel_codes::bytes: return with(std::integral_constant<panel_codes, panel_codes::bytes>{});
    case panel_codes::row_bytes: return with(std::integral_constant<panel_codes, panel_codes::row_bytes>{});
    case panel_codes::nibbles: return with(std::integral_constant<panel_codes, panel_codes::nibbles>{});
  }
}

}  // namespace plumb::inline v0::detail
