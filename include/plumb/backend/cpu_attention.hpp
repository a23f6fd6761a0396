// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward: tiles of queries meet tiles of keys, and the softmax is kept up to date tile by tile.
// (Dao 2023, "FlashAttention-2".)
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <plumb/backend/cpu_attention_tiles.hpp>
#include <plumb/backend/cpu_device.hpp>

namespace plumb::inline v0::detail {

/// One task: a tile of queries of one segment, against one head of keys and values.
template <class T>
struct attention_task {
  template <class Set>
  static index_t scratch(const attention_job<T>& job) {
    const attention_tiles<Set, T> t(job.options);
    return 2 * t.queries() + t.sums() + 2 * t.keys() + t.scores() + (3 + query_columns<Set, T>::arrays) * t.stride;
  }

  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* the_job, index_t segment_number,
                                                index_t kv_head, index_t first_query, T* out, T* log_sum, T* memory) {
    using s = simd<Set, T>;
    using tiles = attention_tiles<Set, T>;
    constexpr index_t key_tile = tiles::key_tile, most = tiles::most;
    const attention_job<T>& job = *the_job;
    const attention_options& o = job.options;
    const query_segment segment = job.plan.segments[segment_number];
    const tiles t(o);
    const index_t rows = std::min<index_t>(t.positions, segment.length - first_query), columns = t.group * rows;
    const index_t row = segment.first_row + first_query, position = segment.first_position + first_query;
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
    const bool falls = o.alibi > 0;

    const auto take = [&memory](index_t count) {
      T* const taken = memory;
      memory += count;
      return taken;
    };
    T* const as_rows = take(t.queries());
    T* const queries = take(t.queries());  // Qᵀ times the scale, in panels [width, panel]
    T* const sums = take(t.sums());        // Σ p v [columns, padded], with p = e^(score − highest)
    T* const weights = take(t.scores());   // the scores of a tile, then p: [keys, columns]
    T* const key_memory = take(t.keys());
    T* const value_memory = take(t.keys());
    T* const totals = take(t.stride);   // Σ p
    T* const highest = take(t.stride);  // of the scores so far
    T* const factors = take(t.stride);  // what the sums so far are multiplied with
    query_columns<Set, T> now(t, job, kv_head, rows, memory);

    t.copy_queries(job.q, row, rows, kv_head * t.group, static_cast<T>(o.scale), as_rows);
    t.transpose_queries(as_rows, columns, queries);
    std::fill_n(sums, t.sums(), T(0));
    std::fill_n(totals, t.stride, T(0));
    std::fill_n(highest, t.stride, -std::numeric_limits<T>::infinity());

    const index_t end = last_seen(o, segment, position + rows - 1) + 1;
    const index_t begin = o.window > 0 && position + 1 > o.window ? position + 1 - o.window : 0;
    for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
      const index_t count = std::min(key_tile, end - tile);
      const attention_rows<T> keys = t.rows_of(job.k, key_rows + tile, count, kv_head, key_memory);
      const attention_rows<T> values = t.rows_of(job.v, key_rows + tile, count, kv_head, value_memory);
      now.look_at(o, segment, position, tile, count);
      for (index_t j = 0; j < columns; j += tiles::panel) {
        const index_t seen = now.seen_by(j, j + tiles::panel, count);
        t.multiply_keys(keys, seen, queries, columns, j, weights);
        for (index_t c = j; c < j + t.wide(columns, j); c += s::lanes)
          weigh<Set>(t, now, static_cast<T>(o.cap), falls, c, seen, count, weights + c, highest + c, totals + c,
                     factors + c);
      }
      for (index_t c = 0; c < columns; ++c)
        if (factors[c] != 1)
          for (index_t j = 0; j < t.padded; j += s::lanes) {
            typename s::vector x;
            s::load(x, sums + c * t.padded + j);
            x *= factors[c];
            s::store(sums + c * t.padded + j, x);
          }
      for (index_t c = 0; c < columns; c += most)
        t.template add_product<left_order::columns>(std::min(most, columns - c), now.seen_by(c, c + most, count),
                                                    weights + c, values, sums + c * t.padded);
    }

