// SPDX-License-Identifier: BSL-1.0
// Packed weights to floats on the cpu, a stretch of a row at a time: what products do while they pack an operand.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_tile.hpp>
#include <plumb/config.hpp>
#include <plumb/core/packed_matrix.hpp>

namespace plumb::inline v0::detail {

/// The few steps from codes to floats that the language's operators lack, for sets that have them in registers.
template <class Set>
struct widening {
  using s = simd<Set, float>;
  using vector = typename s::vector;
  using integers = typename s::integers;
  static constexpr int lanes = s::lanes;
#if defined(__clang__)
  static constexpr bool available = Set::bytes > 16;
  template <class Narrow>
  [[gnu::always_inline]] static inline void each(integers& to, const Narrow* from) {
    typename vector_types<Narrow, static_cast<int>(sizeof(Narrow)) * lanes>::type staged;
    std::memcpy(&staged, from, sizeof staged);
    to = __builtin_convertvector(staged, integers);
  }
  [[gnu::always_inline]] static inline void unsigned_bytes(integers& to, const std::uint8_t* from) { each(to, from); }
  [[gnu::always_inline]] static inline void signed_bytes(integers& to, const std::uint8_t* from) {
    each(to, reinterpret_cast<const std::int8_t*>(from));
  }
  [[gnu::always_inline]] static inline void shorts(integers& to, const std::uint8_t* from) {
    typename vector_types<std::uint16_t, 2 * lanes>::type staged;
    std::memcpy(&staged, from, sizeof staged);
    to = __builtin_convertvector(staged, integers);
  }
  [[gnu::always_inline]] static inline void to_floats(vector& to, const integers& from) {
    to = __builtin_convertvector(from, vector);
  }
  [[gnu::always_inline]] static inline void look_up(vector& to, const float* table, const integers& places) {
    for (int i = 0; i < lanes; ++i) to[i] = table[places[i]];
  }
#elif defined(PLUMB_X86)
  static constexpr bool available = Set::bytes > 16;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // about how a builtin "returns" its vector: it never does, it is inlined
  [[gnu::always_inline]] static inline void unsigned_bytes(integers& to, const std::uint8_t* from) {
    typename vector_types<char, 16>::type staged{};  // the first `lanes` are used
    std::memcpy(&staged, from, lanes);
    if constexpr (lanes == 16)
      to = __builtin_ia32_pmovzxbd512_mask(staged, to, -1);
    else if constexpr (lanes == 8)
      to = __builtin_ia32_pmovzxbd256(staged);
  }
  [[gnu::always_inline]] static inline void signed_bytes(integers& to, const std::uint8_t* from) {
    typename vector_types<char, 16>::type staged{};
    std::memcpy(&staged, from, lanes);
    if constexpr (lanes == 16)
      to = __builtin_ia32_pmovsxbd512_mask(staged, to, -1);
    else if constexpr (lanes == 8)
      to = __builtin_ia32_pmovsxbd256(staged);
  }
  [[gnu::always_inline]] static inline void shorts(integers& to, const std::uint8_t* from) {
    typename vector_types<short, 2 * lanes>::type staged;
    std::memcpy(&staged, from, sizeof staged);
    if constexpr (lanes == 16)
      to = __builtin_ia32_pmovzxwd512_mask(staged, to, -1);
    else if constexpr (lanes == 8)
      to = __builtin_ia32_pmovzxwd256(staged);
  }
  [[gnu::always_inline]] static inline void to_floats(vector& to, const integers& from) {
    if constexpr (lanes == 16)
      to = __builtin_ia32_cvtdq2ps512_mask(from, to, -1, 4);
    else if constexpr (lanes == 8)
      to = __builtin_ia32_cvtdq2ps256(from);
  }
  /// to[i] = table[places[i]], 0 ≤ places[i] < 16.
  [[gnu::always_inline]] static inline void look_up(vector& to, const float* table, const integers& places) {
    if constexpr (lanes == 16) {
      vector all;
      s::load(all, table);
      to = __builtin_ia32_permvarsf512_mask(all, places, to, -1);
    } else if constexpr (lanes == 8) {
      vector low, high;
      s::load(low, table), s::load(high, table + 8);
      low = __builtin_ia32_permvarsf256(low, places);
      high = __builtin_ia32_permvarsf256(high, places);
      to = places > 7 ? high : low;
    }
  }
#pragma GCC diagnostic pop
#else
  static constexpr bool available = false;
#endif
  /// bfloat16 or half bits in the lower halves of `from` as floats. A half's exponent moves over, and a product mends its
  /// bias: exact for finite numbers.
  template <bool Brain>
  [[gnu::always_inline]] static inline void short_floats(vector& to, const integers& from) {
    if constexpr (Brain) {
      to = (vector)(from << 16);
    } else {
      to = (vector)((from & 0x7fff) << 13) * 0x1p112F;
      to = (vector)((integers)to | ((from & 0x8000) << 16));
    }
  }
};

/// to[i] = number `first + i` of the row, i < count: the bits of `packed_number`, many at a time where they lie well.
template <class T>
struct unpack_row {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const packed_matrix* m, index_t row, index_t first, index_t count,
                                                T* to) {
    index_t done = 0;
    if constexpr (std::is_same_v<T, float> && widening<Set>::available) done = many<Set>(*m, row, first, count, to);
    for (; done < count; ++done) to[done] = static_cast<T>(packed_number(*m, row, first + done));
  }

