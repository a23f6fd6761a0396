// SPDX-License-Identifier: BSL-1.0
// The products of attention's way back in bfloat16, where the device rounds their operands. Weights and slopes are rounded where
// they are computed, into the orders in which they are multiplied.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_attention_tiles.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

template <class Set>
struct rounded_backward;

#if defined(PLUMB_X86)

/// What a tile of queries and one of keys give each other; the same calls as plain_backward.
template <class Set>
struct rounded_backward {
  using set = Set;
  using number = float;
  using s = simd<Set, float>;
  using tiles = attention_tiles<Set, float, true>;
  using rounded = rounded_tiles<Set>;

  static constexpr index_t across = tiles::query_group;

  const attention_job<float>& job;
  const tiles& t;
  float* dq;                                ///< sums, [padded, across] of each group
  float *scores, *products;                 ///< queries · keys, slopes · values of a group, [keys, across]
  bfloat16_bits *queries, *outputs;         ///< right, [width, columns]
  bfloat16_bits *query_rows, *output_rows;  ///< right, [columns, width]
  bfloat16_bits *keys, *values, *key_rows;  ///< left, [keys, width] twice and [width, keys]
  bfloat16_bits *weights, *slopes;          ///< left, [keys, columns]
  bfloat16_bits* slope_rows;                ///< right, [keys, across]

  static index_t room(const tiles& t) {
    const index_t columns = t.group * t.positions;
    return t.sums() + 2 * t.scores() + 2 * rounded::right_floats(columns, t.width) +
           2 * rounded::right_floats(t.width, columns) + 2 * rounded::left_floats(t.key_tile, t.width) +
           rounded::left_floats(t.width, t.key_tile) + 2 * rounded::left_floats(t.key_tile, columns) +
           rounded::right_floats(across, t.key_tile);
  }
  [[gnu::always_inline]] rounded_backward(const attention_job<float>& the_job, const tiles& the_tiles, float* memory)
      : job(the_job), t(the_tiles), dq(memory), scores(dq + t.sums()), products(scores + t.scores()) {
    const index_t columns = t.group * t.positions;
    auto* at = reinterpret_cast<bfloat16_bits*>(products + t.scores());
    const auto take = [&at](index_t numbers) {
      auto* const taken = at;
      at += numbers;
      return taken;
    };
    queries = take(rounded::right_size(columns, t.width)), outputs = take(rounded::right_size(columns, t.width));
    query_rows = take(rounded::right_size(t.width, columns)), output_rows = take(rounded::right_size(t.width, columns));
    keys = take(rounded::left_size(t.key_tile, t.width)), values = take(rounded::left_size(t.key_tile, t.width));
    key_rows = take(rounded::left_size(t.width, t.key_tile));
    weights = take(rounded::left_size(t.key_tile, columns)), slopes = take(rounded::left_size(t.key_tile, columns));
    slope_rows = take(rounded::right_size(across, t.key_tile));
  }

  [[gnu::always_inline]] inline void begin(const float* q, const float* d, index_t columns) const {
    rounded::right_of_rows(q, t.padded, columns, t.width, queries);
    rounded::right_of_rows(d, t.padded, columns, t.width, outputs);
    rounded::right_of_columns(q, t.padded, t.width, columns, query_rows);
    rounded::right_of_columns(d, t.padded, t.width, columns, output_rows);
    std::fill_n(dq, up_to(columns, across) * t.padded, 0.0F);
  }
  [[gnu::always_inline]] inline void meet(const query_columns<tiles>& now, matrix_rows<float> k, matrix_rows<float> v,
                                          index_t count, const float* log_sums, const float* through, const float*,
                                          const float*, float* dk, float* dv) const {
    const index_t columns = now.columns, most = now.seen_by(0, columns, count);
    rounded::left_of_rows(k, most, t.width, keys);
    rounded::left_of_rows(v, most, t.width, values);
    rounded::left_of_columns(k, t.width, most, most, key_rows);
    rounded::begin(job.unit);
    for (index_t j = 0; j < columns; j += across) {
      const index_t seen = now.seen_by(j, j + across, count), whole = up_to(seen, band_rows);
      const index_t wide = up_to(std::min(across, columns - j), s::lanes), right = rounded::right_size(j, t.width);
      rounded::multiply(job.unit, whole, wide, t.width, keys, t.width, queries + right, t.width, scores, across, false);
      rounded::multiply(job.unit, whole, wide, t.width, values, t.width, outputs + right, t.width, products, across,
                        false);
      call_with<Set, slope>(this, &now, j, wide, seen, up_to(most, band_rows), log_sums + j, through + j);
      rounded::multiply(job.unit, t.padded, wide, seen, key_rows, most, slope_rows, seen, dq + j * t.padded, across,
                        true);
    }
    rounded::multiply(job.unit, up_to(most, band_rows), t.padded, columns, slopes, columns, query_rows, columns, dk,
                      t.padded, true);
    rounded::multiply(job.unit, up_to(most, band_rows), t.padded, columns, weights, columns, output_rows, columns, dv,
                      t.padded, true);
    rounded::end(job.unit);
  }
  [[gnu::always_inline]] inline const float* finish(index_t columns, float* to) const {
    for (index_t j = 0; j < columns; j += s::lanes)
      for (index_t w = 0; w < t.padded; w += s::lanes)
        square_block<s>::transpose(dq + j / across * across * t.padded + w * across + j % across, across,
                                   to + j * t.padded + w, t.padded, std::min<index_t>(s::lanes, columns - j));
    return to;
  }

