// SPDX-License-Identifier: BSL-1.0
// Attention of a single query on the cpu where vectors multiply pairs of bfloat16: the counterpart of cpu_attention_single.hpp.
// Keys and values are rounded where they are multiplied, unless they are kept so, and never laid out anew.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include <plumb/backend/cpu_attention_single.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

template <class Set, index_t Slot, class Key = float>
struct rounded_single_query;

#if defined(PLUMB_X86)

/// Scores of Groups vectors of keys, as slot_scores: each the chain of pairs, in order, that vector_block computes.
/// queries[width / 2, lanes, 2] has the pair of each column as often as there are keys in a vector.
template <class Slots, class Key, int Groups>
struct rounded_slot_scores {
  using s = typename Slots::s;
  using vector = typename s::vector;
  using half = typename vector_types<float, 32>::type;
  using quarter = typename vector_types<float, 16>::type;
  static constexpr int keys = Slots::keys, slot = Slots::lanes / keys;
  static_assert(keys == 4 || keys == 2);
  static constexpr int at_once = 32 / keys;  ///< numbers of each key that a vector of pairs holds
  static constexpr bool is_rounded = std::is_same_v<Key, bfloat16_bits>;

  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      index_t width, const Key* rows, index_t stride, const Key* ask, const bfloat16_bits* queries, float* to) {
    unrolled(std::make_integer_sequence<int, Groups>{}, std::make_integer_sequence<int, at_once / 2>{}, width, rows,
             stride, ask, queries, to);
  }

 private:
  template <int... G, int... P>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void unrolled(
      std::integer_sequence<int, G...> groups, std::integer_sequence<int, P...>, index_t width, const Key* rows,
      index_t stride, const Key* ask, const bfloat16_bits* queries, float* to) {
    vector sum[Groups], pairs[Groups];
    ((sum[G] = vector{}), ...);
    for (index_t k = 0; k < width; k += at_once, queries += at_once * Slots::lanes) {
      (prefetch(ask + G * keys * stride + k, stride, k / at_once), ...);
      (gather(pairs[G], rows + G * keys * stride + k, stride), ...);
      (add<P>(groups, sum, pairs, queries + P * 2 * Slots::lanes), ...);
    }
    (s::store(to + G * Slots::lanes, sum[G]), ...);
  }
  /// Each line once: those of the keys in turns.
  [[gnu::always_inline]] static inline void prefetch(const Key* from, index_t stride, index_t step) {
    constexpr int steps = 64 / (at_once * static_cast<int>(sizeof(Key)));  // in which a line is used up
    from += (step % steps) * (stride - at_once);
    for (int i = 0; i < keys; i += steps) __builtin_prefetch(from + i * stride);
  }
  /// `at_once` numbers of each key, rounded.
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void gather(vector& pairs,
                                                                                                      const Key* from,
                                                                                                      index_t stride) {
    if constexpr (is_rounded && keys == 4) {
      quarter a, b, c, d;
      load(a, from), load(b, from + stride), load(c, from + 2 * stride), load(d, from + 3 * stride);
      const half low = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
      const half high = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
      join(low, high, pairs);
    } else if constexpr (is_rounded) {
      half a, b;
      load(a, from), load(b, from + stride);
      join(a, b, pairs);
    } else {
      vector low, high;
      half a, b, c, d;
      // Of two keys the second eight numbers, of four the other two keys.
      const Key* const more = keys == 4 ? from + 2 * stride : from + 8;
      load(a, from), load(b, from + stride), load(c, more), load(d, more + stride);
      join(a, b, low);
      join(c, d, high);
      bfloat16_vectors::round(pairs, low, high);
    }
  }
  template <class Piece>
  [[gnu::always_inline]] static inline void load(Piece& to, const Key* from) {
    to = *reinterpret_cast<const typename vector_types<float, static_cast<int>(sizeof(Piece))>::loose*>(from);
  }
  [[gnu::always_inline]] static inline void join(const half& a, const half& b, vector& to) {
    to = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
  /// sum += pair P of each key · that of each column
  template <int P, int... G>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void add(
      std::integer_sequence<int, G...>, vector* sum, const vector* pairs, const bfloat16_bits* queries) {
    vector q;
    s::load(q, reinterpret_cast<const float*>(queries));
    (add_one<P>(sum[G], pairs[G], q, std::make_integer_sequence<int, Slots::lanes>{}), ...);
  }
  template <int P, int... I>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void add_one(
      vector& sum, const vector& pairs, const vector& q, std::integer_sequence<int, I...>) {
    const vector all = __builtin_shufflevector(pairs, pairs, lane_of(I / slot, P)...);
    bfloat16_vectors::multiply_add(sum, all, q);
  }
  /// Where pair p of a key lies after `gather`.
  static constexpr int lane_of(int key, int p) {
    if (keys == 4 || is_rounded) return slot * key + p;
    return p / 4 * 8 + 4 * key + p % 4;
  }
};

