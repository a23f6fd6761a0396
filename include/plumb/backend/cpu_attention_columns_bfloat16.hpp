// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward, where products round their operands to bfloat16: the counterpart of cpu_attention_columns.hpp.
//
// Weights are rounded where they are computed, into the order in which they are multiplied: they are the right operand of
// sums[width, queries] += valuesᵀ · weights. So a vector holds as many queries here, too, and what a new maximum does to the sums so
// far is a product of vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <plumb/backend/cpu_attention_tiles.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

template <class Set, class Key = float>
struct rounded_attention_columns;

#if defined(PLUMB_X86)

/// The columns of a task; the same calls as attention_columns. They meet a tile of keys in groups of `across`, from the product of
/// scores to that of values, so that what they work on stays in the nearest cache. `Key`: what keys and values are kept as, float or
/// bfloat16.
template <class Set, class Key>
struct rounded_attention_columns {
  using set = Set;
  using number = float;
  using job_type = attention_job<float, Key>;
  using s = simd<Set, float>;
  using tiles = attention_tiles<Set, float, true>;
  using rounded = rounded_tiles<Set>;
  static constexpr index_t across = tiles::query_group;
  static constexpr bool prepares = true;  ///< tiles of keys can be rounded for several tasks

  const job_type& job;
  const tiles& t;
  index_t kv_head, rows, columns;
  float* as_rows;  ///< Q times the scale
  float* sums;     ///< Σ p v, [padded, across] of each group, with p = e^(score − highest)
  float* scores;   ///< of a tile and a group, [keys, across]
  float* totals;   ///< Σ p
  float* highest;  ///< of the scores so far
  query_columns<tiles> now;
  bfloat16_bits* queries;  ///< right, [width, columns]
  bfloat16_bits* keys;     ///< a prepared tile: left [keys, width] and, for values, left [width, keys]
  bfloat16_bits* weights;  ///< right, [keys, across]

  /// Numbers of memory that it needs.
  static index_t room(const tiles& t) {
    return t.queries() + t.sums() + t.scores() + (2 + query_columns<tiles>::arrays) * t.stride +
           rounded::right_floats(t.group * t.positions, t.width) + prepared_size(t) / 2 +
           rounded::right_floats(across, t.key_tile);
  }
  /// `step`: how far the position of a row lies from that of the row before.
  [[gnu::always_inline]] rounded_attention_columns(const job_type& the_job, const tiles& the_tiles, index_t the_kv_head,
                                                   index_t the_rows, index_t step, float* memory)
      : job(the_job),
        t(the_tiles),
        kv_head(the_kv_head),
        rows(the_rows),
        columns(t.group * the_rows),
        as_rows(memory),
        sums(as_rows + t.queries()),
        scores(sums + t.sums()),
        totals(scores + t.scores()),
        highest(totals + t.stride),
        now(t, job.options, kv_head, rows, highest + t.stride, step) {
    queries = reinterpret_cast<bfloat16_bits*>(highest + (1 + query_columns<tiles>::arrays) * t.stride);
    keys = queries + rounded::right_size(t.group * t.positions, t.width);
    weights = keys + prepared_size(t);
  }

