// SPDX-License-Identifier: BSL-1.0
// Attention of a single query on the cpu: what it finds in a tile of keys. Decoding one reply has two rounds of tasks: first scores,
// tiles of keys apart, then what the query gathers of the values, parts of the width apart, so that few heads of keys keep all
// threads busy. Samples of a prompt go on this way when they have met the keys that they share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include <plumb/backend/cpu_attention_slots.hpp>
#include <plumb/backend/cpu_device.hpp>

namespace plumb::inline v0::detail {

/// A query whose heads share heads of keys in groups of `Slot` at most, and one such group. All numbers are those that
/// attention_columns computes, to the bit.
template <class Set, class T, index_t Slot>
struct single_query {
  using number = T;
  using job_type = attention_job<T>;
  using s = simd<Set, T>;
  using slots = key_slots<Set, T, Slot>;
  using tiles = attention_tiles<Set, T>;
  static constexpr index_t key_tile = tiles::key_tile, lanes = s::lanes, part = tiles::panel;
  static_assert(key_tile % slots::keys == 0);
  /// Numbers of a tile's scores, or weights, which kernels read in whole tiles of rows.
  static constexpr index_t tile_scores = key_tile * Slot + Set::tile_rows;

  const attention_job<T>& job;
  tiles t;
  query_segment segment;
  index_t kv_head, columns, keys;

  /// Can it serve these? What every query sees must not depend on where it stands.
  static bool serves(const attention_job<T>& job) {
    const attention_options& o = job.options;
    return !(o.cap > 0) && !(o.alibi > 0) && o.heads / o.kv_heads <= Slot;
  }
  static index_t query_room(const tiles& t) { return t.padded * lanes; }
  static index_t sums_room(const tiles& t) { return up_to(t.group, Set::tile_rows) * sums_stride(t); }
  static index_t sums_stride(const tiles& t) { return up_to(t.padded, part); }

  [[gnu::always_inline]] single_query(const attention_job<T>& the_job, index_t segment_number, index_t the_kv_head)
      : job(the_job),
        t(the_job.options),
        segment(the_job.plan.segments[segment_number]),
        kv_head(the_kv_head),
        columns(t.group),
        keys(index_t{segment.first_position} + 1) {}

