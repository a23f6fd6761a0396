// SPDX-License-Identifier: BSL-1.0
// The way back through tiled attention, without atomics: one kernel owns tiles of queries and makes dq, another owns
// tiles of keys and makes dk and dv. Weights are computed anew from the log-sums.
#pragma once

#include <cmath>
#include <cstdint>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_attention.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::blocks {

/// What both kernels read.
template <class T>
struct attention_back {
  attention_plan plan;
  attention_options o;
  view<const T> q, k, v, log_sum, d;
  const T* through;  ///< [tokens, heads]: Σ_j d[t, h, j] out[t, h, j]
  const std::int32_t*
      positions;  ///< [rows of k]: the position that a key row holds on every path it is on; −1: on none
};

/// through[i], i = token · heads + head.
template <class T>
struct attention_through {
  const T* out;
  const T* d;
  index_t head_width;
  T* through;
  PLUMB_HD void operator()(index_t i) const {
    T sum = 0;
    for (index_t j = i * head_width; j < (i + 1) * head_width; ++j) sum = fused(d[j], out[j], sum);
    through[i] = sum;
  }
};

/// Block s writes the positions of all keys on the path through segment s. Paths that share keys write equal numbers.
struct find_key_positions {
  static constexpr int threads = 128;
  struct shared {};
  attention_plan plan;
  std::int32_t* positions;

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared&, index_t number) const {
    const query_segment s = plan.segments[number];
    block.each([&](int lane) {
      for (index_t p = lane; p < s.first_position + s.length; p += threads)
        store(positions + plan.key_rows[s.keys + p], static_cast<std::int32_t>(p));
    });
  }

 private:
  PLUMB_HD static void store(std::int32_t* to, std::int32_t value) {
#if defined(__CUDA_ARCH__)
    *static_cast<volatile std::int32_t*>(to) = value;
#else
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
#endif
  }
};

/// weight = P and slope = ds for one query and one key, from the two lines of each in shared memory.
template <class T>
struct score_slope {
  T weight;
  T slope;
};

template <class T>
PLUMB_HD score_slope<T> slope_of(const T* query, const T* from, const T* key, const T* value, index_t width, T scale,
                                 T cap, T fallen, T log_sum, T through) {
  T score = 0, along = 0;
  for (index_t j = 0; j < width; ++j) {
    score = fused(query[j], key[j], score);
    along = fused(from[j], value[j], along);
  }
  score = capped_score(score * scale, cap);
  const T weight = std::exp(score - fallen - log_sum);
  return {weight, weight * (along - through) * cap_slope(score, cap) * scale};
}

/// dq += scale Σ_p ds k: laid out as attention_tile.
template <class T, int Width>
struct attention_query_gradient {
  static constexpr int row_lanes = 16, column_lanes = 8, threads = row_lanes * column_lanes;
  static constexpr int rows_each = sizeof(T) * Width <= 1024 ? 2 : 1;
  static constexpr int rows = row_lanes * rows_each;
  static constexpr int keys_each = attention_keys / column_lanes, columns_each = Width / column_lanes;

  struct shared {
    T q[rows][Width + 1];
    T d[rows][Width + 1];
    T k[attention_keys][Width + 1];
    T v[attention_keys][Width + 1];
    T slope[rows][attention_keys + 1];
  };
  struct state {
    T sum[rows_each][columns_each];
  };

  attention_back<T> x;
  view<T> dq;
  index_t tile_rows;

