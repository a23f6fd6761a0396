// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, the way back: weights are made again from the log-sums, tile by tile.
//
// A task owns one segment and one head of keys. What it adds to dq is its own; what it adds to dk and dv may belong to
// rows that other segments see too (a shared prompt), so it waits in scratch memory and is added afterwards, segment by
// segment, in order. The sums are the same for every number of threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <plumb/backend/cpu_attention.hpp>

namespace plumb::inline v0::detail {

/// Numbers that one segment keeps for one head of keys: per tile of keys the sums for dk, then for dv.
template <class Set, class T>
constexpr index_t key_sums(const attention_tiles<Set, T>& t, const query_segment& segment) {
  const index_t path = index_t{segment.first_position} + segment.length;
  return (path + key_tile - 1) / key_tile * 2 * t.sums(key_tile);
}

template <class T>
struct attention_backward_task {
  template <class Set>
  static index_t scratch(const attention_job<T>& job) {
    using tiles = attention_tiles<Set, T>;
    const tiles t(job.options.head_width);
    constexpr index_t rows = tiles::query_tile, key_rows = up_to_rows<Set>(key_tile);
    const index_t per_head = 2 * t.left(rows) + 2 * rows * t.value_panels * tiles::panel + t.sums(rows) + rows;
    return job.group() * per_head + 3 * t.keys() + key_tile * t.value_panels * tiles::panel +
           2 * tiles::most * key_tile + 2 * rows * key_tile + (tiles::most + key_rows) * panel_stride<T>;
  }