  /// The queries of the group times the scale as slot_scores wants them: [padded, lanes].
  [[gnu::always_inline]] inline void repeat_queries(T* to) const {
    const T* const from = job.q.row(segment.first_row) + kv_head * columns * t.width;
    const auto scale = static_cast<T>(job.options.scale);
    std::fill_n(to, t.padded * lanes, T(0));
    for (index_t c = 0; c < columns; ++c)
      for (index_t k = 0; k < t.width; ++k) to[k * lanes + c] = from[c * t.width + k] * scale;
    for (index_t k = 0; k < t.width; ++k)
      for (index_t i = Slot; i < lanes; i += Slot) std::memcpy(to + k * lanes + i, to + k * lanes, sizeof(T) * Slot);
  }
  /// to[keys of the tile, Slot] = scores. Asks for its values, or for the keys of the next tile. `memory`: room for a tile's rows.
  [[gnu::always_inline]] inline void score(index_t tile, const T* queries, bool ask_for_values, T* memory,
                                           T* to) const {
    constexpr int groups = Set::tile_rows > 8 ? 7 : 4;  // vectors of scores that stay in registers
    for_keys_of_tile<slots::keys, groups, key_tile>(
        rows(job.k, tile), keys_of(tile), t.width, t.padded, ask_for_values ? rows(job.v, tile).row(0) : nullptr,
        memory,
        [&]<int Groups>(std::integral_constant<int, Groups>, index_t r, const T* from, index_t stride, const T* ask) {
          call_with<Set, slot_scores<slots, Groups>>(t.padded, from, stride, ask, queries, to + r * Slot);
        });
  }
  /// sums[columns, sums_stride] += weights · values, for numbers [first, last) of the width; weights[keys of the tile, Slot].
  [[gnu::always_inline]] inline void gather(index_t tile, T* weights, index_t first, index_t last, T* memory,
                                            T* sums) const {
    const index_t count = keys_of(tile);
    const matrix_rows<T> v = rows(job.v, tile);
    const T* from = v.row(0);
    index_t stride = t.width == t.padded ? equal_distance(v, count) : 0;
    if (stride == 0) {
      copy_rows(v, count, t.width, t.padded, count, memory);
      from = memory, stride = t.padded;
    }
    for (index_t c = 0; c < columns; c += Set::tile_rows)
      for (index_t j = first; j < last; j += part)
        multiply_tile<Set, T, left_order::columns>(std::min<index_t>(Set::tile_rows, columns - c),
                                                   std::min(part, last - j), count, weights + c, Slot, from + j, stride,
                                                   sums + c * sums_stride(t) + j, sums_stride(t), true);
  }
  /// Writes numbers [first, last) of each head.
  [[gnu::always_inline]] inline void finish(const slot_softmax<slots>& softmax, const T* sums, index_t first,
                                            index_t last, T* out, T* log_sum) const {
    for (index_t c = 0; c < columns; ++c) {
      const index_t head = segment.first_row * job.options.heads + kv_head * columns + c;
      const T total = softmax.totals[c];
      if (first == 0) log_sum[head] = softmax.highest[c] + std::log(total);
      for (index_t j = first; j < last; j += lanes) {
        typename s::vector x;
        s::load(x, sums + c * sums_stride(t) + j);
        x = x / total + T(0);  // + 0: as in attention_columns
        s::store_some(out + head * t.width + j, x, last - j);
      }
    }
  }
  /// What is gathered so far times the softmax's factors.
  [[gnu::always_inline]] inline void scale(const slot_softmax<slots>& softmax, index_t first, index_t last,
                                           T* sums) const {
    for (index_t c = 0; c < columns; ++c) {
      if (softmax.factors[c] == 1) continue;
      for (index_t j = first; j < last; j += lanes) {
        typename s::vector x;
        s::load(x, sums + c * sums_stride(t) + j);
        x *= softmax.factors[c];
        s::store(sums + c * sums_stride(t) + j, x);
      }
    }
  }
  [[nodiscard]] index_t keys_of(index_t tile) const { return std::min(key_tile, keys - tile * key_tile); }
  /// Keys or values of a tile.
  [[nodiscard]] [[gnu::always_inline]] inline matrix_rows<T> rows(view<const T> from, index_t tile) const {
    return {from.data + kv_head * t.width, from.columns, job.plan.key_rows + segment.keys + tile * key_tile};
  }
};

/// One task of the first round: scores of tiles [first, last).
template <class Query>
struct single_scores {
  using T = typename Query::number;
  static index_t room(const typename Query::tiles& t) { return Query::query_room(t) + t.keys(); }

  template <class Set>
  [[gnu::always_inline]] static inline void run(const typename Query::job_type* job, index_t kv_head, index_t first,
                                                index_t last, T* out, T* memory) {
    const Query q(*job, 0, kv_head);
    q.repeat_queries(memory);
    for (index_t tile = first; tile < last; ++tile)
      q.score(tile, memory, false, memory + Query::query_room(q.t), out + tile * Query::tile_scores);
  }
};

/// One task of the second: numbers [first, last) of each head of what the query gathers, from the scores of all tiles.
template <class Query>
struct single_values {
  using T = typename Query::number;
  static index_t room(const typename Query::tiles& t) { return Query::sums_room(t) + t.keys() + Query::tile_scores; }