  [[nodiscard]] index_t tiles() const { return ceil_div(x.q.rows, tile_rows) * x.o.heads; }

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared& s, index_t number) const {
    const matrix_place at = place_of(number, x.o.heads);
    const index_t head = at.column, kv_head = head * x.o.kv_heads / x.o.heads;
    const index_t begin = at.row * tile_rows, end = begin + tile_rows < x.q.rows ? begin + tile_rows : x.q.rows;
    typename Block::template lanes<state> mine;
    block.each([&](int lane) {
      const auto row_at = [&](int i) { return begin + i < end ? begin + i : index_t(-1); };
      load_head<threads, Width>(s.q, rows, lane, x.q, head, x.o.head_width, row_at);
      load_head<threads, Width>(s.d, rows, lane, x.d, head, x.o.head_width, row_at);
      for (int i = 0; i < rows_each; ++i)
        for (int c = 0; c < columns_each; ++c) mine[lane].sum[i][c] = 0;
    });
    for (index_t first = begin; first < end;) {
      const query_segment segment = x.plan.segments[x.plan.row_segment[first]];
      const index_t rest = segment.first_row + segment.length, last = rest < end ? rest : end;
      const index_t final_key = last_seen(x.o, segment, position_of(segment, last - 1));
      const index_t first_key = first_seen(x.o, position_of(segment, first));
      for (index_t tile = first_key / attention_keys * attention_keys; tile <= final_key; tile += attention_keys) {
        block.each([&](int lane) {
          const auto key_row = [&](int i) {
            return tile + i <= final_key ? static_cast<index_t>(x.plan.key_rows[segment.keys + tile + i]) : index_t(-1);
          };
          load_head<threads, Width>(s.k, attention_keys, lane, x.k, kv_head, x.o.head_width, key_row);
          load_head<threads, Width>(s.v, attention_keys, lane, x.v, kv_head, x.o.head_width, key_row);
        });
        block.each([&](int lane) { find_slopes(s, lane, segment, begin, first, last, tile, head); });
        block.each([&](int lane) { add_keys(s, lane, mine[lane]); });
      }
      first = last;
    }
    block.each([&](int lane) {
      for (int i = 0; i < rows_each; ++i)
        for (int c = 0; c < columns_each; ++c) {
          const index_t t = begin + lane / column_lanes + i * row_lanes,
                        column = lane % column_lanes + c * column_lanes;
          if (t < end && column < x.o.head_width) dq.row(t)[head * x.o.head_width + column] += mine[lane].sum[i][c];
        }
    });
  }

 private:
  PLUMB_HD void find_slopes(shared& s, int lane, const query_segment& segment, index_t begin, index_t first,
                            index_t last, index_t tile, index_t head) const {
    const T fall = distance_slope<T>(x.o, head);
    for (int i = 0; i < rows_each; ++i) {
      const int row = lane / column_lanes + i * row_lanes;
      const index_t t = begin + row;
      for (int j = 0; j < keys_each; ++j) {
        const int key = lane % column_lanes + j * column_lanes;
        const index_t p = tile + key;
        T slope = 0;  // of queries of other segments and keys out of sight
        if (t >= first && t < last && p <= last_seen(x.o, segment, position_of(segment, t)) &&
            p >= first_seen(x.o, position_of(segment, t)))
          slope = slope_of(s.q[row], s.d[row], s.k[key], s.v[key], x.o.head_width, static_cast<T>(x.o.scale),
                           static_cast<T>(x.o.cap), fall * static_cast<T>(position_of(segment, t) - p),
                           x.log_sum.row(t)[head], x.through[t * x.o.heads + head])
                      .slope;
        s.slope[row][key] = slope;
      }
    }
  }

  PLUMB_HD void add_keys(const shared& s, int lane, state& mine) const {
    for (int key = 0; key < attention_keys; ++key)
      for (int i = 0; i < rows_each; ++i) {
        const T slope = s.slope[lane / column_lanes + i * row_lanes][key];
        for (int c = 0; c < columns_each; ++c)
          mine.sum[i][c] = fused(slope, s.k[key][lane % column_lanes + c * column_lanes], mine.sum[i][c]);
      }
  }
};

/// dk += scale Σ ds q, dv += Σ P d over all queries that see the keys: block number = tile · kv_heads + kv_head owns 32
/// rows of k and v. It walks the segments in order and, of those whose path holds one of its keys, the queries in order.
template <class T, int Width>
struct attention_key_gradient {
  static constexpr int key_lanes = 16, column_lanes = 8, threads = key_lanes * column_lanes;
  static constexpr int keys_each = attention_keys / key_lanes, columns_each = Width / column_lanes;
  static constexpr int queries = sizeof(T) * Width <= 1024 ? 32 : 16;
  static constexpr int queries_each = queries / column_lanes;

  struct shared {
    T k[attention_keys][Width + 1];
    T v[attention_keys][Width + 1];
    T q[queries][Width + 1];
    T d[queries][Width + 1];
    T weight[attention_keys][queries + 1];
    T slope[attention_keys][queries + 1];
    std::int32_t sees[threads];          ///< does the path of segment number start + i hold one of the keys?
    std::int32_t place[attention_keys];  ///< position of each key on the current segment's path, −1: not on it
  };
  struct state {
    T dk[keys_each][columns_each];
    T dv[keys_each][columns_each];
  };

  attention_back<T> x;
  view<T> dk, dv;