/// sums[Columns, 16 Vectors] += weights · values over `count` keys: weights[pair of keys, Columns, 2], values by rows.
template <class Key, int Columns, int Vectors>
struct rounded_slot_values {
  using s = bfloat16_vectors::s;
  using vector = s::vector;
  static constexpr index_t rows_asked_ahead = 24;

  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
      index_t count, const bfloat16_bits* weights, const Key* values, index_t stride, float* sums,
      index_t sums_stride) {
    unrolled(std::make_integer_sequence<int, Columns>{}, count, weights, values, stride, sums, sums_stride);
  }

 private:
  template <int... C>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void unrolled(
      std::integer_sequence<int, C...>, index_t count, const bfloat16_bits* weights, const Key* values, index_t stride,
      float* sums, index_t sums_stride) {
    constexpr index_t last = (Vectors - 1) * s::lanes;
    vector sum[2 * Columns];
    (s::load(sum[2 * C], sums + C * sums_stride), ...);
    (s::load(sum[2 * C + 1], sums + C * sums_stride + last), ...);
    for (index_t r = 0; r < count; r += 2, values += 2 * stride, weights += 2 * Columns) {
      for (index_t i = 0; i < 2; ++i) {
        __builtin_prefetch(values + (rows_asked_ahead + i) * stride);
        if constexpr (Vectors == 2 && sizeof(Key) == 4)
          __builtin_prefetch(values + (rows_asked_ahead + i) * stride + last);
      }
      vector left, right{};
      pairs_of(values, stride, left);
      if constexpr (Vectors == 2) pairs_of(values + last, stride, right);
      (step(sum + 2 * C, weights + 2 * C, left, right), ...);
    }
    (s::store(sums + C * sums_stride, sum[2 * C]), ...);
    if constexpr (Vectors == 2) (s::store(sums + C * sums_stride + last, sum[2 * C + 1]), ...);
  }
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void pairs_of(
      const Key* values, index_t stride, vector& to) {
    if constexpr (std::is_same_v<Key, bfloat16_bits>) {
      typename s::integers one{}, other{};
      widening<avx512_set>::shorts(one, reinterpret_cast<const std::uint8_t*>(values));
      widening<avx512_set>::shorts(other, reinterpret_cast<const std::uint8_t*>(values + stride));
      to = (vector)(one | other << 16);
    } else {
      vector one, other;
      s::load(one, values);
      s::load(other, values + stride);
      bfloat16_vectors::round_pairs(to, one, other);
    }
  }
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void step(
      vector* sum, const bfloat16_bits* weights, const vector& left, const vector& right) {
    vector all;
    bfloat16_vectors::spread_pair(all, weights);
    bfloat16_vectors::multiply_add(sum[0], left, all);
    if constexpr (Vectors == 2) bfloat16_vectors::multiply_add(sum[1], right, all);
  }
};

