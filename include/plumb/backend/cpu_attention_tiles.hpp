// SPDX-License-Identifier: BSL-1.0
// What both directions of attention on the cpu share: tiles of keys, and the queries that meet them.
//
// Scores lie as [keys, queries], so that a vector holds as many queries: the softmax of a query then runs along its own
// lane, and no sum or maximum goes across a vector. The queries of all heads that share a head of keys lie side by
// side: column c is query c % rows of head c / rows of the group. The same matrix is read by rows where keys are the
// rows of a product, and by columns where queries are; nothing is transposed but the queries, once.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include <plumb/backend/cpu_attention_bfloat16.hpp>
#include <plumb/backend/cpu_tile.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// What both directions of attention know. `Key`: what keys and values are kept as, T or bfloat16.
template <class T, class Key = T>
struct attention_job {
  attention_plan plan;
  attention_options options;
  bfloat16_unit unit;  ///< what rounds the operands of products, if any
  view<const T> q;
  view<const Key> k, v;
  view<const T> out, log_sum, d;  ///< for the way back
};

/// The part of a tile of keys that a query sees: offsets [first, last) within it.
struct visible_keys {
  index_t first, last;
  visible_keys(const attention_options& o, const query_segment& s, index_t position, index_t tile, index_t size) {
    first = std::clamp<index_t>(first_seen(o, position) - tile, 0, size);
    last = std::clamp<index_t>(last_seen(o, s, position) + 1 - tile, 0, size);
  }
};

/// The sizes of a task: what one head of keys gives to a tile of queries. `Rounds`: its products round their operands to bfloat16.
template <class Set, class T, bool Rounds = false>
struct attention_tiles {
  using s = simd<Set, T>;
  static constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>, lanes = s::lanes;
  /// Keys are taken in tiles that begin at positions 0, key_tile, 2 key_tile, … of the path, whatever segments the path is
  /// made of, and a query is only ever changed by numbers of its own: its output is the same bits in every batch.
  static constexpr index_t key_tile = Rounds ? 2 * bfloat16_chunk : 56 / most * most;
  /// With `Rounds`, so many columns at once meet a tile of keys, so that what they work on stays in the nearest cache. Where a tile
  /// has whole groups of each head, those whose queries stand before the keys are left out.
  static constexpr index_t query_group = 2 * strip_columns;

  index_t group;      ///< query heads of a head of keys
  index_t width;      ///< numbers of a head
  index_t padded;     ///< the same in whole vectors
  index_t positions;  ///< queries of a tile, in each head: about a hundred in all, or 256
  index_t stride;  ///< between the rows of scores: room for all columns, and for a kernel that reaches beyond the last

  explicit attention_tiles(const attention_options& o)
      : group(o.heads / o.kv_heads),
        width(o.head_width),
        padded(up_to(o.head_width, lanes)),
        positions(std::max<index_t>((Rounds ? 256 : 96) / group, 4)),
        stride(up_to(group * positions, lanes) + lanes) {
    if (Rounds && positions > query_group) positions = positions / query_group * query_group;
  }

  /// Numbers of the queries as rows, or transposed; of sums for them; of a tile of keys.
  [[nodiscard]] index_t queries() const { return up_to(group * positions, panel) * padded; }
  [[nodiscard]] index_t sums() const { return up_to(group * positions, Rounds ? query_group : most) * padded; }
  [[nodiscard]] index_t keys() const { return key_tile * padded; }
  [[nodiscard]] index_t copied_keys() const { return Rounds ? 0 : keys(); }  ///< see `rows_of`
  [[nodiscard]] index_t scores() const { return key_tile * (Rounds ? query_group : stride); }

  /// Columns of panel j of `count` columns, and of the kernel that covers them.
  [[nodiscard]] static index_t across(index_t count, index_t j) { return std::min(panel, count - j); }
  [[nodiscard]] static index_t wide(index_t count, index_t j) { return kernel_columns<Set, T>(across(count, j)); }

