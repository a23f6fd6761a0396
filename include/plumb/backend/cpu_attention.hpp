// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward: tiles of queries meet tiles of keys, and the softmax is kept up to date tile by tile.
//
// Keys are taken in tiles that begin at positions 0, 32, 64, … of the path, whatever segments the path is made of, and
// a query row is only ever changed by numbers of its own. Its output is therefore the same bits in every batch, in a
// prompt of one segment or of five, in training and in decoding. (Dao 2023, "FlashAttention-2".)
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_tile.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

inline constexpr index_t key_tile = 32;

/// What both directions of attention know.
template <class T>
struct attention_job {
  attention_plan plan;
  attention_options options;
  view<const T> q, k, v, out, log_sum, d;  ///< out, log_sum and d: for the way back
  [[nodiscard]] index_t group() const { return options.heads / options.kv_heads; }
};

/// The sizes of the packed tiles of one head.
template <class Set, class T>
struct attention_tiles {
  static constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
  static constexpr index_t query_tile = 64 / most * most;
  static constexpr index_t key_panels = key_tile / panel;
  index_t width, chunks, value_panels;

  explicit attention_tiles(index_t head_width)
      : width(head_width),
        chunks((head_width + depth_block - 1) / depth_block),
        value_panels((head_width + panel - 1) / panel) {}

  /// Numbers of `rows` packed rows as a left operand, and as tiles of sums or as a right operand.
  [[nodiscard]] index_t left(index_t rows) const { return (rows + most - 1) / most * most * chunks * panel_stride<T>; }
  [[nodiscard]] index_t sums(index_t rows) const { return (rows + most - 1) / most * most * value_panels * panel; }
  [[nodiscard]] index_t keys() const { return key_tile * width; }

  /// Columns of value panel j.
  [[nodiscard]] index_t across(index_t j) const { return std::min(panel, width - j * panel); }
  [[nodiscard]] index_t wide(index_t j) const { return kernel_columns<Set, T>(across(j)); }

