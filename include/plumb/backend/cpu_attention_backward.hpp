// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, the way back: weights are made again from the log-sums, tile by tile.
//
// A task owns a piece of a segment and one head of keys. What it adds to dq is its own; what it adds to dk and dv belongs
// to rows that other pieces see too, so it waits in scratch memory and is added afterwards, piece by piece, in order. The
// sums are the same for every number of threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <plumb/backend/cpu_attention.hpp>
#include <plumb/backend/cpu_attention_backward_bfloat16.hpp>

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
template <class Set, class T>
constexpr index_t key_sums(const attention_tiles<Set, T>& t, const attention_options& o, const query_segment& segment,
                           index_t last) {
  const index_t path = last_seen(o, segment, segment.first_position + last - 1) + 1;
  return (path + t.key_tile - 1) / t.key_tile * 2 * t.keys();
}

template <class T>
struct attention_backward_task {
  template <class Set>
  using rounded_operands =
      std::conditional_t<attention_tiles<Set, T>::may_round, rounded_backward<Set, T>, plain_backward<Set, T>>;

  template <class Set>
  static index_t scratch(const attention_job<T>& job) {
    const attention_tiles<Set, T> t(job.options, job.unit);
    return 4 * t.queries() + t.sums() + 2 * t.keys() + 2 * t.scores() + (2 + query_columns<Set, T>::arrays) * t.stride +
           (t.rounds() ? rounded_operands<Set>::size(t) : 0);
  }

  /// `partial` holds this piece's sums for this head of keys and starts as zeros here.
  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* the_job, const attention_piece* piece,
                                                index_t kv_head, T* dq, T* partial, T* memory) {
    using s = simd<Set, T>;
    using tiles = attention_tiles<Set, T>;
    constexpr index_t key_tile = tiles::key_tile, most = tiles::most;
    const attention_job<T>& job = *the_job;
    const attention_options& o = job.options;
    const query_segment segment = job.plan.segments[piece->segment];
    const tiles t(o, job.unit);
    const std::int32_t* const key_rows = job.plan.key_rows + segment.keys;
    const index_t first_head = kv_head * t.group;
    const T scale = static_cast<T>(o.scale);
    std::fill_n(partial, key_sums<Set, T>(t, o, segment, piece->last), T(0));

    const auto take = [&memory](index_t count) {
      T* const taken = memory;
      memory += count;
      return taken;
    };
    T* const q_rows =
        take(t.queries());  // the queries times the scale, and the slopes of what they brought: [columns, padded]
    T* const d_rows = take(t.queries());
    T* const queries = take(t.queries());  // the same transposed
    T* const outputs = take(t.queries());
    T* const dq_sums = take(t.sums());
    T* const key_memory = take(t.keys());
    T* const value_memory = take(t.keys());
    T* const weights = take(t.scores());  // [keys, columns]
    T* const slopes = take(t.scores());
    T* const through = take(t.stride);  // Σ_j d out of each query
    T* const log_sums = take(t.stride);
    const rounded_operands<Set> rounded(t, t.rounds() ? take(rounded_operands<Set>::size(t)) : nullptr);

    for (index_t first = piece->first; first < piece->last; first += t.positions) {
      const index_t rows = std::min<index_t>(t.positions, piece->last - first), columns = t.group * rows;
      const index_t row = segment.first_row + first, position = segment.first_position + first;
      query_columns<Set, T> now(t, job, kv_head, rows, memory);
      t.copy_queries(job.q, row, rows, first_head, scale, q_rows);
      t.copy_queries(job.d, row, rows, first_head, T(1), d_rows);
      if (t.rounds()) {
        rounded.take_queries(q_rows, d_rows, columns);
      } else {
        t.transpose_queries(q_rows, columns, queries);
        t.transpose_queries(d_rows, columns, outputs);
      }
      std::fill_n(through, t.stride, T(0));
      std::fill_n(log_sums, t.stride, T(0));
      for (index_t c = 0; c < columns; ++c) {
        const index_t token = row + c % rows, head = first_head + c / rows;
        log_sums[c] = job.log_sum.row(token)[head];
        through[c] = dot<Set>(t.width, d_rows + c * t.padded, job.out.row(token) + head * t.width);
      }
      std::fill_n(dq_sums, t.sums(), T(0));

      const index_t end = last_seen(o, segment, position + rows - 1) + 1;
      const index_t begin = first_seen(o, position);
      for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
        const index_t count = std::min(key_tile, end - tile);
        const attention_rows<T> keys = t.rows_of(job.k, key_rows + tile, count, kv_head, key_memory);
        const attention_rows<T> values = t.rows_of(job.v, key_rows + tile, count, kv_head, value_memory);
        now.look_at(o, segment, position, tile, count);
        if (t.rounds()) rounded.score(keys, values, now.seen_by(0, columns, count), columns, weights, slopes);
        for (index_t j = 0; j < columns; j += tiles::panel) {
          const index_t seen = now.seen_by(j, j + tiles::panel, count);
          if (!t.rounds()) {
            t.multiply_keys(keys, seen, queries, columns, j, weights);
            t.multiply_keys(values, seen, outputs, columns, j, slopes);
          }
          for (index_t c = j; c < j + t.wide(columns, j); c += s::lanes)
            slope<Set>(t, now, static_cast<T>(o.cap), o.alibi > 0, c, seen, up_to(count, most), log_sums + c,
                       through + c, weights + c, slopes + c);
        }
        T* const dk_sums = partial + tile / key_tile * 2 * t.keys();
        if (t.rounds()) {
          rounded.add(keys, weights, slopes, count, columns, dk_sums, dq_sums);
          continue;
        }
        t.template add_product<left_order::rows>(count, columns, slopes, {q_rows, t.padded}, dk_sums);
        t.template add_product<left_order::rows>(count, columns, weights, {d_rows, t.padded}, dk_sums + t.keys());
        for (index_t c = 0; c < columns; c += most)
          t.template add_product<left_order::columns>(std::min(most, columns - c), now.seen_by(c, c + most, count),
                                                      slopes + c, keys, dq_sums + c * t.padded);
      }

      for (index_t c = 0; c < columns; ++c)
        add_row<Set>(t, scale, dq_sums + c * t.padded,
                     dq + ((row + c % rows) * o.heads + first_head + c / rows) * t.width);
    }
  }

  /// to[0 … width) += factor · sums
  template <class Set>
  [[gnu::always_inline]] static inline void add_row(const attention_tiles<Set, T>& t, T factor, const T* sums, T* to) {
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

  /// Scores become weights p = e^(score − log_sum), and d · v becomes the slope p (d · v − D) times that of the cap, for a
  /// vector of columns. Keys from `seen` to `count` are seen by none of them, or lie beyond the path: their sums may get rows of
  /// their own with the next queries.
  template <class Set>
  [[gnu::always_inline]] static inline void slope(const attention_tiles<Set, T>& t, const query_columns<Set, T>& now,
                                                  T cap, bool falls, index_t column, index_t seen, index_t count,
                                                  const T* log_sums, const T* through, T* weights, T* slopes) {
    using s = simd<Set, T>;
    typename s::vector log_sum, out, x, y;
    s::load(log_sum, log_sums);
    s::load(out, through);
    const bool plain = !(cap > 0) && !falls && !now.some_unseen;
    for (index_t r = 0; r < seen; ++r) {
      s::load(x, weights + r * t.stride);
      s::load(y, slopes + r * t.stride);
      y -= out;
      if (cap > 0) {
        now.bend(cap, x);
        y *= 1 - x * x / (cap * cap);
      }
      if (!plain) now.place(r, column, falls, x);
      x -= log_sum;
      s::exp_of_negative(x);
      y *= x;
      s::store(weights + r * t.stride, x);
      s::store(slopes + r * t.stride, y);
    }
    x = typename s::vector{};
    for (index_t r = seen; r < count; ++r) {
      s::store(weights + r * t.stride, x);
      s::store(slopes + r * t.stride, x);
    }
  }
};

