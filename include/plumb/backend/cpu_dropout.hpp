// SPDX-License-Identifier: BSL-1.0
// Dropout on the cpu: the words of as many Philox blocks as a vector has lanes are made at once.
#pragma once

#include <algorithm>
#include <utility>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/config.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // about how a builtin "returns" its vector: it never does, it is inlined
#endif

/// philox4x32 of many counters: lane l has block + l.
template <class Set>
struct philox_lanes {
  static constexpr int lanes = Set::bytes / 4;
  static constexpr index_t words_at_once = 4 * lanes;
  using words = typename vector_types<std::uint32_t, Set::bytes>::type;
  using loose = typename vector_types<std::uint32_t, Set::bytes>::loose;
  using wide = typename vector_types<std::uint64_t, Set::bytes>::type;

  /// Words [4 · block, 4 · (block + lanes)) of stream `key`; block is a multiple of `lanes`.
  [[gnu::always_inline]] static inline void run(std::uint64_t key, std::uint64_t block, std::uint32_t* to) {
    run(key, block, to, std::make_integer_sequence<int, lanes>{});
  }

 private:
  template <int... I>
  [[gnu::always_inline]] static inline void run(std::uint64_t key, std::uint64_t block, std::uint32_t* to,
                                                std::integer_sequence<int, I...> all) {
    const words lane = {static_cast<std::uint32_t>(I)...};
    auto low_key = static_cast<std::uint32_t>(key), high_key = static_cast<std::uint32_t>(key >> 32);
    words c0 = lane + static_cast<std::uint32_t>(block), c1 = words{} + static_cast<std::uint32_t>(block >> 32);
    words c2 = {}, c3 = {};
    for (int round = 0; round < 10; ++round) {
      words left_high, left_low, right_high, right_low;
      multiply(c0, 0xD2511F53U, left_high, left_low, all);
      multiply(c2, 0xCD9E8D57U, right_high, right_low, all);
      c0 = right_high ^ c1 ^ (words{} + low_key);
      c1 = right_low;
      c2 = left_high ^ c3 ^ (words{} + high_key);
      c3 = left_low;
      low_key += 0x9E3779B9U, high_key += 0xBB67AE85U;
    }
    // A block's words lie side by side: [lanes, 4].
    store_pairs<0>(c0, c1, c2, c3, to, all);
    store_pairs<lanes / 2>(c0, c1, c2, c3, to + 2 * lanes, all);
  }
  /// The upper and lower words of a · factor.
  template <int... I>
  [[gnu::always_inline]] static inline void multiply(const words& a, std::uint32_t factor, words& high, words& low,
                                                     std::integer_sequence<int, I...>) {
    const words all = words{} + factor, odd_lanes = (words)((wide)a >> 32);
    words even, odd;
    multiply_even(a, all, even);
    multiply_even(odd_lanes, all, odd);
    low = __builtin_shufflevector(even, odd, (I / 2 * 2 + I % 2 * lanes)...);
    high = __builtin_shufflevector(even, odd, (I / 2 * 2 + 1 + I % 2 * lanes)...);
  }
  /// Products of the even lanes, two words each.
  [[gnu::always_inline]] static inline void multiply_even(const words& a, const words& b, words& to) {
#if defined(PLUMB_X86) && !defined(__clang__)
    using integers = typename vector_types<int, Set::bytes>::type;
    if constexpr (Set::bytes == 64)
      to = (words)__builtin_ia32_pmuludq512_mask((integers)a, (integers)b, typename vector_types<long long, 64>::type{},
                                                 0xff);
    else if constexpr (Set::bytes == 32)
      to = (words)__builtin_ia32_pmuludq256((integers)a, (integers)b);
    else
      to = (words)__builtin_ia32_pmuludq128((integers)a, (integers)b);
#else
    to = (words)(((wide)a & 0xffffffffU) * ((wide)b & 0xffffffffU));
#endif
  }
  /// to[i, 4] = (c0, c1, c2, c3) of lane First + i, for half of the lanes.
  template <int First, int... I>
  [[gnu::always_inline]] static inline void store_pairs(const words& c0, const words& c1, const words& c2,
                                                        const words& c3, std::uint32_t* to,
                                                        std::integer_sequence<int, I...>) {
    const words one = __builtin_shufflevector(c0, c1, (First + I / 2 + I % 2 * lanes)...);
    const words other = __builtin_shufflevector(c2, c3, (First + I / 2 + I % 2 * lanes)...);
    *reinterpret_cast<loose*>(to) = __builtin_shufflevector(one, other, (I / 4 * 2 + I % 2 + I % 4 / 2 * lanes)...);
    *reinterpret_cast<loose*>(to + lanes) =
        __builtin_shufflevector(one, other, (lanes / 2 + I / 4 * 2 + I % 2 + I % 4 / 2 * lanes)...);
  }
};

#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// out (+)= scale · x where the number's word is no lower than the threshold, else 0; numbers [first, last) of all.
template <class T>
struct dropout_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t first, index_t last, std::uint64_t key, std::uint32_t threshold,
                                                T scale, bool accumulate, const T* x, T* out) {
    using philox = philox_lanes<Set>;
    constexpr index_t at_once = philox::words_at_once;
    alignas(64) std::uint32_t words[at_once];
    for (index_t base = first / at_once * at_once; base < last; base += at_once) {
      philox::run(key, static_cast<std::uint64_t>(base) / 4, words);
      const index_t begin = std::max(base, first), end = std::min(base + at_once, last);
      if (std::is_same_v<T, float> && end - begin == at_once) {
        keep_all<Set>(words, threshold, scale, accumulate, x + base, out + base);
        continue;
      }
      for (index_t i = begin; i < end; ++i) {
        const T kept = words[i - base] >= threshold ? scale * x[i] : T(0);
        out[i] = accumulate ? out[i] + kept : kept;
      }
    }
  }

 private:
  template <class Set>
  [[gnu::always_inline]] static inline void keep_all(const std::uint32_t* words, std::uint32_t threshold, T scale,
                                                     bool accumulate, const T* x, T* out) {
    using s = simd<Set, T>;
    for (index_t i = 0; i < philox_lanes<Set>::words_at_once; i += s::lanes) {
      typename s::vector value, zero = {};
      s::load(value, x + i);
      value *= scale;
      if constexpr (std::is_same_v<T, float>) {
        const auto word = *reinterpret_cast<const typename philox_lanes<Set>::words*>(words + i);
        value = word >= threshold ? value : zero;
      }
      if (accumulate) {
        typename s::vector before;
        s::load(before, out + i);
        value += before;
      }
      s::store(out + i, value);
    }
  }
};

template <class T>
void cpu_dropout(cpu_device& d, view<const T> x, std::uint64_t key, double rate, bool accumulate, view<T> out) {
  constexpr index_t grain = 1 << 12;
  d.run_pieces(x.size(), grain, [&](index_t first, index_t last) {
    run_with<dropout_body<T>>(d.instructions(), first, last, key, dropout_threshold(rate),
                              static_cast<T>(1 / (1 - rate)), accumulate, x.data, out.data);
  });
}

}  // namespace plumb::inline v0::detail
