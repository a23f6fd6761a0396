// SPDX-License-Identifier: BSL-1.0
// Products in bfloat16 on the cpu: both operands are rounded while they are packed (cpu_bfloat16_operands.hpp), sums stay floats in
// C. The left operand is packed once for all tasks; a task packs strips of the right one and multiplies all rows with them. A
// low-rank side of the product begins with the same left operand, and is computed where that was just packed.
#pragma once

#include <algorithm>
#include <array>

#include <plumb/backend/cpu_bfloat16_blocks.hpp>
#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_packing.hpp>
#include <plumb/config.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Does a product with so many columns go this way? A product with fewer does little with each number that is rounded. No
/// other size is asked for: a row must not change with the others in its batch.
template <class T>
bool rounds_operands(const cpu_device& d, index_t columns) {
  return std::is_same_v<T, float> && d.bfloat16() != bfloat16_unit::none && columns >= strip_columns;
}

/// Numbers that a weight [columns, depth] takes in strips.
constexpr index_t strips_size(index_t columns, index_t depth) {
  return up_to(columns, strip_columns) * bfloat16_chunks(depth) * bfloat16_chunk;
}

#if defined(PLUMB_X86)

/// What is summed in one trip: chunks of K of one of the product's two terms.
struct bfloat16_piece {
  const product_term<float>* term = nullptr;
  index_t first = 0, chunks = 0;  ///< of the term's K
  index_t left = 0;               ///< where its chunks begin in a band of A
  [[nodiscard]] index_t k() const { return first * bfloat16_chunk; }
  [[nodiscard]] index_t depth() const { return std::min(term->depth - k(), chunks * bfloat16_chunk); }
  /// The strips that were made beforehand, or null.
  [[nodiscard]] const bfloat16_bits* strips() const {
    return term->packed_panels ? reinterpret_cast<const bfloat16_bits*>(term->packed_panels)
                               : reinterpret_cast<const bfloat16_bits*>(term->panels);
  }
};

/// A product that is computed on the way, inner = factor · op(A, D) with A of the product's first term: the left operand of
/// its second.
struct bfloat16_inner {
  product_term<float> down;
  float factor = 1;
  view<float> to;                         ///< [rows, rank]
  const bfloat16_bits* strips = nullptr;  ///< of D
};

/// Strips of the right operand of a product of this kind.
struct strips_of_right {
  template <class Set>
  [[gnu::always_inline]] static inline void run(product kind, const product_term<float>* term, index_t first,
                                                index_t columns, index_t k, index_t depth, bfloat16_bits* to,
                                                index_t strip) {
    if (kind == product::nt)
      call_with<Set, strips_of_rows>(term->b, term->b_stride, term->packed, first, columns, k, depth, to, strip);
    else
      call_with<Set, strips_of_columns>(term->b, term->b_stride, term->packed, first, columns, k, depth, to, strip);
  }
};

/// Calls a task with the blocks of the device's unit.
template <template <class> class Task, class... Arguments>
void run_blocks(const cpu_device& d, Arguments... arguments) {
  if (d.bfloat16() == bfloat16_unit::matrices)
    run_avx512<Task<register_blocks>>(arguments...);
  else
    run_avx512<Task<vector_blocks>>(arguments...);
}

/// A part of the product: rows of C, and pieces of K.
struct bfloat16_part {
  const product_job<float>* job = nullptr;
  index_t row = 0, rows = 0;
  std::array<bfloat16_piece, 2> pieces;
  index_t piece_count = 0;
  const bfloat16_inner* inner = nullptr;  ///< makes the left operand of the second piece; null: it is there
  bool accumulate = false;                ///< C holds sums of parts before
  index_t task_rows = 0;
  index_t chunks_to_pack = 0;     ///< of a strip, by the task
  bfloat16_bits* left = nullptr;  ///< bands of A, `band` numbers apart
  index_t band = 0;
};

/// Packs rows of A that are there, [first, first + rows) of the part, from the first of a band on.
struct pack_left_in_bfloat16 {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const bfloat16_part* the_part, index_t first, index_t rows) {
    const bfloat16_part& part = *the_part;
    const product_job<float>& job = *part.job;
    for (index_t i = 0; i < (part.inner ? 1 : part.piece_count); ++i) {
      const bfloat16_piece& piece = part.pieces[static_cast<std::size_t>(i)];
      const product_term<float>& term = *piece.term;
      const index_t row = part.row + first;
      bfloat16_bits* const to = part.left + first / band_rows * part.band + piece.left * chunk_size;
      if (job.kind == product::tn)
        call_with<Set, bands_of_columns>(matrix_rows<float>{term.a + piece.k() * term.a_stride + row, term.a_stride},
                                         rows, piece.depth(), job.alpha, to, part.band);
      else
        call_with<Set, bands_of_rows>(matrix_rows<float>{term.a + row * term.a_stride + piece.k(), term.a_stride}, rows,
                                      piece.depth(), job.alpha, to, part.band);
    }
  }
};