  /// Copies the queries of a tile, of all heads, times a factor: [columns, padded], zeros up to `padded`.
  [[gnu::always_inline]] inline void copy_queries(view<const T> from, index_t row, index_t rows, index_t head, T factor,
                                                  T* to) const {
    for (index_t g = 0; g < group; ++g)
      for (index_t i = 0; i < rows; ++i, to += padded) {
        const T* const here = from.row(row + i) + (head + g) * width;
        for (index_t c = 0; c < padded; c += lanes) {
          typename s::vector x;
          s::load_some(x, here + c, width - c);
          x *= factor;
          s::store(to + c, x);
        }
      }
  }
  /// Transposes them: for each panel [width, wide], zeros beyond the last column.
  [[gnu::always_inline]] inline void transpose_queries(const T* from, index_t columns, T* to) const {
    for (index_t j = 0; j < columns; j += panel) {
      const index_t here = across(columns, j), row = wide(columns, j);
      call_with<Set, transpose<T>>(from + j * padded, padded, here, width, padded, to + j * width, row);
      if (here < row)
        for (index_t k = 0; k < width; ++k) std::fill_n(to + j * width + k * row + here, row - here, T(0));
    }
  }
  /// A tile of keys or values: where it lies, or in `memory`, if its rows are scattered, too few or no whole vectors, with zeros
  /// around. What rounds them takes them from wherever they lie.
  [[gnu::always_inline]] inline matrix_rows<T> rows_of(view<const T> from, const std::int32_t* rows, index_t count,
                                                       index_t head, T* memory) const {
    if constexpr (Rounds) return {from.data + head * width, from.columns, rows};
    bool in_place = count == key_tile && width == padded;
    for (index_t r = 1; r < count && in_place; ++r) in_place = rows[r] == rows[0] + r;
    if (in_place) return {from.row(rows[0]) + head * width, from.columns};
    for (index_t r = 0; r < count; ++r) {
      std::memcpy(memory + r * padded, from.row(rows[r]) + head * width, sizeof(T) * static_cast<std::size_t>(width));
      std::fill_n(memory + r * padded + width, padded - width, T(0));
    }
    std::fill_n(memory + count * padded, (up_to(count, most) - count) * padded, T(0));
    return {memory, padded};
  }
  /// scores[0 … end, panel j] = keys · queriesᵀ
  [[gnu::always_inline]] inline void multiply_keys(matrix_rows<T> keys, index_t end, const T* queries, index_t columns,
                                                   index_t j, T* scores) const {
    for (index_t r = 0; r < end; r += most)
      multiply_tile<Set, T>(std::min(most, end - r), across(columns, j), width, keys.first + r * keys.stride,
                            keys.stride, queries + j * width, wide(columns, j), scores + r * stride + j, stride, false);
  }
  /// sums[rows of matrix, padded] += matrix · right, over `depth`; the matrix by rows or by columns.
  template <left_order Order>
  [[gnu::always_inline]] inline void add_product(index_t rows, index_t depth, const T* matrix, matrix_rows<T> right,
                                                 T* sums) const {
    for (index_t i = 0; i < rows; i += most)
      for (index_t j = 0; j < width; j += panel)
        multiply_tile<Set, T, Order>(std::min(most, rows - i), across(width, j), depth,
                                     matrix + (Order == left_order::rows ? i * stride : i), stride, right.first + j,
                                     right.stride, sums + i * padded + j, padded, true);
  }
};

/// Asks memory for keys and values of positions [tile, end) of the segment's path, one tile at most: with few queries they
/// are waited for longer than they are computed with.
template <class Tiles, class T, class Key>
[[gnu::always_inline]] inline void ask_for_keys(const attention_job<T, Key>& job, const Tiles& t, index_t kv_head,
                                                const query_segment& segment, index_t tile, index_t end) {
  const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
  const index_t line = 64 / static_cast<index_t>(sizeof(Key)), first = kv_head * t.width;
  for (index_t r = tile; r < std::min(end, tile + Tiles::key_tile); ++r)
    for (index_t c = first; c < first + t.width; c += line) {
      __builtin_prefetch(job.k.row(key_rows[r]) + c, 0, 2);
      __builtin_prefetch(job.v.row(key_rows[r]) + c, 0, 2);
    }
}

/// What is known of each column of a tile of queries: what it sees of the tile of keys at hand, and how its scores fall.
template <class Tiles>
struct query_columns {
  using tiles = Tiles;
  using s = typename tiles::s;
  using T = typename s::number;
  static constexpr index_t arrays = 4;
  T *before, *after;  ///< offsets of the tile between these are seen; they end in ½
  T *fall, *ahead;    ///< ALiBi: what a position costs, and how far the tile's first key lies ahead
  index_t rows, columns;
  index_t step;  ///< between the positions of rows
  bool some_unseen = false;

