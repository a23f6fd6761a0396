// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, the way back: weights are made again from the log-sums, tile by tile.
//
// A task owns a piece of a segment and one head of keys. What it adds to dq is its own; what it adds to dk and dv belongs
// to rows that other pieces see too, so it waits in scratch memory and is added afterwards, piece by piece, in order. The
// sums are the same for every number of threads.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_attention.hpp>
#include <plumb/backend/cpu_attention_backward_bfloat16.hpp>
#include <plumb/backend/cpu_attention_backward_plain.hpp>

namespace plumb::inline v0::detail {

/// Queries [first, last) of a segment, and where the sums of its keys wait, counted for one head.
struct attention_piece {
  index_t segment, first, last, sums;
};

/// How many pieces a segment makes: enough that threads share the work, few enough that their sums stay small.
constexpr index_t pieces_of(const query_segment& segment) {
  return segment.length == 0 ? 0 : std::clamp<index_t>(segment.length / 256, 1, 4);
}
/// Numbers that a piece which ends at `last` keeps for one head of keys: per tile of keys the sums for dk, then for dv.
template <class Tiles>
constexpr index_t key_sums(const Tiles& t, const attention_options& o, const query_segment& segment, index_t last) {
  const index_t path = last_seen(o, segment, segment.first_position + last - 1) + 1;
  return (path + t.key_tile - 1) / t.key_tile * 2 * t.keys();
}

/// One task: a piece and a head of keys. `Products` turns a tile of queries and one of keys into gradients.
template <class Products>
struct attention_backward_task {
  using T = typename Products::number;
  using tiles = typename Products::tiles;

  static index_t scratch(const tiles& t) {
    return 2 * t.queries() + 2 * t.copied_keys() + (2 + query_columns<tiles>::arrays) * t.stride + Products::room(t);
  }

  /// `partial` holds this piece's sums for this head of keys and starts as zeros here.
  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* the_job, const attention_piece* piece,
                                                index_t kv_head, T* dq, T* partial, T* memory) {
    constexpr index_t key_tile = tiles::key_tile;
    const attention_job<T>& job = *the_job;
    const attention_options& o = job.options;
    const query_segment segment = job.plan.segments[piece->segment];
    const tiles t(o);
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
    const index_t first_head = kv_head * t.group;
    std::fill_n(partial, key_sums(t, o, segment, piece->last), T(0));

    const auto take = [&memory](index_t count) {
      T* const taken = memory;
      memory += count;
      return taken;
    };
    T* const q = take(t.queries());  // the queries times the scale: [columns, padded]
    T* const d = take(t.queries());  // the slopes of what they brought
    T* const key_memory = take(t.copied_keys());
    T* const value_memory = take(t.copied_keys());
    T* const through = take(t.stride);  // Σ_j d out of each query
    T* const log_sums = take(t.stride);
    T* const of_columns = take(query_columns<tiles>::arrays * t.stride);
    const Products products(job, t, memory);

    for (index_t first = piece->first; first < piece->last; first += t.positions) {
      const index_t rows = std::min<index_t>(t.positions, piece->last - first), columns = t.group * rows;
      const index_t row = segment.first_row + first, position = segment.first_position + first;
      query_columns<tiles> now(t, job.options, kv_head, rows, of_columns);
      t.copy_queries(job.q, row, rows, first_head, static_cast<T>(o.scale), q);
      t.copy_queries(job.d, row, rows, first_head, T(1), d);
      products.begin(q, d, columns);
      std::fill_n(through, t.stride, T(0));
      std::fill_n(log_sums, t.stride, T(0));
      for (index_t c = 0; c < columns; ++c) {
        const index_t token = row + c % rows, head = first_head + c / rows;
        log_sums[c] = job.log_sum.row(token)[head];
        through[c] = dot<Set>(t.width, d + c * t.padded, job.out.row(token) + head * t.width);
      }

      const index_t end = last_seen(o, segment, position + rows - 1) + 1;
      const index_t begin = first_seen(o, position);
      for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
        const index_t count = std::min(key_tile, end - tile);
        now.look_at(o, segment, position, tile, count);
        const matrix_rows<T> keys = t.rows_of(job.k, key_rows + tile, count, kv_head, key_memory);
        const matrix_rows<T> values = t.rows_of(job.v, key_rows + tile, count, kv_head, value_memory);
        T* const dk = partial + tile / key_tile * 2 * t.keys();
        products.meet(now, keys, values, count, log_sums, through, q, d, dk, dk + t.keys());
      }
      const T* const sums = products.finish(columns, q);
      for (index_t c = 0; c < columns; ++c)
        add_row<Set>(t, static_cast<T>(o.scale), sums + c * t.padded,
                     dq + ((row + c % rows) * o.heads + first_head + c / rows) * t.width);
    }
  }

  /// to[0 … width) += factor · sums
  template <class Set>
  [[gnu::always_inline]] static inline void add_row(const tiles& t, T factor, const T* sums, T* to) {
    using s = simd<Set, T>;
    for (index_t c = 0; c < t.padded; c += s::lanes) {
      typename s::vector x, old;
      s::load(x, sums + c);
      s::load_some(old, to + c, t.width - c);
      old += factor * x;
      s::store_some(to + c, old, t.width - c);
    }
  }

 private:
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
};