/// to[pair of keys, slot, 2] = weights[keys, slot], rounded; zeros lie up to a whole vector of pairs.
template <class Slots>
struct pair_up {
  using s = typename Slots::s;
  static constexpr int slot = Slots::lanes / Slots::keys;

  template <class Set>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(index_t count,
                                                                                                   const float* weights,
                                                                                                   bfloat16_bits* to) {
    for (index_t r = 0; r < count; r += 2 * Slots::keys)
      unrolled(weights + r * slot, to + r * slot, std::make_integer_sequence<int, Slots::lanes>{});
  }

 private:
  template <int... I>
  [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void unrolled(
      const float* weights, bfloat16_bits* to, std::integer_sequence<int, I...>) {
    typename s::vector a, b, even, odd;
    s::load(a, weights);
    s::load(b, weights + s::lanes);
    even = __builtin_shufflevector(a, b, (I / slot * 2 * slot + I % slot)...);
    odd = __builtin_shufflevector(a, b, (I / slot * 2 * slot + slot + I % slot)...);
    bfloat16_vectors::round_pairs(to, even, odd);
  }
};

/// The counterpart of single_query: all numbers are those that rounded_attention_columns computes, to the bit.
template <class Set, index_t Slot, class Key>
struct rounded_single_query {
  using number = float;
  using job_type = attention_job<float, Key>;
  using s = simd<Set, float>;
  using slots = key_slots<Set, float, Slot>;
  using tiles = attention_tiles<Set, float, true>;
  using rounded = rounded_tiles<Set>;
  static constexpr index_t key_tile = tiles::key_tile, lanes = s::lanes, part = 2 * lanes;
  static constexpr index_t tile_scores = key_tile * Slot;

  const job_type& job;
  tiles t;
  query_segment segment;
  index_t kv_head, columns, keys;

  /// Widths must go into vectors of pairs without a rest.
  static bool serves(const job_type& job) {
    const attention_options& o = job.options;
    return !(o.cap > 0) && !(o.alibi > 0) && o.heads / o.kv_heads <= Slot && o.head_width % 16 == 0 &&
           job.unit == bfloat16_unit::vectors;
  }
  static index_t query_room(const tiles& t) { return t.width / 2 * lanes + rounded::left_floats(t.group, t.width); }
  static index_t sums_room(const tiles& t) { return Slot * sums_stride(t); }
  static index_t sums_stride(const tiles& t) { return up_to(t.width, part); }

  [[gnu::always_inline]] rounded_single_query(const job_type& the_job, index_t segment_number, index_t the_kv_head)
      : job(the_job),
        t(the_job.options),
        segment(the_job.plan.segments[segment_number]),
        kv_head(the_kv_head),
        columns(t.group),
        keys(index_t{segment.first_position} + 1) {}

