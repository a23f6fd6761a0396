// SPDX-License-Identifier: BSL-1.0
// Vector registers without intrinsics: one source for AVX-512, AVX2 and every other machine, chosen at run time. No
// compiler flag is needed for speed, and none changes the layout of a type.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <plumb/backend/cpu_instructions.hpp>
#include <plumb/config.hpp>
#include <plumb/core/types.hpp>

#if !defined(__GNUC__)
#error "plumb's cpu backend needs GCC or clang: it is written with their vector extensions"
#endif

namespace plumb::inline v0::detail {

/// Instruction sets. Code is written once, as a template over one of them. `tile_rows` rows of `tile_vectors` vectors
/// are what the registers of a product's inner loop can hold.
struct portable_set {
  static constexpr int bytes = 16, tile_rows = 6, tile_vectors = 2;
};
struct avx2_set {
  static constexpr int bytes = 32, tile_rows = 6, tile_vectors = 2;
};
struct avx512_set {
  static constexpr int bytes = 64, tile_rows = 14, tile_vectors = 2;
};

// `Body::run<Set>(…)` is forced inline into a function that may use the set's instructions. Vectors never cross a
// function that is not inlined: how they are passed depends on compiler flags.
#if defined(PLUMB_X86)
template <class Body, class... Arguments>
__attribute__((noinline, target("avx512f,avx512vl,avx512dq,avx2,fma"))) void run_avx512(Arguments... arguments) {
  Body::template run<avx512_set>(arguments...);
}
template <class Body, class... Arguments>
__attribute__((noinline, target("avx2,fma"))) void run_avx2(Arguments... arguments) {
  Body::template run<avx2_set>(arguments...);
}
#endif
template <class Body, class... Arguments>
__attribute__((noinline)) void run_portable(Arguments... arguments) {
  Body::template run<portable_set>(arguments...);
}

/// Runs the body with the instructions of `set`. The arguments are plain values and pointers.
template <class Body, class... Arguments>
inline void run_with([[maybe_unused]] instruction_set set, Arguments... arguments) {
#if defined(PLUMB_X86)
  if (set == instruction_set::avx512) return run_avx512<Body, Arguments...>(arguments...);
  if (set == instruction_set::avx2) return run_avx2<Body, Arguments...>(arguments...);
#endif
  run_portable<Body, Arguments...>(arguments...);
}

/// Calls f(Set{}) with the type that stands for `set`, for host code which has to know sizes of tiles.
template <class F>
void with_set([[maybe_unused]] instruction_set set, F f) {
#if defined(PLUMB_X86)
  if (set == instruction_set::avx512) return f(avx512_set{});
  if (set == instruction_set::avx2) return f(avx2_set{});
#endif
  f(portable_set{});
}

/// From inside a body: calls another body with the same set, as a function of its own.
template <class Set, class Body, class... Arguments>
[[gnu::always_inline]] inline void call_with(Arguments... arguments) {
#if defined(PLUMB_X86)
  if constexpr (std::is_same_v<Set, avx512_set>)
    run_avx512<Body, Arguments...>(arguments...);
  else if constexpr (std::is_same_v<Set, avx2_set>)
    run_avx2<Body, Arguments...>(arguments...);
  else
#endif
    run_portable<Body, Arguments...>(arguments...);
}

template <class T, int Bytes>
struct vector_types {
  typedef T type __attribute__((vector_size(Bytes)));
  typedef T loose __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));  // at any address
};

/// Reduces the lanes of a vector by adding, or comparing, its halves.
template <class T, int Bytes>
struct fold {
  static constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
  using vector = typename vector_types<T, Bytes>::type;
  using half = typename vector_types<T, Bytes / 2>::type;

  [[gnu::always_inline]] static inline void split(const vector& x, half& low, half& high) {
    if constexpr (lanes == 4) {
      low = __builtin_shufflevector(x, x, 0, 1);
      high = __builtin_shufflevector(x, x, 2, 3);
    } else if constexpr (lanes == 8) {
      low = __builtin_shufflevector(x, x, 0, 1, 2, 3);
      high = __builtin_shufflevector(x, x, 4, 5, 6, 7);
    } else {
      low = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
      high = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    }
  }
  [[gnu::always_inline]] static inline T sum(const vector& x) {
    if constexpr (lanes == 2) {
      return x[0] + x[1];
    } else {
      half low, high;
      split(x, low, high);
      low += high;
      return fold<T, Bytes / 2>::sum(low);
    }
  }
  [[gnu::always_inline]] static inline T largest(const vector& x) {
    if constexpr (lanes == 2) {
      return x[0] > x[1] ? x[0] : x[1];
    } else {
      half low, high;
      split(x, low, high);
      low = low > high ? low : high;
      return fold<T, Bytes / 2>::largest(low);
    }
  }
};