  /// Packs rows of `width` numbers that are `stride` apart as a left operand.
  [[gnu::always_inline]] inline void pack_left(const T* from, index_t stride, index_t rows, T* to) const {
    for (index_t i = 0; i < rows; i += most)
      for (index_t c = 0; c < chunks; ++c, to += most * panel_stride<T>) {
        const index_t depth = std::min(depth_block, width - c * depth_block), here = std::min(most, rows - i);
        for (index_t r = 0; r < here; ++r)
          std::memcpy(to + r * panel_stride<T>, from + (i + r) * stride + c * depth_block,
                      sizeof(T) * static_cast<std::size_t>(depth));
        for (index_t r = here; r < kernel_rows<Set>(here); ++r) std::fill_n(to + r * panel_stride<T>, depth, T(0));
      }
  }
  /// Packs rows of `width` numbers as a right operand over the rows: panel j holds [rows, wide(j)].
  [[gnu::always_inline]] inline void pack_right(const T* from, index_t stride, index_t rows, T* to) const {
    for (index_t j = 0; j < value_panels; ++j) {
      T* const start = to + j * rows * panel;
      const index_t columns = across(j), row = wide(j);
      for (index_t r = 0; r < rows; ++r) {
        std::memcpy(start + r * row, from + r * stride + j * panel, sizeof(T) * static_cast<std::size_t>(columns));
        std::fill_n(start + r * row + columns, row - columns, T(0));
      }
    }
  }
  /// Copies the rows of a tile of keys; rows past the end of the path become zeros.
  [[gnu::always_inline]] inline void gather(view<const T> from, const std::int32_t* rows, index_t count, index_t column,
                                            T* to) const {
    for (index_t r = 0; r < count; ++r)
      std::memcpy(to + r * width, from.row(rows[r]) + column, sizeof(T) * static_cast<std::size_t>(width));
    std::fill_n(to + count * width, (key_tile - count) * width, T(0));
  }
  /// Packs a gathered tile as a right operand over the width: panel j holds [width, panel].
  [[gnu::always_inline]] inline void pack_keys(const T* from, T* to) const {
    for (index_t j = 0; j < key_panels; ++j)
      call_with<Set, transpose<T>>(from + j * panel * width, width, panel, width, width, to + j * width * panel, panel);
  }
  /// scores[rows, key_tile] (in panels of columns) = left · keys, over the whole width.
  [[gnu::always_inline]] inline void scores(index_t rows, const T* left, const T* keys, T* to) const {
    for (index_t j = 0; j < key_panels; ++j)
      for (index_t c = 0; c < chunks; ++c)
        multiply_tile<Set, T>(rows, panel, std::min(depth_block, width - c * depth_block),
                              left + c * most * panel_stride<T>, panel_stride<T>,
                              keys + (j * width + c * depth_block) * panel, panel, to + j * most * panel, c > 0);
  }
  /// Row r of such scores, scaled and then capped (cap 0: not), to 32 numbers that follow one another.
  [[gnu::always_inline]] inline void row_of_scores(const T* scores, index_t r, T scale, T cap, T* to) const {
    using s = simd<Set, T>;
    for (index_t j = 0; j < key_tile; j += s::lanes) {
      typename s::vector x;
      s::load(x, scores + (j / panel * most + r) * panel + j % panel);
      x *= scale;
      if (cap > 0) {  // tanh u = 1 − 2/(e²ᵘ + 1)
        x *= 2 / cap;
        s::exp(x);
        x = cap - 2 * cap / (x + 1);
      }
      s::store(to + j, x);
    }
  }
  /// x −= fall · distance, for keys from + 0, from + 1, … as seen from the query (ALiBi).
  [[gnu::always_inline]] static inline void add_distances(T fall, index_t from, index_t first,
                                                          typename simd<Set, T>::vector& x) {
    alignas(64) static constexpr auto steps = [] {
      std::array<T, key_tile> out{};
      for (index_t j = 0; j < key_tile; ++j) out[static_cast<std::size_t>(j)] = static_cast<T>(j);
      return out;
    }();
    typename simd<Set, T>::vector step;
    simd<Set, T>::load(step, steps.data() + first);
    x += fall * (step + static_cast<T>(from));
  }
};

/// The part of a tile of keys that a query sees: offsets [first, last) within it; the query sees positions
/// [lowest, position].
struct visible_keys {
  index_t first, last;
  visible_keys(index_t position, index_t window, index_t tile_start) {
    const index_t lowest = window > 0 && position + 1 > window ? position + 1 - window : 0;
    first = std::clamp<index_t>(lowest - tile_start, 0, key_tile);
    last = std::clamp<index_t>(position + 1 - tile_start, 0, key_tile);
  }
};