  /// `partial` holds this segment's sums for this head of keys and starts as zeros here.
  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* the_job, index_t segment_number,
                                                index_t kv_head, T* dq, T* partial, T* memory) {
    using tiles = attention_tiles<Set, T>;
    constexpr index_t most = tiles::most, panel = tiles::panel, query_tile = tiles::query_tile;
    const attention_job<T>& job = *the_job;
    const attention_options& o = job.options;
    const query_segment segment = job.plan.segments[segment_number];
    const tiles t(o.head_width);
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
    const T scale = static_cast<T>(o.scale), cap = static_cast<T>(o.cap);
    std::fill_n(partial, key_sums<Set, T>(t, segment), T(0));

    const index_t left_size = t.left(query_tile), right_size = query_tile * t.value_panels * panel;
    const index_t sums_size = t.sums(query_tile), key_sums_size = t.sums(key_tile);
    const auto take = [&memory](index_t count) {
      T* const taken = memory;
      memory += count;
      return taken;
    };
    T* const q_left = take(job.group() * left_size);
    T* const d_left = take(job.group() * left_size);
    T* const q_right = take(job.group() * right_size);
    T* const d_right = take(job.group() * right_size);
    T* const dq_sums = take(job.group() * sums_size);
    T* const through = take(job.group() * query_tile);  // Σ_j d out of each row
    T* const gathered = take(t.keys());
    T* const keys = take(t.keys());
    T* const values = take(t.keys());
    T* const key_rows_right = take(key_tile * t.value_panels * panel);
    T* const products = take(most * key_tile);
    T* const along = take(most * key_tile);
    T* const weights = take(query_tile * key_tile);
    T* const slopes = take(query_tile * key_tile);
    T* const slopes_left = take(most * panel_stride<T>);
    T* const transposed = take(up_to_rows<Set>(key_tile) * panel_stride<T>);

    for (index_t first = 0; first < segment.length; first += query_tile) {
      const index_t rows = std::min<index_t>(query_tile, segment.length - first);
      const index_t row = segment.first_row + first, position = segment.first_position + first;
      for (index_t g = 0; g < job.group(); ++g) {
        const index_t column = (kv_head * job.group() + g) * t.width;
        t.pack_left(job.q.row(row) + column, job.q.columns, rows, q_left + g * left_size);
        t.pack_left(job.d.row(row) + column, job.d.columns, rows, d_left + g * left_size);
        t.pack_right(job.q.row(row) + column, job.q.columns, rows, q_right + g * right_size);
        t.pack_right(job.d.row(row) + column, job.d.columns, rows, d_right + g * right_size);
        for (index_t i = 0; i < rows; ++i)
          through[g * query_tile + i] = dot<Set>(t.width, job.d.row(row + i) + column, job.out.row(row + i) + column);
      }
      std::fill_n(dq_sums, job.group() * sums_size, T(0));

      const index_t end = last_seen(o, segment, position + rows - 1) + 1;
      const index_t begin = o.window > 0 && position + 1 > o.window ? position + 1 - o.window : 0;
      for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
        const index_t count = std::min(key_tile, end - tile);
        t.gather(job.v, key_rows + tile, count, kv_head * t.width, gathered);
        t.pack_keys(gathered, values);
        t.gather(job.k, key_rows + tile, count, kv_head * t.width, gathered);
        t.pack_keys(gathered, keys);
        t.pack_right(gathered, t.width, key_tile, key_rows_right);
        T* const dk_sums = partial + tile / key_tile * 2 * key_sums_size;
        for (index_t g = 0; g < job.group(); ++g) {
          const index_t head = kv_head * job.group() + g;
          for (index_t i = 0; i < rows; i += most) {
            const index_t here = std::min(most, rows - i);
            t.scores(here, q_left + g * left_size + i * t.chunks * panel_stride<T>, keys, products);
            t.scores(here, d_left + g * left_size + i * t.chunks * panel_stride<T>, values, along);
            for (index_t r = 0; r < here; ++r)
              row_slopes<Set>(t, visible_keys(last_seen(o, segment, position + i + r), o.window, tile), scale, cap,
                              distance_slope<T>(o, head), tile - position - i - r, products, along, r,
                              job.log_sum.row(row + i + r)[head], through[g * query_tile + i + r],
                              weights + (i + r) * key_tile, slopes + (i + r) * key_tile);
            for (index_t r = 0; r < here; ++r)
              std::copy_n(slopes + (i + r) * key_tile, key_tile, slopes_left + r * panel_stride<T>);
            for (index_t r = here; r < kernel_rows<Set>(here); ++r)
              std::fill_n(slopes_left + r * panel_stride<T>, key_tile, T(0));
            for (index_t j = 0; j < t.value_panels; ++j)
              multiply_tile<Set, T>(here, t.across(j), count, slopes_left, panel_stride<T>,
                                    key_rows_right + j * key_tile * panel, t.wide(j),
                                    dq_sums + g * sums_size + (i * t.value_panels + j * most) * panel, true);
          }
          add_transposed<Set>(t, rows, slopes, q_right + g * right_size, transposed, dk_sums);
          add_transposed<Set>(t, rows, weights, d_right + g * right_size, transposed, dk_sums + key_sums_size);
        }
      }

      for (index_t g = 0; g < job.group(); ++g)
        for (index_t i = 0; i < rows; ++i)
          add_row<Set>(t, dq_sums + g * sums_size, i, dq + ((row + i) * o.heads + kv_head * job.group() + g) * t.width);
    }
  }

  /// to[0 … width) += row i of sums that lie in tiles.
  template <class Set>
  [[gnu::always_inline]] static inline void add_row(const attention_tiles<Set, T>& t, const T* sums, index_t i, T* to) {
    using s = simd<Set, T>;
    constexpr index_t most = attention_tiles<Set, T>::most, panel = attention_tiles<Set, T>::panel;
    const index_t in_panel = i % most;
    for (index_t j = 0; j < t.value_panels; ++j)
      for (index_t c = 0; c < t.across(j); c += s::lanes) {
        typename s::vector x, old;
        s::load(x, sums + ((i - in_panel) * t.value_panels + j * most) * panel + in_panel * t.wide(j) + c);
        s::load_some(old, to + j * panel + c, t.across(j) - c);
        old += x;
        s::store_some(to + j * panel + c, old, t.across(j) - c);
      }
  }

 private:
  template <class Set>
  static constexpr index_t up_to_rows(index_t rows) {
    return (rows + Set::tile_rows - 1) / Set::tile_rows * Set::tile_rows;
  }

  template <class Set>
  [[gnu::always_inline]] static inline T dot(index_t count, const T* a, const T* b) {
    using s = simd<Set, T>;
    typename s::vector sum = {}, x, y;
    for (index_t j = 0; j < count; j += s::lanes) {
      s::load_some(x, a + j, count - j);
      s::load_some(y, b + j, count - j);
      s::fma(sum, x, y);
    }
    return s::sum(sum);
  }

  /// One row of P = e^(score − log_sum) and of P (d·v − D) times scale and the cap's slope; zeros where the query does not see. The first key of
  /// the tile lies `ahead` of the query.
  template <class Set>
  [[gnu::always_inline]] static inline void row_slopes(const attention_tiles<Set, T>& t, visible_keys seen, T scale,
                                                       T cap, T fall, index_t ahead, const T* products, const T* along,
                                                       index_t r, T log_sum, T through, T* weight, T* slope) {
    using s = simd<Set, T>;
    t.row_of_scores(products, r, scale, cap, weight);
    t.row_of_scores(along, r, T(1), T(0), slope);
    const T bend = cap > 0 ? 1 / (cap * cap) : T(0);  // the cap's slope is 1 − bend score²
    for (index_t p = 0; p < key_tile; p += s::lanes) {
      typename s::vector x, y;
      s::load(x, weight + p);
      s::load(y, slope + p);
      y = (y - through) * (1 - bend * x * x);
      if (fall > 0) t.add_distances(fall, ahead, p, x);
      x -= log_sum;
      s::exp(x);
      y = x * y * scale;
      s::store(weight + p, x);
      s::store(slope + p, y);
    }
    for (index_t p = 0; p < seen.first; ++p) weight[p] = slope[p] = 0;
    for (index_t p = seen.last; p < key_tile; ++p) weight[p] = slope[p] = 0;
  }

  /// sums[key_tile, width] += matrix[rows, key_tile]ᵀ · right[rows, width]
  template <class Set>
  [[gnu::always_inline]] static inline void add_transposed(const attention_tiles<Set, T>& t, index_t rows,
                                                           const T* matrix, const T* right, T* transposed, T* sums) {
    constexpr index_t most = attention_tiles<Set, T>::most, panel = attention_tiles<Set, T>::panel;
    for (index_t i = 0; i < key_tile; i += most) {
      const index_t here = std::min(most, key_tile - i);
      T* const left = transposed + i * panel_stride<T>;
      call_with<Set, transpose<T>>(matrix + i, key_tile, rows, here, key_tile - i, left, panel_stride<T>);
      for (index_t r = here; r < kernel_rows<Set>(here); ++r) std::fill_n(left + r * panel_stride<T>, rows, T(0));
      for (index_t j = 0; j < t.value_panels; ++j)
        multiply_tile<Set, T>(here, t.across(j), rows, left, panel_stride<T>, right + j * rows * panel, t.wide(j),
                              sums + (i * t.value_panels + j * most) * panel, true);
    }
  }
};