/// The vector of a set, and the few operations that the language's operators lack.
template <class Set, class T>
struct simd {
  using number = T;
  using vector = typename vector_types<T, Set::bytes>::type;
  using loose = typename vector_types<T, Set::bytes>::loose;
  using whole = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using integers = typename vector_types<whole, Set::bytes>::type;
  using words = typename vector_types<std::make_unsigned_t<whole>, Set::bytes>::type;
  static constexpr int lanes = Set::bytes / static_cast<int>(sizeof(T));

  [[gnu::always_inline]] static inline void load(vector& to, const T* from) {
    to = *reinterpret_cast<const loose*>(from);
  }
  [[gnu::always_inline]] static inline void store(T* to, const vector& from) { *reinterpret_cast<loose*>(to) = from; }
  /// x in every lane. (Subtracting zero changes no number, not even -0, and costs no instruction.)
  [[gnu::always_inline]] static inline void spread(vector& to, T x) { to = x - vector{}; }
  /// The first min(lanes, left) numbers; the other lanes become `rest`. One loop can so serve rows of any length, and
  /// the last numbers of a row go through the same instructions as the others.
  [[gnu::always_inline]] static inline void load_some(vector& to, const T* from, index_t left, T rest = T(0)) {
    if (left >= lanes) return load(to, from);
    T staged[lanes];
    for (index_t i = 0; i < lanes; ++i) staged[i] = i < left ? from[i] : rest;
    load(to, staged);
  }
  [[gnu::always_inline]] static inline void store_some(T* to, const vector& from, index_t left) {
    if (left >= lanes) return store(to, from);
    T staged[lanes];
    store(staged, from);
    for (index_t i = 0; i < left; ++i) to[i] = staged[i];
  }
  /// The sum of the lanes, always by the same tree: halves onto halves.
  [[gnu::always_inline]] static inline T sum(const vector& x) { return fold<T, Set::bytes>::sum(x); }
  /// The largest lane.
  [[gnu::always_inline]] static inline T largest(const vector& x) { return fold<T, Set::bytes>::largest(x); }
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // about how a builtin "returns" its vector: it never does, it is inlined
#endif
  /// sum += a · b, rounded once where the machine can
  [[gnu::always_inline]] static inline void fma(vector& sum, const vector& a, const vector& b) {
#if defined(__clang__)
#if __has_builtin(__builtin_elementwise_fma)
    if constexpr (Set::bytes > 16)
      sum = __builtin_elementwise_fma(a, b, sum);
    else
      sum = a * b + sum;
#else
    sum = a * b + sum;
#endif
#elif defined(PLUMB_X86)
    if constexpr (Set::bytes == 64 && sizeof(T) == 4)
      sum = __builtin_ia32_vfmaddps512_mask(a, b, sum, -1, 4);
    else if constexpr (Set::bytes == 64)
      sum = __builtin_ia32_vfmaddpd512_mask(a, b, sum, 0xff, 4);
    else if constexpr (Set::bytes == 32 && sizeof(T) == 4)
      sum = __builtin_ia32_vfmaddps256(a, b, sum);
    else if constexpr (Set::bytes == 32)
      sum = __builtin_ia32_vfmaddpd256(a, b, sum);
    else
      sum = a * b + sum;
#else
    sum = a * b + sum;
#endif
  }
  /// √x, correctly rounded
  [[gnu::always_inline]] static inline void square_root(vector& x) {
#if defined(__clang__) && __has_builtin(__builtin_elementwise_sqrt)
    x = __builtin_elementwise_sqrt(x);
#elif defined(PLUMB_X86) && !defined(__clang__)
    if constexpr (Set::bytes == 64 && sizeof(T) == 4)
      x = __builtin_ia32_sqrtps512_mask(x, x, -1, 4);
    else if constexpr (Set::bytes == 64)
      x = __builtin_ia32_sqrtpd512_mask(x, x, -1, 4);
    else if constexpr (Set::bytes == 32 && sizeof(T) == 4)
      x = __builtin_ia32_sqrtps256(x);
    else if constexpr (Set::bytes == 32)
      x = __builtin_ia32_sqrtpd256(x);
    else if constexpr (sizeof(T) == 4)
      x = __builtin_ia32_sqrtps(x);
    else
      x = __builtin_ia32_sqrtpd(x);
#else
    for (int i = 0; i < lanes; ++i) x[i] = std::sqrt(x[i]);
#endif
  }
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

