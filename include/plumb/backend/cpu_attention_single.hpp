// SPDX-License-Identifier: BSL-1.0
// Attention of a single query on the cpu, as in decoding one reply: first its scores, tiles of keys apart, then what it
// gathers of the values, parts of the width apart. So few heads of keys keep all threads busy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include <plumb/backend/cpu_attention_tiles.hpp>
#include <plumb/backend/cpu_device.hpp>

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
/// queries[width, lanes] has the number of each column as often as there are keys in a vector. Asks for the keys of the next tile.
template <class Slots, int Groups>
struct slot_scores {
  using T = typename Slots::s::number;
  using s = typename Slots::s;
  using vector = typename s::vector;
  static constexpr int keys = Slots::keys, slot = Slots::lanes / keys;

  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t width, const T* rows, index_t stride, index_t next_tile,
                                                const T* queries, T* to) {
    unrolled(std::make_integer_sequence<int, Groups>{}, std::make_integer_sequence<int, slot>{}, width, rows, stride,
             next_tile, queries, to);
  }

 private:
  /// Every fifth row has a pointer, see product_tile.
  static constexpr int pointers = (Groups * keys + 4) / 5;

  template <int... G, int... K>
  [[gnu::always_inline]] static inline void unrolled(std::integer_sequence<int, G...> groups,
                                                     std::integer_sequence<int, K...>, index_t width, const T* rows,
                                                     index_t stride, index_t next_tile, const T* queries, T* to) {
    constexpr index_t line = 64 / static_cast<index_t>(sizeof(T));
    vector sum[Groups], x[Groups];
    ((sum[G] = vector{}), ...);
    const T* row[pointers];
    for (int i = 0; i < pointers; ++i) row[i] = rows + 5 * i * stride;
    for (index_t k = 0; k < width; k += slot, queries += slot * Slots::lanes) {
      // In turns, one key of each vector: all at once would fill the queue of what memory is asked for.
      const T* const ahead = rows + (next_tile + k / slot % keys) * stride + k / line * line;
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
#if defined(__x86_64__) && !defined(__clang__)
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

/// The two tasks of a query whose heads share heads of keys in groups of `Slot` at most. All numbers are those that
/// attention_columns computes, to the bit.
template <class Set, class T, index_t Slot>
struct single_query {
  using s = simd<Set, T>;
  using slots = key_slots<Set, T, Slot>;
  using tiles = attention_tiles<Set, T>;
  static constexpr index_t key_tile = tiles::key_tile, lanes = s::lanes;
  static_assert(key_tile % slots::keys == 0);
  /// Numbers of a tile's scores, which kernels read in whole tiles of rows.
  static constexpr index_t tile_scores = key_tile * Slot + Set::tile_rows;

  const attention_job<T>& job;
  tiles t;
  index_t kv_head, columns, keys;

  [[gnu::always_inline]] single_query(const attention_job<T>& the_job, index_t the_kv_head)
      : job(the_job),
        t(the_job.options),
        kv_head(the_kv_head),
        columns(t.group),
        keys(index_t{the_job.plan.segments[0].first_position} + 1) {}

  /// Scores of tiles [first, last).
  struct scores {
    static constexpr int groups = Set::tile_rows > 8 ? 7 : 4;  ///< vectors of scores that stay in registers

    static index_t room(const tiles& t) { return t.padded * lanes + t.keys(); }

    template <class S>
    [[gnu::always_inline]] static inline void run(const attention_job<T>* job, index_t kv_head, index_t first,
                                                  index_t last, T* out, T* memory) {
      const single_query q(*job, kv_head);
      T* const queries = memory;
      q.repeat_queries(queries);
      for (index_t tile = first; tile < last; ++tile) {
        const index_t count = q.keys_of(tile);
        const matrix_rows<T> k = q.rows(job->k, tile, queries + q.t.padded * lanes);
        const auto multiply = [&]<int Groups>(std::integral_constant<int, Groups>, index_t r) {
          call_with<Set, slot_scores<slots, Groups>>(q.t.padded, k.row(r), k.stride, key_tile,
                                                     static_cast<const T*>(queries),
                                                     out + tile * tile_scores + r * Slot);
        };
        index_t r = 0;
        for (; r + groups * slots::keys <= count; r += groups * slots::keys)
          multiply(std::integral_constant<int, groups>{}, r);
        for (; r < count; r += slots::keys) multiply(std::integral_constant<int, 1>{}, r);
      }
    }
  };

  /// Numbers [first, last) of each head of what the query gathers, from the scores of all tiles.
  struct values {
    static index_t room(const tiles& t) { return up_to(t.group, Set::tile_rows) * t.padded + t.keys() + tile_scores; }

    template <class S>
    [[gnu::always_inline]] static inline void run(const attention_job<T>* job, index_t kv_head, index_t first,
                                                  index_t last, const T* scores, T* out, T* log_sum, T* memory) {
      const single_query q(*job, kv_head);
      T *const sums = memory, *const copies = sums + up_to(q.columns, Set::tile_rows) * q.t.padded,
               *const weights = copies + q.t.keys();
      std::fill_n(sums, copies - sums, T(0));
      slot_softmax<slots> softmax;
      for (index_t tile = 0; tile * key_tile < q.keys; ++tile) {
        const index_t count = q.keys_of(tile);
        softmax.weigh(scores + tile * tile_scores, count, weights);
        for (index_t c = 0; c < q.columns; ++c)
          if (softmax.factors[c] != 1) scale(sums + c * q.t.padded, first, last, softmax.factors[c]);
        const matrix_rows<T> v = q.rows(job->v, tile, copies);
        for (index_t c = 0; c < q.columns; c += Set::tile_rows)
          multiply_tile<Set, T, left_order::columns>(std::min<index_t>(Set::tile_rows, q.columns - c), last - first,
                                                     count, weights + c, Slot, v.first + first, v.stride,
                                                     sums + c * q.t.padded + first, q.t.padded, true);
      }
      for (index_t c = 0; c < q.columns; ++c) {
        const index_t head = job->plan.segments[0].first_row * job->options.heads + kv_head * q.columns + c;
        const T total = softmax.totals[c];
        if (first == 0) log_sum[head] = softmax.highest[c] + std::log(total);
        for (index_t j = first; j < last; j += lanes) {
          typename s::vector x;
          s::load(x, sums + c * q.t.padded + j);
          x = x / total + T(0);  // + 0: as in attention_columns
          s::store_some(out + head * q.t.width + j, x, last - j);
        }
      }
    }

   private:
    [[gnu::always_inline]] static inline void scale(T* sums, index_t first, index_t last, T factor) {
      for (index_t j = first; j < last; j += lanes) {
        typename s::vector x;
        s::load(x, sums + j);
        x *= factor;
        s::store(sums + j, x);
      }
    }
  };

 private:
  [[nodiscard]] index_t keys_of(index_t tile) const { return std::min(key_tile, keys - tile * key_tile); }
  [[gnu::always_inline]] inline matrix_rows<T> rows(view<const T> from, index_t tile, T* memory) const {
    const std::int32_t* const key_rows = job.plan.key_rows + job.plan.segments[0].keys;
    return t.rows_of(from, key_rows + tile * key_tile, keys_of(tile), kv_head, memory);
  }
  /// The queries of the group times the scale as slot_scores wants them: [padded, lanes].
  [[gnu::always_inline]] inline void repeat_queries(T* to) const {
    const T* const from = job.q.row(job.plan.segments[0].first_row) + kv_head * columns * t.width;
    const auto scale = static_cast<T>(job.options.scale);
    std::fill_n(to, t.padded * lanes, T(0));
    for (index_t c = 0; c < columns; ++c)
      for (index_t k = 0; k < t.width; ++k) to[k * lanes + c] = from[c * t.width + k] * scale;
    for (index_t k = 0; k < t.width; ++k)
      for (index_t i = Slot; i < lanes; i += Slot) std::memcpy(to + k * lanes + i, to + k * lanes, sizeof(T) * Slot);
  }
};

/// Is there one query, which sees all keys as they are? Then `attention_of_single` serves it.
inline bool is_single(const attention_plan& plan, const attention_options& o) {
  return plan.segment_count == 1 && plan.segments[0].length == 1 && !(o.cap > 0) && !(o.alibi > 0) &&
         first_seen(o, plan.segments[0].first_position) == 0;
}

template <class Set, index_t Slot, class T>
void attention_of_single(cpu_device& d, const attention_job<T>& job, T* out, T* log_sum) {
  using query = single_query<Set, T, Slot>;
  constexpr index_t panel = query::tiles::panel, tiles_of_task = 5;
  const typename query::tiles t(job.options);
  const index_t kv_heads = job.options.kv_heads, width = job.options.head_width;
  const index_t tiles = job.plan.segments[0].first_position / query::key_tile + 1;
  const index_t pieces = (tiles + tiles_of_task - 1) / tiles_of_task, parts = (width + panel - 1) / panel;
  T* const scores = d.shared_scratch<T>(kv_heads * tiles * query::tile_scores);
  const auto of_head = [&](index_t kv_head) { return scores + kv_head * tiles * query::tile_scores; };

  d.run(kv_heads * pieces, [&](index_t task, int worker) {
    const index_t kv_head = task / pieces, first = task % pieces * tiles_of_task;
    call_with<Set, typename query::scores>(&job, kv_head, first, std::min(first + tiles_of_task, tiles),
                                           of_head(kv_head), d.scratch<T>(worker, query::scores::room(t)));
  });
  d.run(kv_heads * parts, [&](index_t task, int worker) {
    const index_t kv_head = task / parts, first = task % parts * panel;
    call_with<Set, typename query::values>(&job, kv_head, first, std::min(first + panel, width),
                                           static_cast<const T*>(of_head(kv_head)), out, log_sum,
                                           d.scratch<T>(worker, query::values::room(t)));
  });
}

}  // namespace plumb::inline v0::detail
