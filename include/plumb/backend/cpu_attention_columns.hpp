// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward: queries that meet the same keys, tile by tile, and what they have seen of them so far.
// (Dao 2023, "FlashAttention-2".)
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <plumb/backend/cpu_attention_tiles.hpp>

namespace plumb::inline v0::detail {

/// The columns of a task, see cpu_attention_tiles.hpp. `begin`, then `meet` for each tile in order, then `finish`. Where products
/// round their operands, rounded_attention_columns stands in its place.
template <class Set, class T>
struct attention_columns {
  using set = Set;
  using number = T;
  using job_type = attention_job<T>;
  using s = simd<Set, T>;
  using tiles = attention_tiles<Set, T>;
  static constexpr bool prepares = false;  ///< keys and values are read where they lie

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
  query_columns<tiles> now;

  /// Numbers of memory that it needs.
  static index_t room(const tiles& t) {
    return 2 * t.queries() + t.sums() + 2 * t.keys() + t.scores() + (3 + query_columns<tiles>::arrays) * t.stride;
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
        now(t, job.options, kv_head, rows, factors + t.stride, step) {}

  /// Takes the queries of tokens row, row + 1, …, which have seen nothing yet.
  [[gnu::always_inline]] inline void begin(index_t row) const {
    t.copy_queries(job.q, row, rows, kv_head * t.group, static_cast<T>(job.options.scale), as_rows);
    t.transpose_queries(as_rows, columns, queries);
    std::fill_n(sums, up_to(columns, tiles::most) * t.padded, T(0));
    std::fill_n(totals, t.stride, T(0));
    std::fill_n(highest, t.stride, -std::numeric_limits<T>::infinity());
  }
  /// In place of `begin`, for one row: takes up what row i of `all`, of token `row`, has seen.
  [[gnu::always_inline]] inline void go_on_from(const attention_columns& all, index_t i, index_t row) const {
    begin(row);
    for (index_t g = 0; g < t.group; ++g) {
      const index_t c = g * all.rows + i;
      totals[g] = all.totals[c], highest[g] = all.highest[c];
      std::memcpy(sums + g * t.padded, all.sums + c * t.padded, sizeof(T) * static_cast<std::size_t>(t.padded));
    }
  }
  /// The same for a query that goes on elsewhere: of each head of the group the highest score, Σ p and Σ p v [group, stride].
  [[gnu::always_inline]] inline void state_of(index_t i, T* highest_of, T* totals_of, T* sums_of,
                                              index_t stride) const {
    for (index_t g = 0; g < t.group; ++g) {
      const index_t c = g * rows + i;
      totals_of[g] = totals[c], highest_of[g] = highest[c];
      std::memcpy(sums_of + g * stride, sums + c * t.padded, sizeof(T) * static_cast<std::size_t>(t.width));
    }
  }
  /// The keys of positions [tile, tile + count) of the segment's path; the first query stands at `position`.
  [[gnu::always_inline]] inline void meet(const query_segment& segment, index_t position, index_t tile, index_t count) {
    const attention_options& o = job.options;
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys + tile;
    const matrix_rows<T> keys = t.rows_of(job.k, key_rows, count, kv_head, key_memory);
    const matrix_rows<T> values = t.rows_of(job.v, key_rows, count, kv_head, value_memory);
    now.look_at(o, segment, position, tile, count);
    for (index_t j = 0; j < columns; j += tiles::panel) {
      const index_t seen = now.seen_by(j, j + tiles::panel, count);
      t.multiply_keys(keys, seen, queries, columns, j, weights);
      for (index_t c = j; c < j + t.wide(columns, j); c += s::lanes)
        weigh(c, seen, count, weights + c, highest + c, totals + c, factors + c);
    }
    for (index_t c = 0; c < columns; ++c)
      if (factors[c] != 1)
        for (index_t j = 0; j < t.padded; j += s::lanes) {
          typename s::vector x;
          s::load(x, sums + c * t.padded + j);
          x *= factors[c];
          s::store(sums + c * t.padded + j, x);
        }
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
  /// Scores of a tile become weights, for a vector of columns: the new maximum, what it does to the sums so far, p, Σ p.
  /// Keys from `seen` to `count` are seen by none of them.
  [[gnu::always_inline]] inline void weigh(index_t column, index_t seen, index_t count, T* scores, T* top_before,
                                           T* total_before, T* factor_out) const {
    typename s::vector top, before, total, factor, base, x, zero = {}, none;
    s::spread(none, -std::numeric_limits<T>::infinity());
    s::load(before, top_before);
    top = before;
    now.finish_scores(job.options, column, seen, scores, t.stride, top);
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