  [[gnu::always_inline]] inline void begin(index_t row) const {
    t.copy_queries(job.q, row, rows, kv_head * t.group, static_cast<float>(job.options.scale), as_rows);
    rounded::right_of_rows(as_rows, t.padded, columns, t.width, queries);
    std::fill_n(sums, up_to(columns, across) * t.padded, 0.0F);
    std::fill_n(totals, up_to(columns, across), 0.0F);
    std::fill_n(highest, up_to(columns, across), -std::numeric_limits<float>::infinity());
  }
  [[gnu::always_inline]] inline void go_on_from(const rounded_attention_columns& all, index_t i, index_t row) const {
    if (i == 0) begin(row);  // later rows find zeros beyond the columns, or what became of them
    for (index_t g = 0; g < t.group; ++g) {
      const index_t c = g * all.rows + i;
      totals[g] = all.totals[c], highest[g] = all.highest[c];
      for (index_t k = 0; k < t.width; k += 2) {  // pairs of a strip
        const auto pair = [&](index_t column) {
          return rounded::right_size(column / strip_columns * strip_columns, t.width) + k * strip_columns +
                 2 * (column % strip_columns);
        };
        std::memcpy(queries + pair(g), all.queries + pair(c), 2 * sizeof(bfloat16_bits));
      }
      float* const to = sums_of(g);
      const float* const from = all.sums_of(c);
      for (index_t w = 0; w < t.width; ++w) to[w * across] = from[w * across];
    }
  }
  [[gnu::always_inline]] inline void state_of(index_t i, float* highest_of, float* totals_of, float* to,
                                              index_t stride) const {
    for (index_t g = 0; g < t.group; ++g) {
      const index_t c = g * rows + i;
      totals_of[g] = totals[c], highest_of[g] = highest[c];
      for (index_t w = 0; w < t.width; ++w) to[g * stride + w] = sums_of(c)[w * across];
    }
  }
  [[gnu::always_inline]] inline void meet(const query_segment& segment, index_t position, index_t tile, index_t count) {
    now.look_at(job.options, segment, position, tile, count);
    const index_t most = now.seen_by(0, columns, count);
    prepare(job, t, kv_head, segment, tile, most, keys);
    meet_prepared(count, most, keys);
  }
  /// The same with a whole tile that was prepared before.
  [[gnu::always_inline]] inline void meet(const query_segment& segment, index_t position, index_t tile,
                                          const bfloat16_bits* prepared) {
    now.look_at(job.options, segment, position, tile, t.key_tile);
    meet_prepared(t.key_tile, t.key_tile, prepared);
  }

  /// Numbers of a prepared tile: keys, then values.
  static index_t prepared_size(const tiles& t) {
    return rounded::left_size(t.key_tile, t.width) + rounded::left_size(t.width, t.key_tile);
  }
  /// Rounds keys and values of positions [tile, tile + count) of the segment's path.
  [[gnu::always_inline]] static inline void prepare(const job_type& job, const tiles& t, index_t kv_head,
                                                    const query_segment& segment, index_t tile, index_t count,
                                                    bfloat16_bits* to) {
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys + tile;
    const matrix_rows<Key> keys{job.k.data + kv_head * t.width, job.k.columns, key_rows},
        values{job.v.data + kv_head * t.width, job.v.columns, key_rows};
    ask(keys, 0, std::min(band_rows, count), t.width);
    for (index_t r = 0; r < count; r += band_rows) {  // memory is read while the rows before are rounded
      if (r + band_rows < count)
        ask(keys, r + band_rows, std::min(r + 2 * band_rows, count), t.width);
      else
        ask(values, 0, std::min(bfloat16_chunk, count), t.width);
      rounded::left_of_rows(keys.from(r), std::min(band_rows, count - r), t.width, to + rounded::left_size(r, t.width));
    }
    to += rounded::left_size(t.key_tile, t.width);
    for (index_t k = 0; k < count; k += bfloat16_chunk) {
      ask(values, k + bfloat16_chunk, std::min(k + 2 * bfloat16_chunk, count), t.width);
      rounded::left_of_columns(values.from(k), t.width, std::min(bfloat16_chunk, count - k), count, to + k * band_rows);
    }
  }
  [[gnu::always_inline]] inline void finish(index_t row, float* out, float* log_sum) const {
    const index_t heads = job.options.heads;
    for (index_t j = 0; j < columns; j += s::lanes) {
      typename s::vector share;
      s::load(share, totals + j);
      share = 1 / share;
      for (index_t w = 0; w < t.padded; w += s::lanes) {
        alignas(64) float staged[s::lanes * s::lanes], turned[s::lanes * s::lanes];
        for (index_t i = 0; i < s::lanes; ++i) {
          typename s::vector x;
          s::load(x, sums_of(j) + (w + i) * across);
          x = x * share + 0.0F;  // + 0: a zero has one sign, whichever tiles were skipped
          s::store(staged + i * s::lanes, x);
        }
        square_block<s>::transpose(staged, s::lanes, turned, s::lanes, s::lanes);
        for (index_t c = j; c < std::min(j + s::lanes, columns); ++c) {
          typename s::vector x;
          s::load(x, turned + (c - j) * s::lanes);
          s::store_some(out + (token_of(row, c) * heads + head_of(c)) * t.width + w, x, t.width - w);
        }
      }
    }
    for (index_t c = 0; c < columns; ++c)
      log_sum[token_of(row, c) * heads + head_of(c)] = highest[c] + std::log(totals[c]);
  }