/// Adds what the pieces kept for one head of keys to dk (part 0) or dv (part 1).
template <class T>
struct attention_merge {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* job, const attention_piece* pieces,
                                                index_t count, index_t kv_head, index_t part, const T* partial, T* to) {
    const attention_options& o = job->options;
    const attention_tiles<Set, T> t(o);
    for (index_t i = 0; i < count; ++i) {
      const attention_piece& piece = pieces[i];
      const query_segment segment = job->plan.segments[piece.segment];
      const index_t position = segment.first_position + piece.first;
      const index_t begin = first_seen(o, position);
      const index_t end = last_seen(o, segment, segment.first_position + piece.last - 1) + 1;
      const T* const sums = partial + piece.sums * o.kv_heads + kv_head * key_sums<Set, T>(t, o, segment, piece.last);
      for (index_t p = begin; p < end; ++p)
        attention_backward_task<T>::template add_row<Set>(
            t, T(1), sums + (p / t.key_tile * 2 + part) * t.keys() + p % t.key_tile * t.padded,
            to + (job->plan.key_rows[segment.keys + p] * o.kv_heads + kv_head) * t.width);
    }
  }
};

template <class Set, class T>
void attention_backward_with(cpu_device& d, const attention_job<T>& job, T* dq, T* dk, T* dv) {
  const attention_tiles<Set, T> t(job.options);
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
    numbers += key_sums<Set, T>(t, job.options, job.plan.segments[segment], last);
  });
  const index_t head = up_to(count * static_cast<index_t>(sizeof(attention_piece)), 64);
  auto* const memory = d.shared_scratch<std::byte>(head + numbers * kv_heads * static_cast<index_t>(sizeof(T)));
  auto* const pieces = reinterpret_cast<attention_piece*>(memory);
  T* const partial = reinterpret_cast<T*>(memory + head);
  count = numbers = 0;
  for_each_piece([&](index_t segment, index_t first, index_t last) {
    pieces[count++] = {.segment = segment, .first = first, .last = last, .sums = numbers};
    numbers += key_sums<Set, T>(t, job.options, job.plan.segments[segment], last);
  });

  const index_t need = attention_backward_task<T>::template scratch<Set>(job);
  d.run(count * kv_heads, [&](index_t task, int worker) {
    const attention_piece& piece = pieces[task / kv_heads];
    const index_t kv_head = task % kv_heads;
    const index_t own = key_sums<Set, T>(t, job.options, job.plan.segments[piece.segment], piece.last);
    call_with<Set, attention_backward_task<T>>(&job, static_cast<const attention_piece*>(&piece), kv_head, dq,
                                               partial + piece.sums * kv_heads + kv_head * own,
                                               d.scratch<T>(worker, need));
  });
  d.run(2 * kv_heads, [&](index_t task, int) {
    call_with<Set, attention_merge<T>>(&job, static_cast<const attention_piece*>(pieces), count, task / 2, task % 2,
                                       static_cast<const T*>(partial), task % 2 == 0 ? dk : dv);
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
  with_set(d.instructions(),
           [&]<class Set>(Set) { attention_backward_with<Set, T>(d, job, dq.data, dk.data, dv.data); });
}

}  // namespace plumb::inline v0::detail
