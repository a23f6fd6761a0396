// SPDX-License-Identifier: BSL-1.0
// Keys and values that are kept in bfloat16 on the cpu, where attention would round them in any case.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_attention_bfloat16.hpp>
#include <plumb/backend/cpu_bfloat16_operands.hpp>
#include <plumb/backend/cpu_device.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

/// Does attention round keys and values on this device?
template <class T>
bool cpu_rounds_keys(const cpu_device& d) {
  bool rounds = false;
  with_set(d.instructions(),
           [&]<class Set>(Set) { rounds = has_rounded_tiles<Set, T> && d.bfloat16() != bfloat16_unit::none; });
  return rounds;
}

#if defined(PLUMB_X86)
/// to[i] = from[i], rounded.
struct round_numbers {
  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(const float* from,
                                                                                                   index_t count,
                                                                                                   bfloat16_bits* to) {
    const index_t whole = count / bfloat16_chunk * bfloat16_chunk;
    bands_of_rows::round_row(from, whole, 1, to, bfloat16_chunk);
    if (whole == count) return;
    alignas(64) bfloat16_bits staged[bfloat16_chunk];
    bands_of_rows::round_row(from + whole, count - whole, 1, staged, bfloat16_chunk);
    std::copy_n(staged, count - whole, to + whole);
  }
};
#endif

/// to[rows[i], :] = x[i, :], rounded as attention rounds; `rows` null: 0, 1, 2, …
template <class T>
void cpu_round_rows([[maybe_unused]] cpu_device& d, [[maybe_unused]] view<const T> x,
                    [[maybe_unused]] const std::int32_t* rows, [[maybe_unused]] view<bfloat16_bits> to) {
#if defined(PLUMB_X86)
  d.run_pieces(x.rows, 32, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      call_with<avx512_set, round_numbers>(x.row(i), x.columns, to.row(rows ? rows[i] : i));
  });
#endif
}

}  // namespace plumb::inline v0::detail
