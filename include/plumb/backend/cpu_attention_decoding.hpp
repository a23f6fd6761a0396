// SPDX-License-Identifier: BSL-1.0
// Attention of decoding on the cpu: sequences with one query each that have the first part of their paths in common, as
// samples of a prompt do, read the keys and values of that part once for all.
#pragma once

#include <algorithm>
#include <vector>

#include <plumb/backend/cpu_attention_single.hpp>
#include <plumb/backend/cpu_device.hpp>

namespace plumb::inline v0::detail {

/// Segments of one token each at one position, in rows that follow one another: [first, first + count) of the plan.
struct decoding_block {
  index_t first, count;
  index_t begin, shared;  ///< positions that all of them see in the same rows, in whole tiles of keys
  index_t prepared = -1;  ///< the number of the first of these tiles among those to prepare, or −1: they are not
};

/// One task: a block, against one head of keys and values. The tiles of keys that all of the block share are met together; then
/// each goes on alone, from the state that its columns are in, as a `Query`, or, if none serves (void), as columns again. A column's
/// numbers are those of a task of its own, to the bit.
template <class Columns, class Query>
struct decoding_task {
  using T = typename Columns::number;
  using tiles = typename Columns::tiles;
  static constexpr bool as_columns = std::is_void_v<Query>;

  static index_t scratch(const tiles& t) {
    if constexpr (as_columns)
      return 2 * Columns::room(t);
    else
      return Columns::room(t) + std::max(Columns::room(t), single_rest<Query, Columns>::room(t));
  }

  /// `prepared`: tiles of keys of this head.
  template <class Set>
  [[gnu::always_inline]] static inline void run(const typename Columns::job_type* job, const decoding_block* block,
                                                index_t kv_head, const bfloat16_bits* prepared, T* out, T* log_sum,
                                                T* memory) {
    constexpr index_t key_tile = tiles::key_tile;
    const tiles t(job->options);
    const query_segment* const segments = job->plan.segments + block->first;
    const index_t row = segments[0].first_row, position = segments[0].first_position, count = block->count;

    Columns all(*job, t, kv_head, count, 0, memory);
    all.begin(row);
    for (index_t tile = block->begin; tile < block->shared; tile += key_tile) {
      if constexpr (Columns::prepares)
        if (block->prepared >= 0) {
          const index_t number = block->prepared + (tile - block->begin) / key_tile;
          all.meet(segments[0], position, tile, prepared + number * Columns::prepared_size(t));
          continue;
        }
      if constexpr (!Columns::prepares) ask_for_keys(*job, t, kv_head, segments[0], tile + key_tile, position + 1);
      all.meet(segments[0], position, tile, key_tile);
    }
    if constexpr (!as_columns) {
      if (first_seen(job->options, position) == 0) {
        for (index_t i = 0; i < count; ++i)
          call_with<Set, single_rest<Query, Columns>>(static_cast<const Columns*>(&all), i, block->first + i,
                                                      block->shared / key_tile, out, log_sum,
                                                      memory + Columns::room(t));
        return;
      }
    }
    Columns own(*job, t, kv_head, 1, 0, memory + Columns::room(t));
    for (index_t i = 0; i < count; ++i) {
      if (!Columns::prepares && i + 1 < count)
        ask_for_keys(*job, t, kv_head, segments[i + 1], block->shared, position + 1);
      own.go_on_from(all, i, row + i);
      for (index_t tile = block->shared; tile <= position; tile += key_tile)
        own.meet(segments[i], position, tile, std::min(key_tile, position + 1 - tile));
      own.finish(row + i, out, log_sum);
    }
  }
};

/// Does every segment have one query, and are there several, or is there something to prepare? Then `attention_of_decoding`
/// serves them.
template <class Columns>
bool is_decoding(const attention_plan& plan) {
  const auto single = [](const query_segment& s) { return s.length == 1; };
  return (plan.segment_count > 1 || Columns::prepares) &&
         std::all_of(plan.segments, plan.segments + plan.segment_count, single);
}

/// A plan cut into blocks, and the tiles of keys that several of them share, as pieces of the samples of one prompt do.
struct decoding_blocks {
  struct shared_tile {
    index_t segment, position;  ///< where it begins on the path of this segment, which is one of those that share it
  };
  std::vector<decoding_block> all;
  std::vector<shared_tile> to_prepare;