/// Computes and packs the same rows of what is computed on the way.
template <class Blocks>
struct make_inner_in_bfloat16 {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const bfloat16_part* the_part, index_t first, index_t rows) {
    const bfloat16_part& part = *the_part;
    const bfloat16_inner& inner = *part.inner;
    const index_t rank = inner.to.columns, chunks = part.pieces[0].chunks;
    bfloat16_bits* const bands = part.left + first / band_rows * part.band;
    float* const to = inner.to.data + (part.row + first) * rank;
    Blocks::template run<Set>(rows, rank, chunks, bands, part.band, inner.strips, chunks * chunk_size, to, rank, false);
    if (inner.factor != 1)
      for (index_t i = 0; i < rows * rank; ++i) to[i] *= inner.factor;
    call_with<Set, bands_of_rows>(matrix_rows<float>{to, rank}, rows, rank, 1.0F,
                                  bands + part.pieces[1].left * chunk_size, part.band);
  }
};

/// One task: strips [first, end), rows of the part from `top` on.
template <class Blocks>
struct bfloat16_task {
  /// So much of K at once that a band and a few strips stay in near caches.
  static constexpr index_t most_chunks = 64;

  template <class Set>
  [[gnu::always_inline]] static inline void run(const bfloat16_part* the_part, index_t top, index_t first, index_t end,
                                                bfloat16_bits* right) {
    const bfloat16_part& part = *the_part;
    const product_job<float>& job = *part.job;
    const index_t column = first * strip_columns;
    const index_t columns = std::min(end * strip_columns, job.columns) - column;
    const index_t rows = std::min(part.task_rows, part.rows - top);
    float* const c = job.c + (part.row + top) * job.columns + column;
    const bfloat16_bits* const left = part.left + top / band_rows * part.band;
    if (!part.accumulate && job.beta != 0 && job.beta != 1)
      for (index_t i = 0; i < rows; ++i)
        for (index_t j = 0; j < columns; ++j) c[i * job.columns + j] *= job.beta;
    bool accumulate = part.accumulate || job.beta != 0;
    const auto multiply = [&](index_t left_chunk, index_t chunks, const bfloat16_bits* strips, index_t strip) {
      const index_t each = parts_of(chunks, parts_of(chunks, most_chunks));
      for (index_t k = 0; k < chunks; k += each, accumulate = true)
        Blocks::template run<Set>(rows, columns, std::min(each, chunks - k), left + (left_chunk + k) * chunk_size,
                                  part.band, strips + k * chunk_size, strip, c, job.columns, accumulate);
    };
    // Pieces whose strips are packed here lie behind each other, and are one product: C is written once.
    const index_t strip = part.chunks_to_pack * chunk_size;
    index_t packed = 0;
    for (index_t p = 0; p < part.piece_count; ++p) {
      const bfloat16_piece& piece = part.pieces[static_cast<std::size_t>(p)];
      const product_term<float>& term = *piece.term;
      if (const bfloat16_bits* const made = piece.strips()) {
        const index_t whole = bfloat16_chunks(term.depth) * chunk_size;
        multiply(piece.left, piece.chunks, made + first * whole + piece.first * chunk_size, whole);
        continue;
      }
      call_with<Set, strips_of_right>(job.kind, &term, column, columns, piece.k(), piece.depth(),
                                      right + packed * chunk_size, strip);
      packed += piece.chunks;
      const bool goes_on = p + 1 < part.piece_count && !part.pieces[static_cast<std::size_t>(p + 1)].strips();
      if (!goes_on)
        multiply(piece.left + piece.chunks - packed, packed, static_cast<const bfloat16_bits*>(right), strip);
    }
  }
};

