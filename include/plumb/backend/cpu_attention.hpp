// SPDX-License-Identifier: BSL-1.0
// Attention on the cpu, forward: tiles of queries meet tiles of keys, and the softmax is kept up to date tile by tile.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_attention_columns.hpp>
#include <plumb/backend/cpu_attention_columns_bfloat16.hpp>
#include <plumb/backend/cpu_attention_decoding.hpp>
#include <plumb/backend/cpu_attention_single.hpp>
#include <plumb/backend/cpu_attention_single_bfloat16.hpp>
#include <plumb/backend/cpu_device.hpp>

namespace plumb::inline v0::detail {

/// One task: a tile of queries of one segment, against one head of keys and values.
template <class Columns>
struct attention_task {
  using T = typename Columns::number;

  template <class Set>
  [[gnu::always_inline]] static inline void run(const typename Columns::job_type* job, index_t segment_number,
                                                index_t kv_head, index_t first_query, T* out, T* log_sum, T* memory) {
    constexpr index_t key_tile = Columns::tiles::key_tile;
    const attention_options& o = job->options;
    const query_segment segment = job->plan.segments[segment_number];
    const typename Columns::tiles t(o);
    const index_t rows = std::min<index_t>(t.positions, segment.length - first_query);
    const index_t row = segment.first_row + first_query, position = segment.first_position + first_query;
    Columns columns(*job, t, kv_head, rows, 1, memory);
    columns.begin(row);
    const index_t end = last_seen(o, segment, position + rows - 1) + 1;
    const index_t begin = first_seen(o, position);
    for (index_t tile = begin / key_tile * key_tile; tile < end; tile += key_tile) {
      if (rows == 1 && !Columns::prepares) ask_for_keys(*job, t, kv_head, segment, tile + key_tile, end);
      columns.meet(segment, position, tile, std::min(key_tile, end - tile));
    }
    columns.finish(row, out, log_sum);
  }
};

template <class Columns, class Few, class More, class T>
void attention_with(cpu_device& d, const typename Columns::job_type& job, T* out, T* log_sum) {
  if (is_decoding<Columns>(job.plan)) {
    if (Few::serves(job)) return attention_of_decoding<Columns, Few>(d, job, out, log_sum);
    if (More::serves(job)) return attention_of_decoding<Columns, More>(d, job, out, log_sum);
    return attention_of_decoding<Columns, void>(d, job, out, log_sum);
  }
  const typename Columns::tiles t(job.options);
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  index_t* const first = d.shared_scratch<index_t>(segments + 1);  // the number of tiles before each segment
  first[0] = 0;
  for (index_t i = 0; i < segments; ++i)
    first[i + 1] = first[i] + (job.plan.segments[i].length + t.positions - 1) / t.positions;
  const index_t need = Columns::room(t), count = first[segments];
  d.run(count * kv_heads, [&](index_t task, int worker) {  // a head's keys stay in near caches from task to task
    const index_t tile = task % count;
    const index_t segment = std::upper_bound(first, first + segments + 1, tile) - first - 1;
    call_with<typename Columns::set, attention_task<Columns>>(
        &job, segment, task / count, (tile - first[segment]) * t.positions, out, log_sum, d.scratch<T>(worker, need));
  });
}

/// The largest groups of heads for which single queries have kernels of their own.
template <class Set, class T>
constexpr index_t few_heads = std::min<index_t>(simd<Set, T>::lanes, 4);
template <class Set, class T>
constexpr index_t more_heads = std::min<index_t>(simd<Set, T>::lanes, 8);

/// With `Columns`, and what is single with `Few` for groups of few heads, or `More` for more: one query that sees all keys, or what
/// queries that share keys see beyond them.
template <class Columns, class Few, class More, class T>
void attention_by(cpu_device& d, const typename Columns::job_type& job, view<T> out, view<T> log_sum) {
  using set = typename Columns::set;
  if (is_single(job.plan, job.options)) {
    if (Few::serves(job)) return attention_of_single<set, Few>(d, job, out.data, log_sum.data);
    if (More::serves(job)) return attention_of_single<set, More>(d, job, out.data, log_sum.data);
  }
  attention_with<Columns, Few, More>(d, job, out.data, log_sum.data);
}

template <class T>
void cpu_attention(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                   view<const T> k, view<const T> v, view<T> out, view<T> log_sum) {
  const attention_job<T> job{
      .plan = plan, .options = o, .unit = d.bfloat16(), .q = q, .k = k, .v = v, .out = {}, .log_sum = {}, .d = {}};
  with_set(d.instructions(), [&]<class Set>(Set) {
    constexpr index_t few = few_heads<Set, T>, more = more_heads<Set, T>;
    if constexpr (has_rounded_tiles<Set, T>)
      if (job.unit != bfloat16_unit::none)
        return attention_by<rounded_attention_columns<Set>, rounded_single_query<Set, few>,
                            rounded_single_query<Set, more>>(d, job, out, log_sum);
    attention_by<attention_columns<Set, T>, single_query<Set, T, few>, single_query<Set, T, more>>(d, job, out,
                                                                                                   log_sum);
  });
}

/// The same with keys and values that `cpu_round_rows` rounded, on a device that `cpu_rounds_keys`.
template <class T>
void cpu_attention_to_rounded(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                              view<const bfloat16_bits> k, view<const bfloat16_bits> v, view<T> out, view<T> log_sum) {
  const attention_job<T, bfloat16_bits> job{
      .plan = plan, .options = o, .unit = d.bfloat16(), .q = q, .k = k, .v = v, .out = {}, .log_sum = {}, .d = {}};
  with_set(d.instructions(), [&]<class Set>(Set) {
    if constexpr (has_rounded_tiles<Set, T>)
      attention_by<rounded_attention_columns<Set, bfloat16_bits>,
                   rounded_single_query<Set, few_heads<Set, T>, bfloat16_bits>,
                   rounded_single_query<Set, more_heads<Set, T>, bfloat16_bits>>(d, job, out, log_sum);
  });
}

}  // namespace plumb::inline v0::detail
