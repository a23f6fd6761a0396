// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward: queries that meet the same keys, tile by tile, and what they have seen of them so far.
// (Dao 2023, "FlashAttention-2".)
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <plumb/backend/cpu_attention_tiles.hpp>

namespace plumb::inline v0::detail {

/// The columns of a task, see cpu_attention_tiles.hpp. `begin`, then `meet` for each tile in order, then `finish`.
template <class Set, class T>
struct attention_columns {
  using s = simd<Set, T>;
  using tiles = attention_tiles<Set, T>;

  const attention_job<T>& job;
  const tiles& t;
  index_t kv_head, rows, columns;
  T *as_rows, *queries;  ///< Q and Qᵀ times the scale, the latter in panels [width, panel]
  T* sums;               ///< Σ p v [columns, padded], with p = e^(score − highest)
  T* weights;            ///< the scores of a tile, then p: [keys, columns]
  T *key_memory, *value_memory;
  T* totals;   ///< Σ p
  T* highest;  ///< of the scores so far
  T* factors;  ///< what the sums so far are multiplied with
  T* rounded;  ///< operands in bfloat16
  query_columns<Set, T> now;

  /// Numbers of memory that it needs.
  static index_t room(const tiles& t) {
    const index_t columns = t.group * t.positions;
    return 2 * t.queries() + t.sums() + 2 * t.keys() + t.scores() + (3 + query_columns<Set, T>::arrays) * t.stride +
           (t.rounds() ? t.left(t.key_tile, t.width) + t.right(columns, t.width) + t.left(columns, t.key_tile) +
                             t.right(t.width, t.key_tile)
                       : 0);
  }
  /// `step`: how far the position of a row lies from that of the row before.
  [[gnu::always_inline]] attention_columns(const attention_job<T>& the_job, const tiles& the_tiles, index_t the_kv_head,
                                           index_t the_rows, index_t step, T* memory)
      : job(the_job),
        t(the_tiles),
        kv_head(the_kv_head),
        rows(the_rows),
        columns(t.group * the_rows),
        as_rows(memory),
        queries(as_rows + t.queries()),
        sums(queries + t.queries()),
        weights(sums + t.sums()),
        key_memory(weights + t.scores()),
        value_memory(key_memory + t.keys()),
        totals(value_memory + t.keys()),
        highest(totals + t.stride),
        factors(highest + t.stride),
        rounded(factors + (1 + query_columns<Set, T>::arrays) * t.stride),
        now(t, job, kv_head, rows, factors + t.stride, step) {}

  /// Takes the queries of tokens row, row + 1, …, which have seen nothing yet.
  [[gnu::always_inline]] inline void begin(index_t row) const {
    t.copy_queries(job.q, row, rows, kv_head * t.group, static_cast<T>(job.options.scale), as_rows);
    if (t.rounds())
      round_queries();
    else
      t.transpose_queries(as_rows, columns, queries);
    std::fill_n(sums, up_to(columns, tiles::most) * t.padded, T(0));
    std::fill_n(totals, t.stride, T(0));
    std::fill_n(highest, t.stride, -std::numeric_limits<T>::infinity());
  }
  /// Asks memory for keys and values of positions [tile, end) of the segment's path, one tile at most: with few queries they
  /// are waited for longer than they are computed with.
  [[gnu::always_inline]] inline void ask_for(const query_segment& segment, index_t tile, index_t end) const {
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
    const index_t line = 64 / static_cast<index_t>(sizeof(T)), first = kv_head * t.width;
    for (index_t r = tile; r < std::min(end, tile + tiles::key_tile); ++r)
      for (index_t c = first; c < first + t.width; c += line) {
        __builtin_prefetch(job.k.row(key_rows[r]) + c, 0, 2);
        __builtin_prefetch(job.v.row(key_rows[r]) + c, 0, 2);
      }
  }
  /// The keys of positions [tile, tile + count) of the segment's path; the first query stands at `position`.
  [[gnu::always_inline]] inline void meet(const query_segment& segment, index_t position, index_t tile, index_t count) {
    const attention_options& o = job.options;
    const bool falls = o.alibi > 0;
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys + tile;
    const attention_rows<T> keys = t.rows_of(job.k, key_rows, count, kv_head, key_memory);
    const attention_rows<T> values = t.rows_of(job.v, key_rows, count, kv_head, value_memory);
    now.look_at(o, segment, position, tile, count);
    if (t.rounds()) score_rounded(keys, now.seen_by(0, columns, count));
    for (index_t j = 0; j < columns; j += tiles::panel) {
      const index_t seen = now.seen_by(j, j + tiles::panel, count);
      if (!t.rounds()) t.multiply_keys(keys, seen, queries, columns, j, weights);
      for (index_t c = j; c < j + t.wide(columns, j); c += s::lanes)
        weigh(static_cast<T>(o.cap), falls, c, seen, count, weights + c, highest + c, totals + c, factors + c);
    }
    for (index_t c = 0; c < columns; ++c)
      if (factors[c] != 1)
        for (index_t j = 0; j < t.padded; j += s::lanes) {
          typename s::vector x;
          s::load(x, sums + c * t.padded + j);
          x *= factors[c];
          s::store(sums + c * t.padded + j, x);
        }
    if (t.rounds()) return gather_rounded(values, count);
    for (index_t c = 0; c < columns; c += tiles::most)
      t.template add_product<left_order::columns>(std::min(tiles::most, columns - c),
                                                  now.seen_by(c, c + tiles::most, count), weights + c, values,
                                                  sums + c * t.padded);
  }
  /// Writes what tokens row, row + 1, … have gathered.
  [[gnu::always_inline]] inline void finish(index_t row, T* out, T* log_sum) const {
    const index_t heads = job.options.heads;
    for (index_t c = 0; c < columns; ++c) {
      const index_t token = row + c % rows, head = kv_head * t.group + c / rows;
      log_sum[token * heads + head] = highest[c] + std::log(totals[c]);
      T* const to = out + (token * heads + head) * t.width;
      for (index_t j = 0; j < t.padded; j += s::lanes) {
        typename s::vector x;
        s::load(x, sums + c * t.padded + j);
        x = x / totals[c] + T(0);  // + 0: a zero has one sign, whichever tiles were skipped
        s::store_some(to + j, x, t.width - j);
      }
    }
  }