/// Computes a part: the left operand for all tasks, then tasks of a few strips and all rows. Where strips are few, a task has
/// fewer rows; where one task has all strips, it packs its own rows.
inline void multiply_bfloat16_part(cpu_device& d, bfloat16_part& part) {
  constexpr index_t most_strips = 16, group = 64, most_chunks = 512;
  const product_job<float>& job = *part.job;
  const bfloat16_part* const the_part = &part;
  const index_t threads = d.threads(), strips = parts_of(job.columns, strip_columns);
  index_t chunks = 0;
  part.chunks_to_pack = 0;
  for (index_t i = 0; i < part.piece_count; ++i) {
    const auto& piece = part.pieces[static_cast<std::size_t>(i)];
    chunks += piece.chunks;
    if (!piece.strips()) part.chunks_to_pack += piece.chunks;
  }
  // A task's strips take half of a second cache of a megabyte, packed here or before.
  const index_t most = std::clamp<index_t>(most_chunks / std::max<index_t>(chunks, 1), 2, most_strips);
  // Strips go in pairs, which blocks multiply together; the first tasks take one more, so that threads end together.
  const index_t pairs = parts_of(strips, 2), rounds = parts_of(strips, threads * most);
  const index_t across = std::min(pairs, threads * rounds), more = pairs % across;
  const auto first_strip = [&](index_t task) { return 2 * (pairs / across * task + std::min(task, more)); };
  part.task_rows = across >= threads ? part.rows : up_to(parts_of(part.rows, parts_of(threads, across)), band_rows);

  const auto pack = [&](index_t first, index_t rows) {
    run_avx512<pack_left_in_bfloat16>(the_part, first, rows);
    if (part.inner) run_blocks<make_inner_in_bfloat16>(d, the_part, first, rows);
  };
  const bool own_rows = across == 1;
  if (!own_rows && part.rows <= group / 2)
    pack(0, part.rows);  // sooner done than waited for
  else if (!own_rows)
    d.run(parts_of(part.rows, group),
          [&](index_t task, int) { pack(task * group, std::min(group, part.rows - task * group)); });
  d.run(parts_of(part.rows, part.task_rows) * across, [&](index_t task, int worker) {
    bfloat16_bits* const right = d.scratch<bfloat16_bits>(worker, first_strip(1) * part.chunks_to_pack * chunk_size);
    const index_t top = task / across * part.task_rows, column = task % across;
    const index_t first = first_strip(column), end = std::min(first_strip(column + 1), strips);
    if (own_rows) pack(top, std::min(part.task_rows, part.rows - top));
    run_blocks<bfloat16_task>(d, the_part, top, first, end, right);
  });
}

/// Strips of the right operand of a product of this kind, [depth, columns] or [columns, depth], all of them.
inline void make_strips(cpu_device& d, product kind, const product_term<float>& term, index_t columns,
                        bfloat16_bits* to) {
  const index_t strip = bfloat16_chunks(term.depth) * chunk_size;
  d.run(parts_of(columns, strip_columns), [&](index_t task, int) {
    const index_t first = task * strip_columns;
    run_avx512<strips_of_right>(kind, &term, first, std::min(strip_columns, columns - first), index_t{0}, term.depth,
                                to + task * strip, strip);
  });
}

/// How much of K goes into one part, in chunks: the packed left operand takes a few megabytes.
inline constexpr index_t bfloat16_part_chunks = 128;

/// The whole product, in parts of so many rows and so much of K. `inner`: the left operand of the second term is computed on
/// the way, from a K that is no deeper than a part.
inline void multiply_rounded(cpu_device& d, const product_job<float>& job, bfloat16_inner* inner = nullptr) {
  constexpr index_t most_rows = 2048, most_chunks = bfloat16_part_chunks;
  const index_t chunks = bfloat16_chunks(job.term.depth), more = bfloat16_chunks(job.more.depth);
  const index_t wide = std::min(chunks, most_chunks) + more;
  bfloat16_part part;
  part.job = &job;
  part.band = wide * chunk_size;
  part.inner = inner;
  const index_t left = parts_of(std::min(job.rows, most_rows), band_rows) * part.band;
  const bool packs_inner = inner && !inner->strips;
  part.left =
      d.shared_scratch<bfloat16_bits>(left + (packs_inner ? strips_size(inner->to.columns, inner->down.depth) : 0));
  if (packs_inner) {
    make_strips(d, job.kind, inner->down, inner->to.columns, part.left + left);
    inner->strips = part.left + left;
  }
  for (; part.row < job.rows; part.row += most_rows) {
    part.rows = std::min(most_rows, job.rows - part.row);
    for (index_t first = 0; first == 0 || first < chunks; first += most_chunks) {
      const index_t here = std::min(most_chunks, chunks - first);
      part.accumulate = first > 0;
      part.pieces = {{{&job.term, first, here, 0}, {&job.more, 0, more, here}}};
      part.piece_count = more > 0 && first + here == chunks ? 2 : 1;
      multiply_bfloat16_part(d, part);
    }
  }
}

#endif

}  // namespace plumb::inline v0::detail
