// SPDX-License-Identifier: BSL-1.0
// The kernels of attention for few queries on the cpu: vectors hold the numbers of several keys, those of a group of heads that
// share a head of keys side by side, so that all lanes work.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include <plumb/backend/cpu_attention_tiles.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

/// Numbers of a few columns lie together, `Slot` for each key, so that a vector holds those of several keys: [keys, Slot].
template <class Set, class T, index_t Slot>
struct key_slots {
  using s = simd<Set, T>;
  using vector = typename s::vector;
  static constexpr index_t lanes = s::lanes, keys = lanes / Slot;  ///< of a vector
  static_assert(Slot <= lanes);
  using piece = vector_types<T, static_cast<int>(sizeof(T) * Slot)>;  ///< what belongs to one key

  [[gnu::always_inline]] static inline void load(typename piece::type& to, const T* from) {
    to = *reinterpret_cast<const typename piece::loose*>(from);
  }
};

#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // about how a builtin "returns" its vector: it never does, it is inlined
#endif

/// Scores of Groups vectors of keys, to[Groups · keys, Slot]: each the sum over the width, in order, that product_tile computes.
/// queries[width, lanes] has the number of each column as often as there are keys in a vector. Asks memory for as many rows at `ask`.
template <class Slots, int Groups>
struct slot_scores {
  using T = typename Slots::s::number;
  using s = typename Slots::s;
  using vector = typename s::vector;
  static constexpr int keys = Slots::keys, slot = Slots::lanes / keys;

  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t width, const T* rows, index_t stride, const T* ask,
                                                const T* queries, T* to) {
    unrolled(std::make_integer_sequence<int, Groups>{}, std::make_integer_sequence<int, slot>{}, width, rows, stride,
             ask, queries, to);
  }

 private:
  /// Every fifth row has a pointer, see product_tile.
  static constexpr int pointers = (Groups * keys + 4) / 5;

  template <int... G, int... K>
  [[gnu::always_inline]] static inline void unrolled(std::integer_sequence<int, G...> groups,
                                                     std::integer_sequence<int, K...>, index_t width, const T* rows,
                                                     index_t stride, const T* ask, const T* queries, T* to) {
    constexpr index_t line = 64 / static_cast<index_t>(sizeof(T));
    vector sum[Groups], x[Groups];
    ((sum[G] = vector{}), ...);
    const T* row[pointers];
    for (int i = 0; i < pointers; ++i) row[i] = rows + 5 * i * stride;
    for (index_t k = 0; k < width; k += slot, queries += slot * Slots::lanes) {
      // In turns, one key of each vector: all at once would fill the queue of what memory is asked for.
      const T* const ahead = ask + k / slot % keys * stride + k / line * line;
      (__builtin_prefetch(ahead + G * keys * stride), ...);
      (gather<G * keys>(x[G], row, stride), ...);
      (add<K>(groups, sum, x, queries + K * Slots::lanes), ...);
      for (int i = 0; i < pointers; ++i) row[i] += slot;
    }
    (s::store(to + G * Slots::lanes, sum[G]), ...);
  }
  /// sum += number K of each key · that of each column
  template <int K, int... G>
  [[gnu::always_inline]] static inline void add(std::integer_sequence<int, G...>, vector* sum, const vector* x,
                                                const T* queries) {
    vector q;
    s::load(q, queries);
    (add_one<K>(sum[G], x[G], q, std::make_integer_sequence<int, Slots::lanes>{}), ...);
  }
  template <int K, int... I>
  [[gnu::always_inline]] static inline void add_one(vector& sum, const vector& x, const vector& q,
                                                    std::integer_sequence<int, I...>) {
    const vector all = __builtin_shufflevector(x, x, (I / slot * slot + K)...);
    s::fma(sum, all, q);
  }
  /// As many numbers as there are in a slot of each key from row R on, one key after the other.
  template <int R>
  [[gnu::always_inline]] static inline void gather(vector& x, const T* const* row, index_t stride) {
    [[maybe_unused]] typename Slots::piece::type a, b, c, d;
    if constexpr (keys == 1) {
      s::load(x, row[R / 5] + R % 5 * stride);
    } else if constexpr (keys == 2) {
      load<R>(a, row, stride), load<R + 1>(b, row, stride);
      join(a, b, x, std::make_integer_sequence<int, 2 * slot>{});
    } else {
      static_assert(keys == 4);
      load<R>(a, row, stride), load<R + 1>(b, row, stride), load<R + 2>(c, row, stride), load<R + 3>(d, row, stride);
#if defined(PLUMB_X86) && !defined(__clang__)
      x = __builtin_ia32_broadcastf32x4_512(a, x, -1);
      x = __builtin_ia32_insertf32x4_mask(x, b, 1, x, -1);
      x = __builtin_ia32_insertf32x4_mask(x, c, 2, x, -1);
      x = __builtin_ia32_insertf32x4_mask(x, d, 3, x, -1);
#else
      typename vector_types<T, static_cast<int>(sizeof(vector)) / 2>::type low, high;
      join(a, b, low, std::make_integer_sequence<int, 2 * slot>{});
      join(c, d, high, std::make_integer_sequence<int, 2 * slot>{});
      join(low, high, x, std::make_integer_sequence<int, 4 * slot>{});
#endif
    }
  }
  template <int R>
  [[gnu::always_inline]] static inline void load(typename Slots::piece::type& to, const T* const* row, index_t stride) {
    Slots::load(to, row[R / 5] + R % 5 * stride);
  }
  template <class Half, class Whole, int... I>
  [[gnu::always_inline]] static inline void join(const Half& low, const Half& high, Whole& to,
                                                 std::integer_sequence<int, I...>) {
    to = __builtin_shufflevector(low, high, I...);
  }
};

