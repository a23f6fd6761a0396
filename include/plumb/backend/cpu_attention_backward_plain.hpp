// SPDX-License-Identifier: BSL-1.0
// The products of attention's way back in the numbers of the operands themselves.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_attention_tiles.hpp>

namespace plumb::inline v0::detail {

/// What a tile of queries and one of keys give each other. `begin`, then `meet` for each tile of keys, then `finish`. Where products
/// round their operands, rounded_backward stands in its place.
template <class Set, class T>
struct plain_backward {
  using set = Set;
  using number = T;
  using s = simd<Set, T>;
  using tiles = attention_tiles<Set, T>;

  const attention_options& o;
  const tiles& t;
  T *queries, *outputs;  ///< right, [width, columns]: the queries times the scale, and the slopes of what they brought
  T* dq;                 ///< sums, [columns, padded]
  T *weights, *slopes;   ///< [keys, columns]

  /// Numbers of memory that it needs.
  static index_t room(const tiles& t) { return 2 * t.queries() + t.sums() + 2 * t.scores(); }
  [[gnu::always_inline]] plain_backward(const attention_job<T>& job, const tiles& the_tiles, T* memory)
      : o(job.options),
        t(the_tiles),
        queries(memory),
        outputs(queries + t.queries()),
        dq(outputs + t.queries()),
        weights(dq + t.sums()),
        slopes(weights + t.scores()) {}

  /// Takes queries and slopes of a tile, [columns, padded].
  [[gnu::always_inline]] inline void begin(const T* q, const T* d, index_t columns) const {
    t.transpose_queries(q, columns, queries);
    t.transpose_queries(d, columns, outputs);
    std::fill_n(dq, t.sums(), T(0));
  }
  /// Adds what `count` keys and the queries give each other. `log_sums` of the queries; `through`: their Σ_j d out.
  [[gnu::always_inline]] inline void meet(const query_columns<tiles>& now, matrix_rows<T> keys, matrix_rows<T> values,
                                          index_t count, const T* log_sums, const T* through, const T* q, const T* d,
                                          T* dk, T* dv) const {
    const index_t columns = now.columns;
    for (index_t j = 0; j < columns; j += tiles::panel) {
      const index_t seen = now.seen_by(j, j + tiles::panel, count);
      t.multiply_keys(keys, seen, queries, columns, j, weights);
      t.multiply_keys(values, seen, outputs, columns, j, slopes);
      for (index_t c = j; c < j + t.wide(columns, j); c += s::lanes)
        slope(now, c, seen, up_to(count, tiles::most), log_sums + c, through + c, weights + c, slopes + c);
    }
    t.template add_product<left_order::rows>(count, columns, slopes, {q, t.padded}, dk);
    t.template add_product<left_order::rows>(count, columns, weights, {d, t.padded}, dv);
    for (index_t c = 0; c < columns; c += tiles::most)
      t.template add_product<left_order::columns>(std::min(tiles::most, columns - c),
                                                  now.seen_by(c, c + tiles::most, count), slopes + c, keys,
                                                  dq + c * t.padded);
  }
  /// The sums for the queries, [columns, padded]; they may lie in `memory`, which has room for as many.
  [[gnu::always_inline]] inline const T* finish(index_t, T*) const { return dq; }

 private:
  /// Scores become weights, and d · v their slopes, for a vector of columns. Keys from `seen` to `count` are seen by none of them, or lie beyond the path: their sums may get rows of
  /// their own with the next queries.
  [[gnu::always_inline]] inline void slope(const query_columns<tiles>& now, index_t column, index_t seen, index_t count,
                                           const T* log_sums, const T* through, T* weight, T* slope_of) const {
    const bool keeps = now.keeps_scores(o);
    typename s::vector log_sum, out, x, y;
    s::load(log_sum, log_sums);
    s::load(out, through);
    for (index_t r = 0; r < seen; ++r) {
      s::load(x, weight + r * t.stride);
      s::load(y, slope_of + r * t.stride);
      now.turn_back(o, keeps, r, column, log_sum, out, x, y);
      s::store(weight + r * t.stride, x);
      s::store(slope_of + r * t.stride, y);
    }
    x = typename s::vector{};
    for (index_t r = seen; r < count; ++r) {
      s::store(weight + r * t.stride, x);
      s::store(slope_of + r * t.stride, x);
    }
  }
};

}  // namespace plumb::inline v0::detail