/// Adds what the segments kept for one head of keys to dk (part 0) or dv (part 1).
template <class T>
struct attention_merge {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* job, index_t kv_head, index_t part,
                                                const T* partial, const index_t* first, T* to) {
    const attention_tiles<Set, T> t(job->options.head_width);
    for (index_t i = 0; i < job->plan.segment_count; ++i) {
      const query_segment segment = job->plan.segments[i];
      if (segment.length == 0) continue;
      const index_t path = index_t{segment.first_position} + segment.length;
      const index_t window = job->options.window;
      const index_t begin =
          window > 0 && segment.first_position + 1 > window ? segment.first_position + 1 - window : index_t{0};
      const T* const sums = partial + first[i] * job->options.kv_heads + kv_head * (first[i + 1] - first[i]);
      for (index_t p = begin; p < path; ++p)
        attention_backward_task<T>::template add_row<Set>(
            t, sums + (p / key_tile * 2 + part) * t.sums(key_tile), p % key_tile,
            to + (job->plan.key_rows[segment.keys + p] * job->options.kv_heads + kv_head) * t.width);
    }
  }
};

template <class Set, class T>
void attention_backward_with(cpu_device& d, const attention_job<T>& job, T* dq, T* dk, T* dv) {
  const attention_tiles<Set, T> t(job.options.head_width);
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  // The offsets of the segments' sums, counted for one head, then the sums themselves.
  index_t numbers = 0;
  for (index_t i = 0; i < segments; ++i)
    if (job.plan.segments[i].length > 0) numbers += key_sums<Set, T>(t, job.plan.segments[i]);
  const index_t head = ((segments + 1) * static_cast<index_t>(sizeof(index_t)) + 63) / 64 * 64;
  auto* const memory = d.shared_scratch<std::byte>(head + numbers * kv_heads * static_cast<index_t>(sizeof(T)));
  auto* const first = reinterpret_cast<index_t*>(memory);
  T* const partial = reinterpret_cast<T*>(memory + head);
  first[0] = 0;
  for (index_t i = 0; i < segments; ++i)
    first[i + 1] = first[i] + (job.plan.segments[i].length > 0 ? key_sums<Set, T>(t, job.plan.segments[i]) : 0);

  const index_t need = attention_backward_task<T>::template scratch<Set>(job);
  d.run(segments * kv_heads, [&](index_t task, int worker) {
    const index_t i = task / kv_heads, kv_head = task % kv_heads;
    if (job.plan.segments[i].length == 0) return;
    call_with<Set, attention_backward_task<T>>(&job, i, kv_head, dq,
                                               partial + first[i] * kv_heads + kv_head * (first[i + 1] - first[i]),
                                               d.scratch<T>(worker, need));
  });
  d.run(2 * kv_heads, [&](index_t task, int) {
    call_with<Set, attention_merge<T>>(&job, task / 2, task % 2, static_cast<const T*>(partial),
                                       static_cast<const index_t*>(first), task % 2 == 0 ? dk : dv);
  });
}

template <class T>
void cpu_attention_backward(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                            view<const T> k, view<const T> v, view<const T> out, view<const T> log_sum,
                            view<const T> slope, view<T> dq, view<T> dk, view<T> dv) {
  const attention_job<T> job{
      .plan = plan, .options = o, .q = q, .k = k, .v = v, .out = out, .log_sum = log_sum, .d = slope};
  with_set(d.instructions(),
           [&]<class Set>(Set) { attention_backward_with<Set, T>(d, job, dq.data, dk.data, dv.data); });
}

}  // namespace plumb::inline v0::detail