/// The softmax of a query so far: attention_columns::weigh with several keys in a vector. What a column has stands in a vector
/// once for each of them.
template <class Slots>
struct slot_softmax {
  using T = typename Slots::s::number;
  using s = typename Slots::s;
  using vector = typename s::vector;
  static constexpr index_t keys = Slots::keys, slot = Slots::lanes / keys;

  vector highest;                       ///< of the scores so far
  typename Slots::piece::type totals;   ///< Σ p, with p = e^(score − highest)
  alignas(64) T factors[Slots::lanes];  ///< what the sums so far are multiplied with

  [[gnu::always_inline]] inline slot_softmax() : totals{} { s::spread(highest, -std::numeric_limits<T>::infinity()); }
  /// Goes on from what `count` columns have found.
  [[gnu::always_inline]] inline slot_softmax(const T* the_highest, const T* the_totals, index_t count)
      : slot_softmax() {
    alignas(64) T staged[Slots::lanes], sums[slot] = {};
    s::store(staged, highest);
    for (index_t c = 0; c < count; ++c) {
      for (index_t i = c; i < Slots::lanes; i += slot) staged[i] = the_highest[c];
      sums[c] = the_totals[c];
    }
    s::load(highest, staged);
    Slots::load(totals, static_cast<const T*>(sums));
  }

  /// Scores of a tile become weights: the new maximum, what it does to the sums so far, p, Σ p.
  [[gnu::always_inline]] inline void weigh(const T* scores, index_t count, T* weights) {
    vector top = highest, base, x, zero = {}, none;
    s::spread(none, -std::numeric_limits<T>::infinity());
    for (index_t r = 0; r < count; r += keys) {
      s::load_some(x, scores + r * slot, (count - r) * slot, -std::numeric_limits<T>::infinity());
      top = x > top ? x : top;
    }
    lift<keys / 2>(top);
    base = top > none ? top : zero;  // the query may be no number
    x = highest - base;
    s::exp_of_negative(x);
    s::store(factors, x);
    typename Slots::piece::type each;
    Slots::load(each, factors);
    totals *= each;
    highest = top;
    for (index_t r = 0; r < count; r += keys) {
      s::load(x, scores + r * slot);
      x -= base;
      s::exp_of_negative(x);
      s::store(weights + r * slot, x);
    }
    for (index_t r = 0; r < count; ++r) {
      Slots::load(each, weights + r * slot);
      totals += each;
    }
  }