  [[nodiscard]] index_t tiles() const { return ceil_div(x.k.rows, attention_keys) * x.o.kv_heads; }

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared& s, index_t number) const {
    const matrix_place at = place_of(number, x.o.kv_heads);
    const index_t kv_head = at.column, begin = at.row * attention_keys, group = x.o.heads / x.o.kv_heads;
    typename Block::template lanes<state> mine;
    block.each([&](int lane) {
      const auto row_at = [&](int i) { return begin + i < x.k.rows ? begin + i : index_t(-1); };
      load_head<threads, Width>(s.k, attention_keys, lane, x.k, kv_head, x.o.head_width, row_at);
      load_head<threads, Width>(s.v, attention_keys, lane, x.v, kv_head, x.o.head_width, row_at);
      for (int i = 0; i < keys_each; ++i)
        for (int c = 0; c < columns_each; ++c) mine[lane].dk[i][c] = mine[lane].dv[i][c] = 0;
    });
    for (index_t start = 0; start < x.plan.segment_count; start += threads) {
      block.each([&](int lane) {
        s.sees[lane] = 0;
        if (start + lane >= x.plan.segment_count) return;
        const query_segment segment = x.plan.segments[start + lane];
        for (int i = 0; i < attention_keys && !s.sees[lane]; ++i) s.sees[lane] = place_on(segment, begin + i) >= 0;
      });
      for (int i = 0; i < threads; ++i)
        if (s.sees[i]) add_segment(block, s, mine, x.plan.segments[start + i], begin, kv_head, group);
      block.each([](int) {});  // nobody asks about the next segments while somebody still reads `sees`
    }
    block.each([&](int lane) {
      for (int i = 0; i < keys_each; ++i)
        for (int c = 0; c < columns_each; ++c) {
          const index_t row = begin + lane / column_lanes + i * key_lanes,
                        column = lane % column_lanes + c * column_lanes;
          if (row >= x.k.rows || column >= x.o.head_width) continue;
          dk.row(row)[kv_head * x.o.head_width + column] += mine[lane].dk[i][c];
          dv.row(row)[kv_head * x.o.head_width + column] += mine[lane].dv[i][c];
        }
    });
  }

 private:
  /// The position of a row of k on the segment's path, −1 when it is not on it.
  PLUMB_HD std::int32_t place_on(const query_segment& segment, index_t row) const {
    if (row >= x.k.rows) return -1;
    const std::int32_t p = x.positions[row];
    const bool on_path =
        p >= 0 && p < segment.first_position + segment.length && x.plan.key_rows[segment.keys + p] == row;
    return on_path ? p : -1;
  }

  template <class Block, class Lanes>
  PLUMB_HD void add_segment(Block& block, shared& s, Lanes& mine, const query_segment& segment, index_t begin,
                            index_t kv_head, index_t group) const {
    block.each([&](int lane) {
      if (lane < attention_keys) s.place[lane] = place_on(segment, begin + lane);
    });
    index_t nearest = segment.first_position + segment.length, furthest = 0;
    for (int i = 0; i < attention_keys; ++i) {
      if (s.place[i] < 0) continue;
      nearest = s.place[i] < nearest ? s.place[i] : nearest;
      furthest = s.place[i] > furthest ? s.place[i] : furthest;
    }
    block.each([](int) {});  // `place` has been read by all before the next segment writes it
    const bool later = nearest > segment.first_position && !x.o.both_ways;  // no query before the key sees it
    const index_t first = later ? nearest - segment.first_position : 0;
    const index_t reach = furthest + x.o.window - segment.first_position;  // one past the last query that sees a key
    const index_t last = x.o.window > 0 && reach < segment.length ? reach : segment.length;
    for (index_t query = first; query < last; query += queries)
      for (index_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        block.each([&](int lane) {
          const auto row_at = [&](int i) { return query + i < last ? segment.first_row + query + i : index_t(-1); };
          load_head<threads, Width>(s.q, queries, lane, x.q, head, x.o.head_width, row_at);
          load_head<threads, Width>(s.d, queries, lane, x.d, head, x.o.head_width, row_at);
        });
        block.each([&](int lane) { find_slopes(s, lane, segment, query, last, head); });
        block.each([&](int lane) { add_queries(s, lane, mine[lane]); });
      }
  }

  PLUMB_HD void find_slopes(shared& s, int lane, const query_segment& segment, index_t query, index_t last,
                            index_t head) const {
    const T fall = distance_slope<T>(x.o, head);
    for (int i = 0; i < keys_each; ++i)
      for (int j = 0; j < queries_each; ++j) {
        const int key = lane / column_lanes + i * key_lanes, number = lane % column_lanes + j * column_lanes;
        const index_t position = segment.first_position + query + number, t = segment.first_row + query + number;
        score_slope<T> found{0, 0};
        if (s.place[key] >= 0 && query + number < last && s.place[key] <= last_seen(x.o, segment, position) &&
            s.place[key] >= first_seen(x.o, position))
          found = slope_of(s.q[number], s.d[number], s.k[key], s.v[key], x.o.head_width, static_cast<T>(x.o.scale),
                           static_cast<T>(x.o.cap), fall * static_cast<T>(position - s.place[key]),
                           x.log_sum.row(t)[head], x.through[t * x.o.heads + head]);
        s.weight[key][number] = found.weight;
        s.slope[key][number] = found.slope;
      }
  }

  PLUMB_HD void add_queries(const shared& s, int lane, state& mine) const {
    for (int number = 0; number < queries; ++number)
      for (int i = 0; i < keys_each; ++i) {
        const int key = lane / column_lanes + i * key_lanes;
        const T weight = s.weight[key][number], slope = s.slope[key][number];
        for (int c = 0; c < columns_each; ++c) {
          const int column = lane % column_lanes + c * column_lanes;
          mine.dv[i][c] = fused(weight, s.d[number][column], mine.dv[i][c]);
          mine.dk[i][c] = fused(slope, s.q[number][column], mine.dk[i][c]);
        }
      }
  }
};

}  // namespace plumb::inline v0::detail::blocks