  /// eˣ within 2 units in the last place; 0 below the smallest number, infinity above the largest, NaN stays NaN.
  /// x = n ln 2 + r with |r| ≤ ½ ln 2; eʳ by its Taylor series, 2ⁿ through the exponent's bits.
  [[gnu::always_inline]] static inline void exp(vector& x) {
    constexpr T lowest = single ? T(-104) : T(-746), highest = single ? T(89) : T(710);
    constexpr whole shift_bits = std::bit_cast<whole>(shift);

    vector bound, factor, rounded, r, series;
    spread(bound, lowest);
    x = x < bound ? bound : x;
    spread(bound, highest);
    x = x > bound ? bound : x;
    spread(rounded, shift);
    spread(factor, log2_e);
    fma(rounded, x, factor);
    const integers n = (integers)((words)rounded - static_cast<std::make_unsigned_t<whole>>(shift_bits));
    rounded -= shift;
    r = x;
    remainder(r, rounded);
    taylor(series, r);
    const integers half = n >> 1;  // in two steps: 2ⁿ alone may be too large or too small
    const integers first = (half + bias) << fraction, second = (n - half + bias) << fraction;
    x = series * (vector)first * (vector)second;
  }
  /// The same for x that are no larger than about 0, such as a score less the largest: 0 already where eˣ is below the
  /// smallest number of full precision, and a third fewer instructions.
  [[gnu::always_inline]] static inline void exp_of_negative(vector& x) {
    constexpr T lowest = single ? T(-87) : T(-708);
    vector factor, rounded, r, series;
    spread(rounded, shift + bias);  // the last bits of `rounded` are then the exponent's bits of 2ⁿ
    spread(factor, log2_e);
    fma(rounded, x, factor);
    const words power = (words)rounded << fraction;
    rounded -= shift + bias;
    r = x;
    remainder(r, rounded);
    taylor(series, r);
    series *= (vector)power;
    vector bound, zero = {};
    spread(bound, lowest);
    x = x < bound ? zero : series;
  }

 private:
  static constexpr bool single = sizeof(T) == 4;
  static constexpr T shift =
      single ? T(12582912) : T(6755399441055744);  // 1.5 · 2^fraction bits: rounds to whole numbers
  static constexpr T log2_e = T(1.44269504088896340736);
  static constexpr int fraction = single ? 23 : 52, bias = single ? 127 : 1023, degree = single ? 7 : 13;

  /// x ← x − n ln 2, ln 2 in two parts.
  [[gnu::always_inline]] static inline void remainder(vector& x, const vector& n) {
    vector factor;
    spread(factor, -(single ? T(0.693359375) : T(0x1.62e42feep-1)));
    fma(x, n, factor);
    spread(factor, -(single ? T(-2.12194440054690583e-4) : T(0x1.a39ef35793c76p-33)));
    fma(x, n, factor);
  }

  static constexpr double factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }
  template <int N>
  static constexpr T inverse_factorial = static_cast<T>(1 / factorial(N));

  /// series = (… (r/degree! + 1/(degree−1)!) · r + …) · r + 1
  [[gnu::always_inline]] static inline void taylor(vector& series, const vector& r) {
    spread(series, inverse_factorial<degree>);
    taylor(series, r, std::make_integer_sequence<int, degree>{});
  }
  template <int... I>
  [[gnu::always_inline]] static inline void taylor(vector& series, const vector& r, std::integer_sequence<int, I...>) {
    vector next;
    ((spread(next, inverse_factorial<degree - 1 - I>), fma(next, series, r), series = next), ...);
  }
};

}  // namespace plumb::inline v0::detail