    for (index_t c = 0; c < columns; ++c) {
      const index_t token = row + c % rows, head = kv_head * t.group + c / rows;
      log_sum[token * o.heads + head] = highest[c] + std::log(totals[c]);
      T* const to = out + (token * o.heads + head) * t.width;
      for (index_t j = 0; j < t.padded; j += s::lanes) {
        typename s::vector x;
        s::load(x, sums + c * t.padded + j);
        x = x / totals[c] + T(0);  // + 0: a zero has one sign, whichever tiles were skipped
        s::store_some(to + j, x, t.width - j);
      }
    }
  }

 private:
  /// Scores of a tile become weights, for a vector of columns: the new maximum, what it does to the sums so far, p, Σ p.
  /// Keys from `seen` to `count` are seen by none of them.
  template <class Set>
  [[gnu::always_inline]] static inline void weigh(const attention_tiles<Set, T>& t, const query_columns<Set, T>& now,
                                                  T cap, bool falls, index_t column, index_t seen, index_t count,
                                                  T* weights, T* highest, T* totals, T* factors) {
    using s = simd<Set, T>;
    typename s::vector top, before, total, factor, base, x, zero = {}, none;
    s::spread(none, -std::numeric_limits<T>::infinity());
    s::load(before, highest);
    top = before;
    if (cap > 0 || falls || now.some_unseen)
      for (index_t r = 0; r < seen; ++r) {
        s::load(x, weights + r * t.stride);
        if (cap > 0) now.bend(cap, x);
        now.place(r, column, falls, x);
        s::store(weights + r * t.stride, x);
        top = x > top ? x : top;
      }
    else
      for (index_t r = 0; r < seen; ++r) {
        s::load(x, weights + r * t.stride);
        top = x > top ? x : top;
      }
    base = top > none ? top : zero;  // nothing may have been seen yet
    factor = before - base;
    s::exp_of_negative(factor);
    s::load(total, totals);
    total *= factor;
    for (index_t r = 0; r < seen; ++r) {
      s::load(x, weights + r * t.stride);
      x -= base;
      s::exp_of_negative(x);
      total += x;
      s::store(weights + r * t.stride, x);
    }
    for (index_t r = seen; r < count; ++r) s::store(weights + r * t.stride, zero);
    s::store(highest, top);
    s::store(totals, total);
    s::store(factors, factor);
  }
};

template <class Set, class T>
void attention_with(cpu_device& d, const attention_job<T>& job, T* out, T* log_sum) {
  const attention_tiles<Set, T> t(job.options);
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  index_t* const first = d.shared_scratch<index_t>(segments + 1);  // the number of tiles before each segment
  first[0] = 0;
  for (index_t i = 0; i < segments; ++i)
    first[i + 1] = first[i] + (job.plan.segments[i].length + t.positions - 1) / t.positions;
  const index_t need = attention_task<T>::template scratch<Set>(job);
  d.run(first[segments] * kv_heads, [&](index_t task, int worker) {
    const index_t tile = task / kv_heads;
    const index_t segment = std::upper_bound(first, first + segments + 1, tile) - first - 1;
    call_with<Set, attention_task<T>>(&job, segment, task % kv_heads, (tile - first[segment]) * t.positions, out,
                                      log_sum, d.scratch<T>(worker, need));
  });
}

template <class T>
void cpu_attention(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                   view<const T> k, view<const T> v, view<T> out, view<T> log_sum) {
  const attention_job<T> job{.plan = plan, .options = o, .q = q, .k = k, .v = v, .out = {}, .log_sum = {}, .d = {}};
  with_set(d.instructions(), [&]<class Set>(Set) { attention_with<Set, T>(d, job, out.data, log_sum.data); });
}

}  // namespace plumb::inline v0::detail