  void prepare(decoding_block& block, index_t key_tile) {
    block.prepared = static_cast<index_t>(to_prepare.size());
    for (index_t tile = block.begin; tile < block.shared; tile += key_tile)
      to_prepare.push_back({.segment = block.first, .position = tile});
  }
};

/// Cuts a plan into blocks of `most` segments at most.
template <class Tiles>
decoding_blocks cut_into_blocks(const attention_plan& plan, const attention_options& o, index_t most) {
  constexpr index_t key_tile = Tiles::key_tile;
  /// The end of the tiles from `begin` to `end` that lie in the same rows for both segments.
  const auto common = [&](index_t one, index_t other, index_t begin, index_t end) {
    const std::int32_t* const rows[] = {plan.key_rows + plan.segments[one].keys,
                                        plan.key_rows + plan.segments[other].keys};
    while (begin < end && std::equal(rows[0] + begin, rows[0] + begin + key_tile, rows[1] + begin)) begin += key_tile;
    return begin;
  };
  decoding_blocks blocks;
  for (index_t i = 0; i < plan.segment_count; ++i) {
    const query_segment &here = plan.segments[i], &before = plan.segments[std::max<index_t>(i - 1, 0)];
    if (i > 0 && blocks.all.back().count < most && here.first_position == before.first_position &&
        here.first_row == before.first_row + 1) {
      decoding_block& last = blocks.all.back();
      ++last.count;
      last.shared = common(last.first, i, last.begin, last.shared);
      continue;
    }
    const index_t begin = first_seen(o, here.first_position) / key_tile * key_tile;
    const index_t whole = (here.first_position + 1 - begin) / key_tile * key_tile;
    blocks.all.push_back({.first = i, .count = 1, .begin = begin, .shared = begin + whole});
  }
  for (std::size_t b = 1; b < blocks.all.size(); ++b) {
    decoding_block &before = blocks.all[b - 1], &here = blocks.all[b];
    if (before.begin != here.begin) continue;
    const index_t end = common(before.first, here.first, here.begin, std::min(before.shared, here.shared));
    if (here.count == 1) here.shared = end;  // alone it shares with itself
    if (end == here.begin || end != here.shared) continue;
    if (before.prepared < 0) blocks.prepare(before, key_tile);
    here.prepared = before.prepared;
  }
  return blocks;
}

/// Prepares one tile of keys and values of one head.
template <class Columns>
struct prepare_tile {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const typename Columns::job_type* job, index_t segment, index_t kv_head,
                                                index_t tile, bfloat16_bits* to) {
    const typename Columns::tiles t(job->options);
    Columns::prepare(*job, t, kv_head, job->plan.segments[segment], tile, t.key_tile, to);
  }
};

template <class Columns, class Query, class T>
void attention_of_decoding(cpu_device& d, const typename Columns::job_type& job, T* out, T* log_sum) {
  using set = typename Columns::set;
  const typename Columns::tiles t(job.options);
  const index_t segments = job.plan.segment_count, kv_heads = job.options.kv_heads;
  // Keys are read once for each piece of the segments; more pieces only where heads alone leave threads idle.
  index_t pieces = 1;
  while (kv_heads * pieces % d.threads() != 0 && kv_heads * pieces < 4 * index_t{d.threads()}) ++pieces;
  const index_t most = std::clamp<index_t>((segments + pieces - 1) / pieces, 1, t.positions);
  decoding_blocks blocks = cut_into_blocks<typename Columns::tiles>(job.plan, job.options, most);

  // Who shares with nobody goes on alone from the first key, by kernels made for that.
  if constexpr (!std::is_void_v<Query>)
    for (decoding_block& block : blocks.all)
      if (block.count == 1 && (block.prepared < 0 || !Columns::prepares) &&
          first_seen(job.options, job.plan.segments[block.first].first_position) == 0)
        block.shared = block.begin;

  const bfloat16_bits* prepared = nullptr;
  index_t of_head = 0;  // numbers of `prepared`
  if constexpr (Columns::prepares) {
    if (segments == 1 && kv_heads % d.threads() != 0) blocks.prepare(blocks.all[0], t.key_tile);
    const index_t size = Columns::prepared_size(t), count = static_cast<index_t>(blocks.to_prepare.size());
    of_head = count * size;
    auto* const memory = d.shared_scratch<bfloat16_bits>(kv_heads * of_head);
    d.run(kv_heads * count, [&](index_t task, int) {
      const auto& tile = blocks.to_prepare[static_cast<std::size_t>(task % count)];
      call_with<set, prepare_tile<Columns>>(&job, tile.segment, task / count, tile.position, memory + task * size);
    });
    prepared = memory;
  }
  const index_t need = decoding_task<Columns, Query>::scratch(t), count = static_cast<index_t>(blocks.all.size());
  d.run(kv_heads * count, [&](index_t task, int worker) {
    const decoding_block* const block = &blocks.all[static_cast<std::size_t>(task % count)];
    const index_t kv_head = task / count;
    call_with<set, decoding_task<Columns, Query>>(&job, block, kv_head, prepared + kv_head * of_head, out, log_sum,
                                                  d.scratch<T>(worker, need));
  });
}

}  // namespace plumb::inline v0::detail
