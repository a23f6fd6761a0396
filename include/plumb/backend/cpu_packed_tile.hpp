// SPDX-License-Identifier: BSL-1.0
// The inner loop of cpu_tile.hpp over a weight that stays packed: codes lie in the order of products and become floats in
// registers, so that a pass over few rows reads the packed bytes and nothing else.
#pragma once

#include <plumb/backend/cpu_packed_panels.hpp>

namespace plumb::inline v0::detail {

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

/// The rows of a kernel between the full one and that of 4: two of it take 16 rows with less widening than a full one and a
/// rest, and 8 samples half as long. 0: none.
template <class Set>
inline constexpr int half_tile_rows = Set::tile_rows > 8 ? 8 : 0;

/// A tile of `rows` ≤ Set::tile_rows by a whole panel, through the smallest kernel that covers the rows.
template <panel_codes Codes, class Set>
[[gnu::always_inline]] inline void multiply_packed_rows(index_t rows, index_t depth, const float* a, index_t a_stride,
                                                        const std::uint8_t* codes, index_t group, const float* table,
                                                        float* sums, bool narrow, bool accumulate) {
  constexpr int most = Set::tile_rows, half = half_tile_rows<Set>;
  if constexpr (half > 0)
    if (rows > 4 && rows <= half)
      return call_with<Set, packed_tile<Codes, half>>(depth, a, a_stride, codes, group, table, sums, narrow,
                                                      accumulate);
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