 private:
  /// How many of the first numbers it has done.
  template <class Set>
  [[gnu::always_inline]] static inline index_t many(const packed_matrix& m, index_t row, index_t first, index_t count,
                                                    float* to) {
    using w = widening<Set>;
    using s = simd<Set, float>;
    constexpr index_t lanes = s::lanes;
    const index_t n = row * m.columns + first;
    typename s::integers codes{};
    typename s::vector x{};
    index_t i = 0;
    switch (m.format) {
      case packed_format::bf16:
      case packed_format::f16:
        for (; i + lanes <= count; i += lanes) {
          w::shorts(codes, m.codes + 2 * (n + i));
          if (m.format == packed_format::bf16)
            w::template short_floats<true>(x, codes);
          else
            w::template short_floats<false>(x, codes);
          s::store(to + i, x);
        }
        return i;
      case packed_format::int8:
        for (; i + lanes <= count; i += lanes) {
          w::signed_bytes(codes, m.codes + n + i);
          w::to_floats(x, codes);
          x *= m.scales[row];
          x *= 7.874015718698502e-3F;
          s::store(to + i, x);
        }
        return i;
      case packed_format::four_bits: return four_bits<Set>(m, n, count, to);
      case packed_format::q8_0:
      case packed_format::q4_0: {
        if (n % 32 != 0) return 0;
        const bool eight = m.format == packed_format::q8_0;
        const std::uint8_t* block = m.codes + n / 32 * block_bytes(m.format);
        for (; i + 32 <= count; i += 32, block += block_bytes(m.format)) {
          const float d = packed_block{block}.half(0);
          for (index_t j = 0; j < 32; j += lanes) {
            if (eight) {
              w::signed_bytes(codes, block + 2 + j);
            } else {
              w::unsigned_bytes(codes, block + 2 + j % 16);
              if (j >= 16) codes >>= 4;
              codes = (codes & 15) - 8;
            }
            w::to_floats(x, codes);
            x *= d;
            s::store(to + i + j, x);
          }
        }
        return i;
      }
      default: return 0;
    }
  }
  /// Two numbers a byte, the first in the upper half.
  template <class Set>
  [[gnu::always_inline]] static inline index_t four_bits(const packed_matrix& m, index_t n, index_t count, float* to) {
    using w = widening<Set>;
    using s = simd<Set, float>;
    constexpr index_t step = 2 * s::lanes;
    if (n % step != 0) return 0;  // blocks are multiples of a step
    typename s::integers codes{};
    typename s::vector upper{}, lower{}, low, high;
    index_t i = 0, block = -1;
    float scale = 0;
    for (; i + step <= count; i += step) {
      if (const index_t now = (n + i) / m.block; now != block) scale = block_scale(m, block = now);
      w::unsigned_bytes(codes, m.codes + (n + i) / 2);
      w::look_up(upper, m.table, codes >> 4);
      w::look_up(lower, m.table, codes & 15);
      square_block<s>::interleave(upper, lower, low, high);
      low *= scale;
      high *= scale;
      s::store(to + i, low);
      s::store(to + i + s::lanes, high);
    }
    return i;
  }
};

}  // namespace plumb::inline v0::detail