/// Adds what the pieces kept for one head of keys to dk (part 0) or dv (part 1).
template <class Products>
struct attention_merge {
  using T = typename Products::number;

  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* job, const attention_piece* pieces,
                                                index_t count, index_t kv_head, index_t part, const T* partial, T* to) {
    const attention_options& o = job->options;
    const typename Products::tiles t(o);
    for (index_t i = 0; i < count; ++i) {
      const attention_piece& piece = pieces[i];
      const query_segment segment = job->plan.segments[piece.segment];
      const index_t position = segment.first_position + piece.first;
      const index_t begin = first_seen(o, position);
      const index_t end = last_seen(o, segment, segment.first_position + piece.last - 1) + 1;
      const T* const sums = partial + piece.sums * o.kv_heads + kv_head * key_sums(t, o, segment, piece.last);
      for (index_t p = begin; p < end; ++p)
        attention_backward_task<Products>::template add_row<Set>(
            t, T(1), sums + (p / t.key_tile * 2 + part) * t.keys() + p % t.key_tile * t.padded,
            to + (job->plan.key_rows[segment.keys + p] * o.kv_heads + kv_head) * t.width);
    }
  }
};

template <class Products, class T>
void attention_backward_with(cpu_device& d, const attention_job<T>& job, T* dq, T* dk, T* dv) {
  using set = typename Products::set;
  const typename Products::tiles t(job.options);
  const index_t kv_heads = job.options.kv_heads;
  index_t count = 0, numbers = 0;
  const auto for_each_piece = [&](auto f) {
    for (index_t i = 0; i < job.plan.segment_count; ++i) {
      const query_segment& segment = job.plan.segments[i];
      const index_t all = pieces_of(segment);
      for (index_t k = 0; k < all; ++k) f(i, segment.length * k / all, segment.length * (k + 1) / all);
    }
  };
  for_each_piece([&](index_t segment, index_t, index_t last) {
    ++count;
    numbers += key_sums(t, job.options, job.plan.segments[segment], last);
  });
  const index_t head = up_to(count * static_cast<index_t>(sizeof(attention_piece)), 64);
  auto* const memory = d.shared_scratch<std::byte>(head + numbers * kv_heads * static_cast<index_t>(sizeof(T)));
  auto* const pieces = reinterpret_cast<attention_piece*>(memory);
  T* const partial = reinterpret_cast<T*>(memory + head);
  count = numbers = 0;
  for_each_piece([&](index_t segment, index_t first, index_t last) {
    pieces[count++] = {.segment = segment, .first = first, .last = last, .sums = numbers};
    numbers += key_sums(t, job.options, job.plan.segments[segment], last);
  });

  const index_t need = attention_backward_task<Products>::scratch(t);
  d.run(count * kv_heads, [&](index_t task, int worker) {
    const attention_piece& piece = pieces[task % count];
    const index_t kv_head = task / count;  // a head's keys stay in near caches from task to task
    const index_t own = key_sums(t, job.options, job.plan.segments[piece.segment], piece.last);
    call_with<set, attention_backward_task<Products>>(&job, static_cast<const attention_piece*>(&piece), kv_head, dq,
                                                      partial + piece.sums * kv_heads + kv_head * own,
                                                      d.scratch<T>(worker, need));
  });
  d.run(2 * kv_heads, [&](index_t task, int) {
    call_with<set, attention_merge<Products>>(&job, static_cast<const attention_piece*>(pieces), count, task / 2,
                                              task % 2, static_cast<const T*>(partial), task % 2 == 0 ? dk : dv);
  });
}

template <class T>
void cpu_attention_backward(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                            view<const T> k, view<const T> v, view<const T> out, view<const T> log_sum,
                            view<const T> slope, view<T> dq, view<T> dk, view<T> dv) {
  const attention_job<T> job{.plan = plan,
                             .options = o,
                             .unit = d.bfloat16(),
                             .q = q,
                             .k = k,
                             .v = v,
                             .out = out,
                             .log_sum = log_sum,
                             .d = slope};
  with_set(d.instructions(), [&]<class Set>(Set) {
    if constexpr (has_rounded_tiles<Set, T>)
      if (job.unit != bfloat16_unit::none)
        return attention_backward_with<rounded_backward<Set>>(d, job, dq.data, dk.data, dv.data);
    attention_backward_with<plain_backward<Set, T>>(d, job, dq.data, dk.data, dv.data);
  });
}

}  // namespace plumb::inline v0::detail
