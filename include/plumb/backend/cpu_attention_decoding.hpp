// SPDX-License-Identifier: BSL-1.0
// Attention of decoding on the cpu: sequences with one query each that have the first part of their paths in common, as
// samples of a prompt do, read the keys and values of that part once for all.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_attention_columns.hpp>
#include <plumb/backend/cpu_device.hpp>

namespace plumb::inline v0::detail {

/// One task: segments of one token each at one position, in rows that follow one another, against one head of keys and
/// values. Whole tiles of keys that all of them share are met together; then each goes on alone, from the state that its
/// columns are in. A column's numbers are those of a task of its own, to the bit.
template <class T>
struct decoding_task {
  template <class Set>
  static index_t scratch(const attention_tiles<Set, T>& t) {
    return 2 * attention_columns<Set, T>::room(t);
  }

  template <class Set>
  [[gnu::always_inline]] static inline void run(const attention_job<T>* job, index_t first, index_t count,
                                                index_t kv_head, T* out, T* log_sum, T* memory) {
    using columns = attention_columns<Set, T>;
    using tiles = attention_tiles<Set, T>;
    const tiles t(job->options, job->unit);
    const query_segment* const segments = job->plan.segments + first;
    const index_t row = segments[0].first_row, position = segments[0].first_position;
    const index_t start = first_seen(job->options, position) / tiles::key_tile * tiles::key_tile;
    const index_t shared = shared_keys(*job, segments, count) / tiles::key_tile * tiles::key_tile;

    columns all(*job, t, kv_head, count, 0, memory);
    all.begin(row);
    for (index_t tile = start; tile < shared; tile += tiles::key_tile) {
      all.ask_for(segments[0], tile + tiles::key_tile, position + 1);
      all.meet(segments[0], position, tile, tiles::key_tile);
    }
    columns own(*job, t, kv_head, 1, 0, memory + columns::room(t));
    for (index_t i = 0; i < count; ++i) {
      if (i + 1 < count) own.ask_for(segments[i + 1], std::max(start, shared), position + 1);
      own.begin(row + i);
      for (index_t g = 0; g < t.group; ++g) {
        const index_t c = g * count + i;
        own.totals[g] = all.totals[c], own.highest[g] = all.highest[c];
        std::memcpy(own.sums + g * t.padded, all.sums + c * t.padded, sizeof(T) * static_cast<std::size_t>(t.padded));
      }
      for (index_t tile = std::max(start, shared); tile <= position; tile += tiles::key_tile)
        own.meet(segments[i], position, tile, std::min(tiles::key_tile, position + 1 - tile));
      own.finish(row + i, out, log_sum);
    }
  }

 private:
  /// How many positions lie in the same rows for all.
  static index_t shared_keys(const attention_job<T>& job, const query_segment* segments, index_t count) {
    const std::int32_t* const one = job.plan.key_rows + segments[0].keys;
    index_t shared = segments[0].first_position + 1;
    for (index_t i = 1; i < count; ++i)
      shared = std::mismatch(one, one + shared, job.plan.key_rows + segments[i].keys).first - one;
    return shared;
  }
};

/// Does every segment have one query, and are there several? Then `attention_of_decoding` serves them.
inline bool is_decoding(const attention_plan& plan) {
  const auto single = [](const query_segment& s) { return s.length == 1; };
  return plan.segment_count > 1 && std::all_of(plan.segments, plan.segments + plan.segment_count, single);
}

template <class Set, class T>
void attention_of_decoding(cpu_device& d, const attention_job<T>& job, T* out, T* log_sum) {
  const attention_tiles<Set, T> t(job.options, job.unit);
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  // Keys are read once for each piece of the segments; more pieces only where heads alone leave threads idle.
  index_t pieces = 1;
  while (kv_heads * pieces % d.threads() != 0 && kv_heads * pieces < 4 * index_t{d.threads()}) ++pieces;
  const index_t most = std::clamp<index_t>((segments + pieces - 1) / pieces, 1, t.positions);
  index_t* const first = d.shared_scratch<index_t>(segments + 1);  // the first segment of each task
  index_t blocks = 0;
  for (index_t i = 0; i < segments; ++i) {
    const query_segment &here = job.plan.segments[i], &before = job.plan.segments[std::max<index_t>(i - 1, 0)];
    if (i == 0 || i - first[blocks - 1] == most || here.first_position != before.first_position ||
        here.first_row != before.first_row + 1)
      first[blocks++] = i;
  }
  first[blocks] = segments;
  const index_t need = decoding_task<T>::template scratch<Set>(t);
  d.run(blocks * kv_heads, [&](index_t task, int worker) {
    const index_t block = task / kv_heads;
    call_with<Set, decoding_task<T>>(&job, first[block], first[block + 1] - first[block], task % kv_heads, out, log_sum,
                                     d.scratch<T>(worker, need));
  });
}

}  // namespace plumb::inline v0::detail