  /// The queries of the group times the scale as rounded_slot_scores wants them: [width / 2, lanes, 2].
  [[gnu::always_inline]] inline void repeat_queries(float* memory) const {
    auto *const to = reinterpret_cast<bfloat16_bits*>(memory), *const staged = to + t.width * lanes;
    const float* const from = job.q.row(segment.first_row) + kv_head * columns * t.width;
    call_with<Set, bands_of_rows>(matrix_rows<float>{from, t.width}, columns, t.width,
                                  static_cast<float>(job.options.scale), staged, rounded::left_size(columns, t.width));
    std::fill_n(to, t.width * lanes, bfloat16_bits(0));
    for (index_t c = 0; c < columns; ++c)
      for (index_t k = 0; k < t.width; k += 2) {
        const bfloat16_bits* const pair =
            staged + k / bfloat16_chunk * chunk_size + c * bfloat16_chunk + k % bfloat16_chunk;
        for (index_t i = c; i < lanes; i += Slot) std::memcpy(to + k * lanes + 2 * i, pair, 2 * sizeof(bfloat16_bits));
      }
  }
  [[gnu::always_inline]] inline void score(index_t tile, const float* queries, bool ask_for_values, float* memory,
                                           float* to) const {
    constexpr int groups = 4;  // vectors of scores that stay in registers
    const auto* const pairs = reinterpret_cast<const bfloat16_bits*>(queries);
    for_keys_of_tile<slots::keys, groups, key_tile>(
        rows(job.k, tile), keys_of(tile), t.width, t.width, ask_for_values ? rows(job.v, tile).row(0) : nullptr,
        reinterpret_cast<Key*>(memory),
        [&]<int Groups>(std::integral_constant<int, Groups>, index_t r, const Key* from, index_t stride,
                        const Key* ask) {
          call_with<Set, rounded_slot_scores<slots, Key, Groups>>(t.width, from, stride, ask, pairs, to + r * Slot);
        });
  }
  [[gnu::always_inline]] inline void gather(index_t tile, float* weights, index_t first, index_t last, float* memory,
                                            float* sums) const {
    const index_t count = keys_of(tile);
    alignas(64) bfloat16_bits pairs[tile_scores];
    std::fill_n(weights + count * Slot, (up_to(count, 2 * slots::keys) - count) * Slot, 0.0F);
    call_with<Set, pair_up<slots>>(count, static_cast<const float*>(weights), static_cast<bfloat16_bits*>(pairs));
    const matrix_rows<Key> v = rows(job.v, tile);
    const auto multiply = [&](index_t begin, index_t end, const Key* from, index_t stride) {
      const auto run = [&]<int Vectors>(std::integral_constant<int, Vectors>, index_t j) {
        call_with<Set, rounded_slot_values<Key, Slot, Vectors>>(end - begin,
                                                                static_cast<const bfloat16_bits*>(pairs) + begin * Slot,
                                                                from + j, stride, sums + j, sums_stride(t));
      };
      for (index_t j = first; j < last; j += part)
        last - j > lanes ? run(std::integral_constant<int, 2>{}, j) : run(std::integral_constant<int, 1>{}, j);
    };
    const index_t distance = equal_distance(v, count), in_place = distance != 0 ? count / 2 * 2 : 0;
    if (in_place > 0) multiply(0, in_place, v.row(0), distance);
    if (in_place == count) return;
    auto* const copies = reinterpret_cast<Key*>(memory);
    copy_rows(v.from(in_place), count - in_place, t.width, t.width, up_to(count, 2) - in_place, copies);
    multiply(in_place, count, copies, t.width);
  }
  [[gnu::always_inline]] inline void finish(const slot_softmax<slots>& softmax, const float* sums, index_t first,
                                            index_t last, float* out, float* log_sum) const {
    for (index_t c = 0; c < columns; ++c) {
      const index_t head = segment.first_row * job.options.heads + kv_head * columns + c;
      const float total = softmax.totals[c], share = 1 / total;
      if (first == 0) log_sum[head] = softmax.highest[c] + std::log(total);
      for (index_t j = first; j < last; ++j)
        out[head * t.width + j] = sums[c * sums_stride(t) + j] * share + 0.0F;  // as in rounded_attention_columns
    }
  }
  [[gnu::always_inline]] inline void scale(const slot_softmax<slots>& softmax, index_t first, index_t last,
                                           float* sums) const {
    for (index_t c = 0; c < columns; ++c)
      if (softmax.factors[c] != 1)
        for (index_t j = first; j < last; ++j) sums[c * sums_stride(t) + j] *= softmax.factors[c];
  }
  [[nodiscard]] index_t keys_of(index_t tile) const { return std::min(key_tile, keys - tile * key_tile); }
  [[nodiscard]] [[gnu::always_inline]] inline matrix_rows<Key> rows(view<const Key> from, index_t tile) const {
    return {from.data + kv_head * t.width, from.columns, job.plan.key_rows + segment.keys + tile * key_tile};
  }
};

#endif

}  // namespace plumb::inline v0::detail