 private:
  [[gnu::always_inline]] inline void meet_prepared(index_t count, index_t most, const bfloat16_bits* prepared) const {
    const bfloat16_bits* const values = prepared + rounded::left_size(t.key_tile, t.width);
    rounded::begin(job.unit);
    for (index_t j = 0; j < columns; j += across) {
      const index_t seen = now.seen_by(j, j + across, count), wide = up_to(std::min(across, columns - j), s::lanes);
      if (seen == 0) continue;
      rounded::multiply(job.unit, up_to(seen, band_rows), wide, t.width, prepared, t.width,
                        queries + rounded::right_size(j, t.width), t.width, scores, across, false);
      call_with<Set, weigh>(static_cast<const rounded_attention_columns*>(this), j, wide, seen);
      rounded::multiply(job.unit, t.padded, wide, seen, values, most, weights, seen, sums_of(j), across, true);
    }
    rounded::end(job.unit);
  }
  /// Asks memory for rows [first, last).
  [[gnu::always_inline]] static inline void ask(const matrix_rows<Key>& rows, index_t first, index_t last,
                                                index_t width) {
    constexpr index_t line = 64 / sizeof(Key);
    for (index_t r = first; r < last; ++r)
      for (index_t c = 0; c < width; c += line) __builtin_prefetch(rows.row(r) + c);
  }
  /// The sums of a column; those of others of its group lie beside them.
  [[nodiscard]] float* sums_of(index_t column) const {
    return sums + column / across * across * t.padded + column % across;
  }
  [[nodiscard]] index_t token_of(index_t row, index_t column) const { return row + column % rows; }
  [[nodiscard]] index_t head_of(index_t column) const { return kv_head * t.group + column / rows; }

  /// Scores of a tile become weights, for a group of columns: the new maximum, what it does to the sums so far, p, Σ p. Keys from
  /// `seen` on are seen by none of them.
  struct weigh {
    using vector = typename s::vector;

    template <class S>
    [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
        const rounded_attention_columns* all, index_t group, index_t wide, index_t seen) {
      const index_t depth = up_to(seen, bfloat16_chunk);
      for (index_t j = 0; j < wide; j += s::lanes) {
        float *const scores = all->scores + j, *const sums = all->sums_of(group + j);
        vector before, top, base, factor, total, x, y, zero = {}, one, none;
        s::spread(one, 1);
        s::spread(none, -std::numeric_limits<float>::infinity());
        s::load(before, all->highest + group + j);
        top = before;
        all->now.finish_scores(all->job.options, group + j, seen, scores, across, top);
        base = top > none ? top : zero;  // nothing may have been seen yet
        factor = before - base;
        s::exp_of_negative(factor);
        s::load(total, all->totals + group + j);
        total *= factor;
        bfloat16_bits* const to = all->weights + j * depth;
        for (index_t r = 0; r < depth; r += 2) {
          x = zero, y = zero;
          if (r < seen) p(scores + r * across, base, x, total);
          if (r + 1 < seen) p(scores + (r + 1) * across, base, y, total);
          bfloat16_vectors::round_pairs(to + r * strip_columns, x, y);
        }
        s::store(all->highest + group + j, top);
        s::store(all->totals + group + j, total);
        if (s::largest(factor == one ? zero : one) == 0) continue;  // all are 1, and none is no number
        for (index_t w = 0; w < all->t.padded; ++w) {
          s::load(x, sums + w * across);
          x *= factor;
          s::store(sums + w * across, x);
        }
      }
    }

   private:
    [[gnu::always_inline]] static inline void p(const float* from, const vector& base, vector& x, vector& total) {
      s::load(x, from);
      x -= base;
      s::exp_of_negative(x);
      total += x;
    }
  };
};

#endif

}  // namespace plumb::inline v0::detail