 private:
  // Operands in bfloat16, one after the other: keys, queries, weights, values.
  [[nodiscard]] auto* rounded_keys() const { return reinterpret_cast<bfloat16_bits*>(rounded); }
  [[nodiscard]] auto* rounded_queries() const {
    return reinterpret_cast<bfloat16_bits*>(rounded + t.left(tiles::key_tile, t.width));
  }
  [[nodiscard]] auto* rounded_weights() const {
    return rounded_queries() + 2 * t.right(t.group * t.positions, t.width);
  }
  [[nodiscard]] auto* rounded_values() const {
    return rounded_weights() + 2 * t.left(t.group * t.positions, tiles::key_tile);
  }
  [[gnu::always_inline]] inline void round_queries() const {
    if constexpr (tiles::may_round)
      rounded_tiles<Set>::right_of_rows(as_rows, t.padded, columns, t.width, rounded_queries());
  }
  /// weights[0 … end, columns] = keys · queriesᵀ; zeros up to a whole vector of columns.
  [[gnu::always_inline]] inline void score_rounded([[maybe_unused]] attention_rows<T> keys,
                                                   [[maybe_unused]] index_t end) const {
    if constexpr (tiles::may_round) {
      rounded_tiles<Set>::left_of_rows(keys.first, keys.stride, end, t.width, rounded_keys());
      rounded_tiles<Set>::multiply(t.unit, end, up_to(columns, s::lanes), t.width, rounded_keys(), rounded_queries(),
                                   weights, t.stride, false);
    }
  }
  /// sums += weightsᵀ · values
  [[gnu::always_inline]] inline void gather_rounded([[maybe_unused]] attention_rows<T> values,
                                                    [[maybe_unused]] index_t count) const {
    if constexpr (tiles::may_round) {
      rounded_tiles<Set>::left_of_columns(weights, t.stride, columns, count, rounded_weights());
      rounded_tiles<Set>::right_of_columns(values.first, values.stride, t.width, count, rounded_values());
      rounded_tiles<Set>::multiply(t.unit, columns, t.width, count, rounded_weights(), rounded_values(), sums, t.padded,
                                   true);
    }
  }
  /// Scores of a tile become weights, for a vector of columns: the new maximum, what it does to the sums so far, p, Σ p.
  /// Keys from `seen` to `count` are seen by none of them.
  [[gnu::always_inline]] inline void weigh(T cap, bool falls, index_t column, index_t seen, index_t count, T* scores,
                                           T* top_before, T* total_before, T* factor_out) const {
    typename s::vector top, before, total, factor, base, x, zero = {}, none;
    s::spread(none, -std::numeric_limits<T>::infinity());
    s::load(before, top_before);
    top = before;
    if (cap > 0 || falls || now.some_unseen)
      for (index_t r = 0; r < seen; ++r) {
        s::load(x, scores + r * t.stride);
        if (cap > 0) now.bend(cap, x);
        now.place(r, column, falls, x);
        s::store(scores + r * t.stride, x);
        top = x > top ? x : top;
      }
    else
      for (index_t r = 0; r < seen; ++r) {
        s::load(x, scores + r * t.stride);
        top = x > top ? x : top;
      }
    base = top > none ? top : zero;  // nothing may have been seen yet
    factor = before - base;
    s::exp_of_negative(factor);
    s::load(total, total_before);
    total *= factor;
    for (index_t r = 0; r < seen; ++r) {
      s::load(x, scores + r * t.stride);
      x -= base;
      s::exp_of_negative(x);
      total += x;
      s::store(scores + r * t.stride, x);
    }
    for (index_t r = seen; r < count; ++r) s::store(scores + r * t.stride, zero);
    s::store(top_before, top);
    s::store(total_before, total);
    s::store(factor_out, factor);
  }
};

}  // namespace plumb::inline v0::detail