  template <class Set>
  [[gnu::always_inline]] static inline void run(const typename Query::job_type* job, index_t kv_head, index_t first,
                                                index_t last, const T* scores, T* out, T* log_sum, T* memory) {
    const Query q(*job, 0, kv_head);
    T *const sums = memory, *const copies = sums + Query::sums_room(q.t), *const weights = copies + q.t.keys();
    std::fill_n(sums, Query::sums_room(q.t), T(0));
    slot_softmax<typename Query::slots> softmax;
    for (index_t tile = 0; tile * Query::key_tile < q.keys; ++tile) {
      softmax.weigh(scores + tile * Query::tile_scores, q.keys_of(tile), weights);
      q.scale(softmax, first, last, sums);
      q.gather(tile, weights, first, last, copies, sums);
    }
    q.finish(softmax, sums, first, last, out, log_sum);
  }
};

/// The last tiles of a query, from number `tile` on, that goes on alone: from the state of `all`, whose query number i it was.
template <class Query, class Columns>
struct single_rest {
  using T = typename Query::number;
  static index_t room(const typename Query::tiles& t) {
    return Query::query_room(t) + Query::sums_room(t) + t.keys() + 2 * Query::tile_scores;
  }
  template <class Set>
  [[gnu::always_inline]] static inline void run(const Columns* all, index_t i, index_t segment, index_t tile, T* out,
                                                T* log_sum, T* memory) {
    const Query q(all->job, segment, all->kv_head);
    T *const queries = memory, *const sums = queries + Query::query_room(q.t),
             *const copies = sums + Query::sums_room(q.t), *const scores = copies + q.t.keys(),
             *const weights = scores + Query::tile_scores;
    T highest[Query::slots::lanes], totals[Query::slots::lanes];
    q.repeat_queries(queries);
    std::fill_n(sums, Query::sums_room(q.t), T(0));
    all->state_of(i, static_cast<T*>(highest), static_cast<T*>(totals), sums, Query::sums_stride(q.t));
    slot_softmax<typename Query::slots> softmax(static_cast<const T*>(highest), static_cast<const T*>(totals),
                                                q.columns);
    for (const index_t first = tile; tile * Query::key_tile < q.keys; ++tile) {
      q.score(tile, queries, tile == first, copies, scores);
      softmax.weigh(scores, q.keys_of(tile), weights);
      q.scale(softmax, 0, q.t.width, sums);
      q.gather(tile, weights, 0, q.t.width, copies, sums);
    }
    q.finish(softmax, sums, 0, q.t.width, out, log_sum);
  }
};

/// Is there one query, which sees all keys? Then `attention_of_single` serves it.
inline bool is_single(const attention_plan& plan, const attention_options& o) {
  return plan.segment_count == 1 && plan.segments[0].length == 1 && first_seen(o, plan.segments[0].first_position) == 0;
}

/// Both rounds.
template <class Set, class Query, class T>
void attention_of_single(cpu_device& d, const typename Query::job_type& job, T* out, T* log_sum) {
  constexpr index_t tiles_of_task = 5;
  const typename Query::tiles t(job.options);
  const index_t kv_heads = job.options.kv_heads, width = job.options.head_width;
  const index_t tiles = job.plan.segments[0].first_position / Query::key_tile + 1;
  const index_t pieces = (tiles + tiles_of_task - 1) / tiles_of_task, parts = (width + Query::part - 1) / Query::part;
  T* const scores = d.shared_scratch<T>(kv_heads * tiles * Query::tile_scores);
  const auto of_head = [&](index_t kv_head) { return scores + kv_head * tiles * Query::tile_scores; };

  d.run(kv_heads * pieces, [&](index_t task, int worker) {
    const index_t kv_head = task / pieces, first = task % pieces * tiles_of_task;
    call_with<Set, single_scores<Query>>(&job, kv_head, first, std::min(first + tiles_of_task, tiles), of_head(kv_head),
                                         d.scratch<T>(worker, single_scores<Query>::room(t)));
  });
  d.run(kv_heads * parts, [&](index_t task, int worker) {
    const index_t kv_head = task / parts, first = task % parts * Query::part;
    call_with<Set, single_values<Query>>(&job, kv_head, first, std::min(first + Query::part, width),
                                         static_cast<const T*>(of_head(kv_head)), out, log_sum,
                                         d.scratch<T>(worker, single_values<Query>::room(t)));
  });
}

}  // namespace plumb::inline v0::detail
