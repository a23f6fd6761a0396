// SPDX-License-Identifier: BSL-1.0
// The products of attention's way back in bfloat16, where the device rounds their operands.
#pragma once

#include <plumb/backend/cpu_attention_tiles.hpp>

namespace plumb::inline v0::detail {

/// The operands of one task: keys and values of a tile, queries and the slopes of what they brought.
template <class Set, class T>
struct rounded_backward {
  using tiles = attention_tiles<Set, T>;
  using rounded = rounded_tiles<Set>;

  const tiles& t;
  bfloat16_bits *key_rows, *value_rows;                     ///< left, [keys, width]
  bfloat16_bits *queries, *outputs;                         ///< right, [width, columns]
  bfloat16_bits *query_rows, *output_rows;                  ///< right, [columns, width]
  bfloat16_bits *weight_rows, *slope_rows, *slope_columns;  ///< left, [keys, columns] twice and [columns, keys]
  bfloat16_bits* keys;                                      ///< right, [keys, width]

  /// Floats that they take.
  static index_t size(const tiles& t) {
    const index_t columns = t.group * t.positions;
    return 2 * t.left(t.key_tile, t.width) + 2 * t.right(columns, t.width) + 2 * t.right(t.width, columns) +
           2 * t.left(t.key_tile, columns) + t.left(columns, t.key_tile) + t.right(t.width, t.key_tile);
  }
  [[gnu::always_inline]] rounded_backward(const tiles& the_tiles, T* memory) : t(the_tiles) {
    const index_t columns = t.group * t.positions;
    auto* at = reinterpret_cast<bfloat16_bits*>(memory);
    const auto take = [&at](index_t floats) {
      auto* const taken = at;
      at += 2 * floats;
      return taken;
    };
    key_rows = take(t.left(t.key_tile, t.width)), value_rows = take(t.left(t.key_tile, t.width));
    queries = take(t.right(columns, t.width)), outputs = take(t.right(columns, t.width));
    query_rows = take(t.right(t.width, columns)), output_rows = take(t.right(t.width, columns));
    weight_rows = take(t.left(t.key_tile, columns)), slope_rows = take(t.left(t.key_tile, columns));
    slope_columns = take(t.left(columns, t.key_tile)), keys = take(t.right(t.width, t.key_tile));
  }
  /// Queries and slopes of a tile, [columns, padded].
  [[gnu::always_inline]] inline void take_queries(const T* q, const T* d, index_t columns) const {
    rounded::right_of_rows(q, t.padded, columns, t.width, queries);
    rounded::right_of_rows(d, t.padded, columns, t.width, outputs);
    rounded::right_of_columns(q, t.padded, t.width, columns, query_rows);
    rounded::right_of_columns(d, t.padded, t.width, columns, output_rows);
  }
  /// weights[0 … end, columns] = keys · queriesᵀ, slopes likewise of values; zeros up to a whole vector of columns.
  [[gnu::always_inline]] inline void score(attention_rows<T> k, attention_rows<T> v, index_t end, index_t columns,
                                           T* weights, T* slopes) const {
    const index_t across = up_to(columns, tiles::lanes);
    rounded::left_of_rows(k.first, k.stride, end, t.width, key_rows);
    rounded::left_of_rows(v.first, v.stride, end, t.width, value_rows);
    rounded::multiply(t.unit, end, across, t.width, key_rows, queries, weights, t.stride, false);
    rounded::multiply(t.unit, end, across, t.width, value_rows, outputs, slopes, t.stride, false);
  }
  /// dk += slopes · queries, dv (behind it) += weights · outputs, dq += slopesᵀ · keys
  [[gnu::always_inline]] inline void add(attention_rows<T> k, const T* weights, const T* slopes, index_t count,
                                         index_t columns, T* dk, T* dq) const {
    rounded::left_of_rows(slopes, t.stride, count, columns, slope_rows);
    rounded::left_of_rows(weights, t.stride, count, columns, weight_rows);
    rounded::left_of_columns(slopes, t.stride, columns, count, slope_columns);
    rounded::right_of_columns(k.first, k.stride, t.width, count, keys);
    rounded::multiply(t.unit, count, t.width, columns, slope_rows, query_rows, dk, t.padded, true);
    rounded::multiply(t.unit, count, t.width, columns, weight_rows, output_rows, dk + t.keys(), t.padded, true);
    rounded::multiply(t.unit, columns, t.width, count, slope_columns, keys, dq, t.padded, true);
  }
};
/// For numbers and registers that have no such kernels: never asked for anything.
template <class Set, class T>
struct plain_backward {
  using tiles = attention_tiles<Set, T>;
  plain_backward(const tiles&, T*) {}
  static index_t size(const tiles&) { return 0; }
  static void take_queries(const T*, const T*, index_t) {}
  static void score(attention_rows<T>, attention_rows<T>, index_t, index_t, T*, T*) {}
  static void add(attention_rows<T>, const T*, const T*, index_t, index_t, T*, T*) {}
};

}  // namespace plumb::inline v0::detail