 private:
  /// The largest of the keys of a vector, in the place of each.
  template <index_t Keys>
  [[gnu::always_inline]] static inline void lift(vector& top) {
    if constexpr (Keys > 0) {
      lift<Keys>(top, std::make_integer_sequence<int, Slots::lanes>{});
      lift<Keys / 2>(top);
    }
  }
  template <index_t Keys, int... I>
  [[gnu::always_inline]] static inline void lift(vector& top, std::integer_sequence<int, I...>) {
    constexpr int away = Keys * slot, all = Slots::lanes;
    const vector other = __builtin_shufflevector(top, top, (I + away) % all...);
    top = other > top ? other : top;
  }
};

#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// How far rows lie apart, in numbers, if all do so equally, as those of a sequence do; else 0. So it is for those that are pages
/// apart: in the nearest cache they would push each other out while they are worked on.
template <class T>
[[gnu::always_inline]] inline index_t equal_distance(const matrix_rows<T>& rows, index_t count) {
  if (count == 1) return rows.stride;  // there is nothing that it could be apart from
  const std::int32_t step = rows.numbers[1] - rows.numbers[0];
  bool equal = true;
  for (index_t r = 2; r < count; ++r) equal = equal && rows.numbers[r] - rows.numbers[r - 1] == step;
  const index_t distance = step * rows.stride;
  return equal && distance * static_cast<index_t>(sizeof(T)) % 4096 != 0 ? distance : 0;
}
/// Copies `width` numbers of `count` rows, zeros up to `padded`, and rows of zeros up to `whole`.
template <class T>
[[gnu::always_inline]] inline void copy_rows(const matrix_rows<T>& rows, index_t count, index_t width, index_t padded,
                                             index_t whole, T* to) {
  for (index_t r = 0; r < count; ++r) {
    std::memcpy(to + r * padded, rows.row(r), sizeof(T) * static_cast<std::size_t>(width));
    std::fill_n(to + r * padded + width, padded - width, T(0));
  }
  std::fill_n(to + count * padded, (whole - count) * padded, T(0));
}

/// Calls run(number of vectors of keys, r, rows, stride, ask) for the keys of a tile, from key r on, `Groups` vectors of `Keys` at
/// once. Keys are read where they lie if that is at equal distances and they are whole vectors wide; others, and the last
/// few that fill no vector, in `memory`. `ask`: rows to ask memory for, or null: the keys of the next tile.
template <int Keys, int Groups, index_t KeyTile, class T, class Run>
[[gnu::always_inline]] inline void for_keys_of_tile(const matrix_rows<T>& k, index_t count, index_t width,
                                                    index_t padded, const T* ask, T* memory, Run run) {
  const auto multiply = [&](index_t first, index_t end, const T* from, index_t stride, const T* ahead) {
    index_t r = first;
    for (; r + Groups * Keys <= end;
         r += Groups * Keys, from += Groups * Keys * stride, ahead += Groups * Keys * stride)
      run(std::integral_constant<int, Groups>{}, r, from, stride, ahead);
    for (; r < end; r += Keys, from += Keys * stride, ahead += Keys * stride)
      run(std::integral_constant<int, 1>{}, r, from, stride, ahead);
  };
  const index_t distance = width == padded ? equal_distance(k, count) : 0;
  const index_t in_place = distance != 0 ? count / Keys * Keys : 0;  // a kernel reads all keys of a vector
  if (in_place > 0) multiply(0, in_place, k.row(0), distance, ask ? ask : k.row(0) + KeyTile * distance);
  if (in_place == count) return;
  copy_rows(k.from(in_place), count - in_place, width, padded, up_to(count, Keys) - in_place, memory);
  multiply(in_place, count, memory, padded, memory);
}

}  // namespace plumb::inline v0::detail
