// SPDX-License-Identifier: BSL-1.0
// Attention over a forest in tiles (Dao et al. 2022): scores exist for one tile of queries and 32 keys at a time, and a
// running maximum and sum make the softmax exact.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::blocks {

/// Keys per tile. Tiles begin at positions 0, 32, 64, … of every path, so a query meets its keys in the same portions
/// whatever else is in the batch, and its result has the same bits.
inline constexpr int attention_keys = 32;

/// The position, on its path, of query row t of segment s.
PLUMB_HD constexpr index_t position_of(const query_segment& s, index_t t) {
  return s.first_position + (t - s.first_row);
}

/// Copies `count` rows of one head, found by `row_at(i)` (negative: none), into lines of Width + 1 numbers.
template <int Threads, int Width, class T, class Rows>
PLUMB_HD void load_head(T (*lines)[Width + 1], int count, int lane, const view<const T>& x, index_t head, index_t width,
                        Rows row_at) {
  for (int e = lane; e < count * Width; e += Threads) {
    const int i = e / Width, j = e % Width;
    const index_t row = j < width ? row_at(i) : -1;
    lines[i][j] = row >= 0 ? x.row(row)[head * width + j] : T(0);
  }
}

/// Block number = tile · heads + head: up to `rows` queries of one head. Lanes form a grid of 16 × 8: a lane scores every
/// eighth key for every sixteenth query, and then adds up every eighth column of the result for the same queries.
/// Width is the head's width rounded up to what is compiled.
template <class T, int Width>
struct attention_tile {
  static constexpr int row_lanes = 16, column_lanes = 8, threads = row_lanes * column_lanes;
  static constexpr int rows_each = sizeof(T) * Width <= 512 ? 4 : 2;
  static constexpr int rows = row_lanes * rows_each;
  static constexpr int keys_each = attention_keys / column_lanes, columns_each = Width / column_lanes;

  struct shared {
    T q[rows][Width + 1];
    T kv[attention_keys][Width + 1];  ///< keys first, then the values of the same positions
    T score[rows][attention_keys + 1];
  };
  struct state {
    T highest[rows_each];            ///< largest score so far
    T shrink[rows_each];             ///< exp(old highest − new highest)
    T total[rows_each];              ///< Σ exp(score − highest)
    T sum[rows_each][columns_each];  ///< Σ exp(score − highest) v
  };

  attention_plan plan;
  attention_options o;
  view<const T> q, k, v;
  view<T> out, log_sum;
  index_t tile_rows;  ///< queries per block, at most `rows`