/// One task: a tile of queries of one segment, against one head of keys and values.
template <class T>
struct attention_task {
  template <class Set>
  static index_t scratch(const attention_job<T>& job) {
    using tiles = attention_tiles<Set, T>;
    const tiles t(job.options.head_width);
    constexpr index_t rows = tiles::query_tile;
    const index_t per_head = t.left(rows) + t.sums(rows) + rows * (1 + simd<Set, T>::lanes);
    return job.group() * per_head + 2 * t.keys() + key_tile * t.value_panels * tiles::panel +
           tiles::most * (2 * key_tile + panel_stride<T>);
  }

  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* the_job, index_t segment_number,
                                                index_t kv_head, index_t first_query, T* out, T* log_sum, T* memory) {
    using s = simd<Set, T>;
    using tiles = attention_tiles<Set, T>;
    constexpr index_t most = tiles::most, panel = tiles::panel, query_tile = tiles::query_tile;
    const attention_job<T>& job = *the_job;
    const attention_options& o = job.options;
    const query_segment segment = job.plan.segments[segment_number];
    const tiles t(o.head_width);
    const index_t rows = std::min<index_t>(query_tile, segment.length - first_query);
    const index_t row = segment.first_row + first_query, position = segment.first_position + first_query;
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;

    const index_t left_size = t.left(query_tile), sums_size = t.sums(query_tile);
    const auto take = [&memory](index_t count) {
      T* const taken = memory;
      memory += count;
      return taken;
    };
    T* const queries = take(job.group() * left_size);
    T* const sums = take(job.group() * sums_size);                // Σ p v, with p = e^(score − highest)
    T* const totals = take(job.group() * query_tile * s::lanes);  // Σ p, a sum per lane
    T* const highest = take(job.group() * query_tile);
    T* const gathered = take(t.keys());
    T* const keys = take(t.keys());
    T* const values = take(key_tile * t.value_panels * panel);
    T* const products = take(most * key_tile);
    T* const scores = take(most * key_tile);
    T* const weights = take(most * panel_stride<T>);

    for (index_t g = 0; g < job.group(); ++g)
      t.pack_left(job.q.row(row) + (kv_head * job.group() + g) * t.width, job.q.columns, rows, queries + g * left_size);
    std::fill_n(sums, job.group() * sums_size, T(0));
    std::fill_n(totals, job.group() * query_tile * s::lanes, T(0));
    std::fill_n(highest, job.group() * query_tile, -std::numeric_limits<T>::infinity());

    const index_t end = last_seen(o, segment, position + rows - 1) + 1, step = o.both_ways ? 0 : 1;
    const index_t seen = last_seen(o, segment, position);  // by the first query; by the next: `step` further
    const index_t begin = o.window > 0 && position + 1 > o.window ? position + 1 - o.window : 0;
    for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
      const index_t count = std::min(key_tile, end - tile);
      t.gather(job.v, key_rows + tile, count, kv_head * t.width, gathered);
      t.pack_right(gathered, t.width, key_tile, values);
      t.gather(job.k, key_rows + tile, count, kv_head * t.width, gathered);
      t.pack_keys(gathered, keys);
      for (index_t g = 0; g < job.group(); ++g)
        for (index_t i = 0; i < rows; i += most) {
          const index_t here = std::min(most, rows - i);
          if (!(visible_keys(seen + (i + here - 1) * step, o.window, tile).last > 0)) continue;
          t.scores(here, queries + g * left_size + i * t.chunks * panel_stride<T>, keys, products);
          update<Set>(t, here, seen + i * step, step, o.window, tile, static_cast<T>(o.scale), static_cast<T>(o.cap),
                      distance_slope<T>(o, kv_head * job.group() + g), products, scores, weights,
                      highest + g * query_tile + i, totals + (g * query_tile + i) * s::lanes,
                      sums + g * sums_size + i * t.value_panels * panel);
          for (index_t j = 0; j < t.value_panels; ++j)
            multiply_tile<Set, T>(here, t.across(j), count, weights, panel_stride<T>, values + j * key_tile * panel,
                                  t.wide(j), sums + g * sums_size + (i * t.value_panels + j * most) * panel, true);
        }
    }

    for (index_t g = 0; g < job.group(); ++g)
      for (index_t i = 0; i < rows; ++i) {
        const index_t head = kv_head * job.group() + g, in_panel = i % most;
        typename s::vector lanes, x;
        s::load(lanes, totals + (g * query_tile + i) * s::lanes);
        const T total = s::sum(lanes);
        log_sum[(row + i) * o.heads + head] = highest[g * query_tile + i] + std::log(total);
        T* const to = out + ((row + i) * o.heads + head) * t.width;
        for (index_t j = 0; j < t.value_panels; ++j)
          for (index_t c = 0; c < t.across(j); c += s::lanes) {
            s::load(x, sums + g * sums_size + ((i - in_panel) * t.value_panels + j * most) * panel +
                           in_panel * t.wide(j) + c);
            x = x / total + T(0);  // + 0: a zero has one sign, whichever tiles were skipped
            s::store_some(to + j * panel + c, x, t.across(j) - c);
          }
      }
  }

 private:
  /// `position`: the last that the first row sees; the next row sees `step` more.
  /// Brings a panel of rows up to date with the scores of one tile: new maxima, new weights, old sums scaled down.
  template <class Set>
  [[gnu::always_inline]] static inline void update(const attention_tiles<Set, T>& t, index_t rows, index_t position,
                                                   index_t step, index_t window, index_t tile, T scale, T cap, T fall,
                                                   const T* products, T* scores, T* weights, T* highest, T* totals,
                                                   T* sums) {
    using s = simd<Set, T>;
    using tiles = attention_tiles<Set, T>;
    constexpr T none = -std::numeric_limits<T>::infinity();
    constexpr index_t padded = (tiles::most + s::lanes - 1) / s::lanes * s::lanes;
    T factor[padded] = {};
    for (index_t r = 0; r < rows; ++r) {
      T* const score = scores + r * key_tile;
      t.row_of_scores(products, r, scale, cap, score);
      if (fall > 0)
        for (index_t p = 0; p < key_tile; p += s::lanes) {
          typename s::vector x;
          s::load(x, score + p);
          t.add_distances(fall, tile - position - r, p, x);
          s::store(score + p, x);
        }
      const visible_keys seen(position + r * step, window, tile);
      for (index_t p = 0; p < seen.first; ++p) score[p] = none;
      for (index_t p = seen.last; p < key_tile; ++p) score[p] = none;
      typename s::vector top, x;
      s::load(top, score);
      for (index_t p = s::lanes; p < key_tile; p += s::lanes) {
        s::load(x, score + p);
        top = x > top ? x : top;
      }
      const T before = highest[r], now = std::max(before, s::largest(top));
      factor[r] = before == now ? T(0) : before - now;  // −∞ − −∞: a row that has seen nothing yet
      highest[r] = now;
    }
    for (index_t r = 0; r < rows; r += s::lanes) {
      typename s::vector x;
      s::load(x, factor + r);
      s::exp(x);
      s::store(factor + r, x);
    }
    for (index_t r = 0; r < rows; ++r) {
      const T base = highest[r] == none ? T(0) : highest[r];
      typename s::vector total, x;
      s::load(total, totals + r * s::lanes);
      total *= factor[r];
      for (index_t p = 0; p < key_tile; p += s::lanes) {
        s::load(x, scores + r * key_tile + p);
        x -= base;
        s::exp(x);
        total += x;
        s::store(weights + r * panel_stride<T> + p, x);
      }
      s::store(totals + r * s::lanes, total);
      if (factor[r] != 1)
        for (index_t j = 0; j < t.value_panels; ++j)
          for (index_t c = 0; c < t.wide(j); c += s::lanes) {
            T* const sum = sums + j * tiles::most * tiles::panel + r * t.wide(j) + c;
            s::load(x, sum);
            x *= factor[r];
            s::store(sum, x);
          }
    }
    for (index_t r = rows; r < kernel_rows<Set>(rows); ++r) std::fill_n(weights + r * panel_stride<T>, key_tile, T(0));
  }
};

template <class Set, class T>
void attention_with(cpu_device& d, const attention_job<T>& job, T* out, T* log_sum) {
  constexpr index_t query_tile = attention_tiles<Set, T>::query_tile;
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  index_t* const first = d.shared_scratch<index_t>(segments + 1);  // the number of tiles before each segment
  first[0] = 0;
  for (index_t i = 0; i < segments; ++i)
    first[i + 1] = first[i] + (job.plan.segments[i].length + query_tile - 1) / query_tile;
  const index_t need = attention_task<T>::template scratch<Set>(job);
  d.run(first[segments] * kv_heads, [&](index_t task, int worker) {
    const index_t tile = task / kv_heads;
    const index_t segment = std::upper_bound(first, first + segments + 1, tile) - first - 1;
    call_with<Set, attention_task<T>>(&job, segment, task % kv_heads, (tile - first[segment]) * query_tile, out,
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