 private:
  /// Scores become weights, and d · v their slopes, for a group of columns. Rows from `seen` on become zeros: of bands up to `whole`, of strips to the end of a chunk.
  struct slope {
    using vector = typename s::vector;

    template <class S>
    [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void run(
        const rounded_backward* all, const query_columns<tiles>* now, index_t group, index_t wide, index_t seen,
        index_t whole, const float* log_sums, const float* through) {
      if (now->keeps_scores(all->job.options))
        of_rows<true>(*all, *now, group, wide, seen, whole, log_sums, through);
      else
        of_rows<false>(*all, *now, group, wide, seen, whole, log_sums, through);
    }

   private:
    template <bool Plain>
    [[gnu::always_inline, gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] static inline void of_rows(
        const rounded_backward& all, const query_columns<tiles>& now, index_t group, index_t wide, index_t seen,
        index_t whole, const float* log_sums, const float* through) {
      const index_t depth = up_to(seen, bfloat16_chunk), pitch = up_to(now.columns, bfloat16_chunk);
      const bool both = wide > s::lanes;
      vector log_sum[2] = {}, out[2] = {};
      for (index_t h = 0; h < (both ? 2 : 1); ++h)
        s::load(log_sum[h], log_sums + h * s::lanes), s::load(out[h], through + h * s::lanes);
      for (index_t r = 0; r < std::max(depth, whole); r += 2) {
        vector weight[2][2] = {}, slope_of[2][2] = {};
        for (index_t i = 0; i < 2; ++i)
          for (index_t h = 0; h < 2; ++h)
            if (r + i < seen && (h == 0 || both))
              p<Plain>(all, now, r + i, group, h * s::lanes, log_sum[h], out[h], weight[i][h], slope_of[i][h]);
        for (index_t i = 0; i < 2; ++i) {
          const index_t row = r + i;
          const index_t at = row / band_rows * band_rows * pitch + group * band_rows + row % band_rows * bfloat16_chunk;
          bfloat16_vectors::round(all.weights + at, weight[i][0], weight[i][1]);
          bfloat16_vectors::round(all.slopes + at, slope_of[i][0], slope_of[i][1]);
        }
        if (r >= depth) continue;
        for (index_t h = 0; h < 2; ++h)
          bfloat16_vectors::round_pairs(all.slope_rows + (h * depth + r) * strip_columns, slope_of[0][h],
                                        slope_of[1][h]);
      }
    }
    template <bool Plain>
    [[gnu::always_inline]] static inline void p(const rounded_backward& all, const query_columns<tiles>& now,
                                                index_t row, index_t group, index_t column, const vector& log_sum,
                                                const vector& out, vector& weight, vector& slope_of) {
      s::load(weight, all.scores + row * across + column);
      s::load(slope_of, all.products + row * across + column);
      now.turn_back(all.job.options, Plain, row, group + column, log_sum, out, weight, slope_of);
    }
  };
};

#endif

}  // namespace plumb::inline v0::detail