  [[gnu::always_inline]] query_columns(const tiles& t, const attention_options& options, index_t kv_head,
                                       index_t the_rows, T* memory, index_t the_step = 1)
      : before(memory),
        after(memory + t.stride),
        fall(memory + 2 * t.stride),
        ahead(memory + 3 * t.stride),
        rows(the_rows),
        columns(t.group * the_rows),
        step(the_step) {
    std::fill_n(memory, arrays * t.stride, T(0));
    for (index_t c = 0; c < columns; ++c) fall[c] = distance_slope<T>(options, kv_head * t.group + c / rows);
  }
  /// Turns to the tile of keys that begins at position `tile`.
  [[gnu::always_inline]] inline void look_at(const attention_options& o, const query_segment& segment, index_t position,
                                             index_t tile, index_t count) {
    const auto seen_by = [&](index_t i) {
      return visible_keys(o, segment, position + i * step, tile, tiles::key_tile);
    };
    some_unseen = seen_by(0).last < count || seen_by(rows - 1).first > 0;
    for (index_t i = 0; i < rows && (some_unseen || o.alibi > 0); ++i) {
      const visible_keys seen = seen_by(i);
      for (index_t c = i; c < columns; c += rows) {
        before[c] = static_cast<T>(seen.first) - T(0.5);
        after[c] = static_cast<T>(seen.last) - T(0.5);
        ahead[c] = static_cast<T>(tile - position - i * step);
      }
    }
  }
  /// How many of `count` keys some column of [from, to) sees.
  [[nodiscard]] [[gnu::always_inline]] inline index_t seen_by(index_t from, index_t to, index_t count) const {
    if (!some_unseen) return count;
    T furthest = T(-0.5);
    for (index_t c = from; c < std::min(to, columns); ++c) furthest = std::max(furthest, after[c]);
    return std::min(count, static_cast<index_t>(furthest + T(0.5)));
  }

  /// Do scores stay as they are?
  [[nodiscard]] bool keeps_scores(const attention_options& o) const {
    return !(o.cap > 0) && !(o.alibi > 0) && !some_unseen;
  }
  /// Scores of `seen` keys, for a vector of columns, become what the softmax sees; `top` rises to the highest.
  [[gnu::always_inline]] inline void finish_scores(const attention_options& o, index_t column, index_t seen, T* scores,
                                                   index_t stride, typename s::vector& top) const {
    const bool keeps = keeps_scores(o);
    typename s::vector x;
    for (index_t r = 0; r < seen; ++r) {
      s::load(x, scores + r * stride);
      if (!keeps) {
        if (o.cap > 0) bend(static_cast<T>(o.cap), x);
        place(r, column, o.alibi > 0, x);
        s::store(scores + r * stride, x);
      }
      top = x > top ? x : top;
    }
  }
  /// The way back for key r: a score becomes its weight p = e^(score − log_sum), and d · v the slope p (d · v − D) times that of the
  /// cap, with D in `through`.
  [[gnu::always_inline]] inline void turn_back(const attention_options& o, bool keeps, index_t r, index_t column,
                                               const typename s::vector& log_sum, const typename s::vector& through,
                                               typename s::vector& weight, typename s::vector& slope) const {
    const T cap = static_cast<T>(o.cap);
    slope -= through;
    if (!keeps) {
      if (cap > 0) {
        bend(cap, weight);
        slope *= 1 - weight * weight / (cap * cap);
      }
      place(r, column, o.alibi > 0, weight);
    }
    weight -= log_sum;
    s::exp_of_negative(weight);
    slope *= weight;
  }

 private:
  /// Caps a score.
  [[gnu::always_inline]] static inline void bend(T cap, typename s::vector& x) {
    x *= 2 / cap;  // tanh u = 1 − 2/(e²ᵘ + 1)
    s::exp(x);
    x = cap - 2 * cap / (x + 1);
  }
  /// The score of key r in the columns from c on: lowered by the distance, −∞ where the key is not seen.
  [[gnu::always_inline]] inline void place(index_t r, index_t c, bool falls, typename s::vector& x) const {
    typename s::vector key, one, other;
    s::spread(key, static_cast<T>(r));
    if (falls) {
      s::load(one, fall + c);
      s::load(other, ahead + c);
      x += one * (other + key);
    }
    if (some_unseen) {
      typename s::vector none, zero = {};
      s::spread(none, -std::numeric_limits<T>::infinity());
      s::load(one, before + c);
      s::load(other, after + c);
      one = (key - one) * (other - key);  // one comparison: two would become a loop over the lanes with GCC 12
      x = one < zero ? none : x;
    }
  }
};

}  // namespace plumb::inline v0::detail