  [[nodiscard]] index_t tiles() const { return ceil_div(q.rows, tile_rows) * o.heads; }

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared& s, index_t number) const {
    const matrix_place at = place_of(number, o.heads);
    const index_t head = at.column, kv_head = head * o.kv_heads / o.heads;
    const T fall = distance_slope<T>(o, head);
    const index_t begin = at.row * tile_rows, end = begin + tile_rows < q.rows ? begin + tile_rows : q.rows;
    typename Block::template lanes<state> mine;
    block.each([&](int lane) {
      load_head<threads, Width>(s.q, rows, lane, q, head, o.head_width,
                                [&](int i) { return begin + i < end ? begin + i : index_t(-1); });
      for (int i = 0; i < rows_each; ++i) {
        mine[lane].highest[i] = -std::numeric_limits<T>::infinity();
        mine[lane].total[i] = 0;
        for (int j = 0; j < columns_each; ++j) mine[lane].sum[i][j] = 0;
      }
    });
    for (index_t first = begin; first < end;) {  // the queries of one segment after another
      const query_segment segment = plan.segments[plan.row_segment[first]];
      const index_t rest = segment.first_row + segment.length, last = rest < end ? rest : end;
      const index_t final_key = last_seen(o, segment, position_of(segment, last - 1));
      const index_t first_key = first_seen(o, position_of(segment, first));
      for (index_t tile = first_key / attention_keys * attention_keys; tile <= final_key; tile += attention_keys) {
        const auto key_row = [&](int i) {
          return tile + i <= final_key ? static_cast<index_t>(plan.key_rows[segment.keys + tile + i]) : index_t(-1);
        };
        block.each([&](int lane) {
          load_head<threads, Width>(s.kv, attention_keys, lane, k, kv_head, o.head_width, key_row);
        });
        block.each([&](int lane) { score_keys(s, lane, segment, begin, first, last, tile, fall); });
        block.each([&](int lane) {
          load_head<threads, Width>(s.kv, attention_keys, lane, v, kv_head, o.head_width, key_row);
          raise_highest(s, lane, mine[lane], first - begin, last - begin);
        });
        block.each([&](int lane) { weigh_keys(s, lane, mine[lane], first - begin, last - begin); });
        block.each([&](int lane) { add_values(s, lane, mine[lane], first - begin, last - begin); });
      }
      first = last;
    }
    block.each([&](int lane) { store(lane, mine[lane], begin, end, head); });
  }

 private:
  PLUMB_HD void score_keys(shared& s, int lane, const query_segment& segment, index_t begin, index_t first,
                           index_t last, index_t tile, T fall) const {
    const int r0 = lane / column_lanes, c0 = lane % column_lanes;
    T sum[rows_each][keys_each];
    for (int i = 0; i < rows_each; ++i)
      for (int j = 0; j < keys_each; ++j) sum[i][j] = 0;
    for (int d = 0; d < static_cast<int>(o.head_width); ++d) {
      T query[rows_each], key[keys_each];
      for (int i = 0; i < rows_each; ++i) query[i] = s.q[r0 + i * row_lanes][d];
      for (int j = 0; j < keys_each; ++j) key[j] = s.kv[c0 + j * column_lanes][d];
      for (int i = 0; i < rows_each; ++i)
        for (int j = 0; j < keys_each; ++j) sum[i][j] = fused(query[i], key[j], sum[i][j]);
    }
    for (int i = 0; i < rows_each; ++i) {
      const index_t t = begin + r0 + i * row_lanes;
      if (t < first || t >= last) continue;
      const index_t position = position_of(segment, t), from = first_seen(o, position);
      for (int j = 0; j < keys_each; ++j) {
        const index_t p = tile + c0 + j * column_lanes;
        s.score[r0 + i * row_lanes][c0 + j * column_lanes] =
            p >= from && p <= last_seen(o, segment, position)
                ? capped_score(sum[i][j] * static_cast<T>(o.scale), static_cast<T>(o.cap)) -
                      fall * static_cast<T>(position - p)
                : -std::numeric_limits<T>::infinity();
      }
    }
  }

  PLUMB_HD void raise_highest(const shared& s, int lane, state& mine, index_t first, index_t last) const {
    for (int i = 0; i < rows_each; ++i) {
      const int row = lane / column_lanes + i * row_lanes;
      if (row < first || row >= last) continue;
      T next = mine.highest[i];
      for (int j = 0; j < attention_keys; ++j) next = s.score[row][j] > next ? s.score[row][j] : next;
      mine.shrink[i] = mine.highest[i] == next ? T(1) : std::exp(mine.highest[i] - next);
      mine.highest[i] = next;
    }
  }

  PLUMB_HD void weigh_keys(shared& s, int lane, const state& mine, index_t first, index_t last) const {
    for (int i = 0; i < rows_each; ++i) {
      const int row = lane / column_lanes + i * row_lanes;
      if (row < first || row >= last) continue;
      for (int j = 0; j < keys_each; ++j) {
        T& score = s.score[row][lane % column_lanes + j * column_lanes];
        score = score == -std::numeric_limits<T>::infinity() ? T(0) : std::exp(score - mine.highest[i]);
      }
    }
  }

  PLUMB_HD void add_values(const shared& s, int lane, state& mine, index_t first, index_t last) const {
    const int r0 = lane / column_lanes, c0 = lane % column_lanes;
    for (int i = 0; i < rows_each; ++i) {
      const int row = r0 + i * row_lanes;
      if (row < first || row >= last) continue;
      mine.total[i] *= mine.shrink[i];
      for (int c = 0; c < columns_each; ++c) mine.sum[i][c] *= mine.shrink[i];
    }
    for (int j = 0; j < attention_keys; ++j) {
      T value[columns_each];
      for (int c = 0; c < columns_each; ++c) value[c] = s.kv[j][c0 + c * column_lanes];
      for (int i = 0; i < rows_each; ++i) {
        const int row = r0 + i * row_lanes;
        if (row < first || row >= last) continue;
        const T weight = s.score[row][j];
        mine.total[i] += weight;
        for (int c = 0; c < columns_each; ++c) mine.sum[i][c] = fused(weight, value[c], mine.sum[i][c]);
      }
    }
  }

  PLUMB_HD void store(int lane, const state& mine, index_t begin, index_t end, index_t head) const {
    for (int i = 0; i < rows_each; ++i) {
      const int row = lane / column_lanes + i * row_lanes;
      const index_t t = begin + row;
      if (t >= end) continue;  // (row < tile_rows follows: end is at most begin + tile_rows)
      if (lane % column_lanes == 0) log_sum.row(t)[head] = mine.highest[i] + std::log(mine.total[i]);
      for (int c = 0; c < columns_each; ++c) {
        const index_t column = lane % column_lanes + c * column_lanes;
        if (column < o.head_width) out.row(t)[head * o.head_width + column] = mine.sum[i][c] / mine.total[i];
      }
    }
  }
};

}  // namespace plumb::inline v0::detail::blocks
