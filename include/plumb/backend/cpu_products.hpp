// SPDX-License-Identifier: BSL-1.0
// Matrix products on the cpu: C is cut into tasks, the right operand is packed for cpu_tile.hpp, once in 1,024 rows of C or more.
// Rows of the left one are read where they lie; its columns are packed, and so are rows that fill no tile.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_bfloat16_products.hpp>
#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_narrow.hpp>
#include <plumb/backend/cpu_packing.hpp>
#include <plumb/config.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Numbers of scratch memory that a task needs.
template <class Set, class T>
index_t product_scratch(const product_job<T>& job) {
  constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
  const index_t columns = up_to(job.task_columns, panel);
  const index_t left = job.left ? 0 : 2 * most * panel_stride<T>;
  return columns * (job.part.depth + job.more.depth) + left + (job.sums ? 0 : most * columns);
}

/// Packs `tiles` tiles of the left operand's rows, for every block of the part's depth and one for the second term:
/// job.left[block, tile].
template <class T>
struct pack_left_task {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const product_job<T>* the_job, index_t first, index_t tiles) {
    constexpr index_t most = Set::tile_rows;
    const product_job<T>& job = *the_job;
    const index_t all = parts_of(job.part.rows, most), rows = std::min(tiles, all - first) * most;
    const index_t row = job.part.row + first * most, down = std::min(rows, job.part.rows - first * most);
    T* to = job.left + first * most * panel_stride<T>;
    for (index_t k = 0; k < job.part.depth; k += depth_block, to += all * most * panel_stride<T>)
      pack_left<Set, T>(job, job.term, row, down, job.part.k + k, std::min(depth_block, job.part.depth - k), to);
    if (job.more.depth > 0) pack_left<Set, T>(job, job.more, row, down, 0, job.more.depth, to);
  }
};

/// One task: what begins at (row, column) of the part.
template <class T>
struct product_task {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const product_job<T>* the_job, index_t row, index_t column,
                                                T* scratch) {
    constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
    const product_job<T>& job = *the_job;
    const index_t rows = std::min(job.task_rows, job.part.rows - row);
    const index_t columns = std::min(job.task_columns, job.part.columns - column);
    const index_t all_tiles = parts_of(job.part.rows, job.tile_rows), first_row = job.part.row + row;
    const index_t first_column = job.part.column + column, across = up_to(job.task_columns, panel);
    const bool ends = job.part.k + job.part.depth >= job.term.depth, more = ends && job.more.depth > 0;
    T* const right = scratch;
    T* const more_right = right + across * job.part.depth;
    T* const own_left = more_right + across * job.more.depth;
    T* const own_more = own_left + most * panel_stride<T>;
    T* const own_sums = own_left + (job.left ? 0 : 2 * most * panel_stride<T>);
    // A right operand that is used once or twice is not worth packing.
    const bool direct =
        job.kind != product::nt && !job.term.packed && rows <= 2 * most && columns % simd<Set, T>::lanes == 0;
    const bool as_codes = std::is_same_v<T, float> && job.term.packed_panels != nullptr;
    const bool plain = job.alpha == 1 && job.beta == 0 && !job.sums && !as_codes;
    if (!direct && !job.term.panels && !as_codes)
      for (index_t k = 0; k < job.part.depth; k += depth_block)
        pack_right<Set, T>(job.kind, job.term, first_column, columns, job.part.k + k,
                           std::min(depth_block, job.part.depth - k), right + k * across);
    if (more && !job.more.panels)
      pack_right<Set, T>(job.kind, job.more, first_column, columns, 0, job.more.depth, more_right);
    // 15 or 16 rows of codes are two tiles of 8; a second term, of plain numbers, has no kernel for 8 and is packed for it.
    const bool halves = as_codes && !job.sums && rows > most && rows <= 2 * half_tile_rows<Set>;
    const index_t step = halves ? half_tile_rows<Set> : job.tile_rows;
    for (index_t i = 0; i < rows; i += step) {
      const index_t down = std::min(step, rows - i), tile = (row + i) / job.tile_rows;
      for (index_t k = 0; k == 0 || k < job.part.depth; k += depth_block) {
        const index_t depth = std::min(depth_block, job.part.depth - k), at = job.part.k + k;
        const bool last = ends && k + depth >= job.part.depth, adds = last && more;
        rows_of_tile left{own_left, panel_stride<T>}, more_left{own_more, panel_stride<T>};
        const bool in_place = job.left_in_place && down == step;
        if (in_place) left = {job.term.a + (first_row + i) * job.term.a_stride + at, job.term.a_stride};
        if (in_place && !halves) {
          more_left = {job.more.a + (first_row + i) * job.more.a_stride, job.more.a_stride};
        } else if (job.left) {
          left.first = job.left + (k / depth_block * all_tiles + tile) * most * panel_stride<T>;
          more_left.first = left.first + all_tiles * most * panel_stride<T>;
        } else {
          if (!in_place) pack_left<Set, T>(job, job.term, first_row + i, down, at, depth, own_left);
          if (adds) pack_left<Set, T>(job, job.more, first_row + i, down, 0, job.more.depth, own_more);
        }
        for (index_t j = 0; j < columns; j += panel) {
          const index_t here = std::min(panel, columns - j), wide = kernel_columns<Set, T>(here);
          const index_t c_column = first_column + j;
          const T* const b = job.term.panels ? job.term.panels + c_column * job.term.depth + at * wide
                             : direct        ? job.term.b + at * job.term.b_stride + c_column
                                             : right + k * across + j * depth;
          T* const c = job.c + (first_row + i) * job.columns + c_column;
          const bool straight =
              plain && down == job.tile_rows && here == wide;  // no other memory between the sums and C
          T* const sums = straight   ? c
                          : job.sums ? job.sums + ((column + j) / panel * all_tiles + tile) * job.tile_rows * panel
                                     : own_sums + j * most;
          const index_t sums_stride = straight ? job.columns : wide;
          if constexpr (std::is_same_v<T, float>) {
            if (as_codes) {
              const panel_order order = order_of_panels<Set>(*job.term.packed);
              multiply_packed_tile<Set>(order, down, depth, left.first, left.stride,
                                        job.term.packed_panels + order.place(c_column / panel, at),
                                        table_of(*job.term.packed), sums, wide < panel, at > 0);
            }
          }
          if (!as_codes)
            multiply_tile<Set, T>(down, here, depth, left.first, left.stride, b, direct ? job.term.b_stride : wide,
                                  sums, sums_stride, at > 0);
          if (adds) {
            const T* const more_b =
                job.more.panels ? job.more.panels + c_column * job.more.depth : more_right + j * job.more.depth;
            multiply_tile<Set, T>(down, here, job.more.depth, more_left.first, more_left.stride, more_b, wide, sums,
                                  sums_stride, true);
          }
          if (last && !straight)
            call_with<Set, finish_tile<T>>(job.alpha, job.beta, down, here, static_cast<const T*>(sums), wide, c,
                                           job.columns);
        }
      }
    }
  }

 private:
  struct rows_of_tile {
    const T* first;
    index_t stride;
  };
};

/// Into how large parts `count` is cut, from `largest` down, so that `threads` are done soonest when each part comes `times`
/// times and costs `extra` besides.
constexpr index_t even_part(index_t count, index_t largest, index_t times, index_t threads, index_t extra) {
  index_t best = largest;
  const auto time = [&](index_t part) { return parts_of(times * parts_of(count, part), threads) * (part + extra); };
  for (index_t part = largest - 1; part > 0 && part >= largest - 16; --part)
    if (time(part) < time(best)) best = part;
  return best;
}

/// Cuts the part into tasks: large enough that packing costs little, of sizes that keep every thread busy to the end. The
/// cut changes no bit of the result, so it may look at the number of threads.
template <class Set, class T>
void cut_product(product_job<T>& job, index_t threads) {
  constexpr index_t panel = panel_columns<Set, T>;
  constexpr index_t least_work = index_t{1} << 17;  // multiply-adds: about two microseconds
  const index_t panels = parts_of(job.part.columns, panel), tiles = parts_of(job.part.rows, job.tile_rows);
  const index_t blocks = std::max<index_t>(parts_of(job.part.depth, depth_block), 1);
  // What a task packs of the right operand stays in the second cache: 8 panels of a block.
  index_t across = std::min(std::max<index_t>(8 / blocks, 1), panels), down = tiles;
  // A tile of few rows takes as long as a full one: the right operand is read for it all the same.
  const index_t work = tiles * job.tile_rows * job.part.columns * std::max<index_t>(job.part.depth, 1);
  const index_t wanted = std::min(2 * threads, work / least_work);  // tasks
  if (threads > 1 && wanted > 1) {
    if (tiles <= 2)
      across = even_part(panels, std::min(across, parts_of(panels, 2 * wanted)), 1, threads, 0);
    else if (across < panels)
      across = even_part(panels, across, 1, threads, 0);
    const index_t side = parts_of(panels, across);
    if (tiles > 2) down = even_part(tiles, parts_of(tiles, parts_of(wanted, side)), side, threads, 1);
  }
  job.task_rows = down * job.tile_rows;
  job.task_columns = across * panel;
}

/// Computes job.part. `left` has room for its packed rows.
template <class Set, class T>
void multiply_part(cpu_device& d, product_job<T>& job, T* left) {
  constexpr index_t most = Set::tile_rows;
  cut_product<Set, T>(job, d.threads());
  const product_job<T>* const the_job = &job;
  const index_t across = parts_of(job.part.columns, job.task_columns);
  const index_t down = parts_of(job.part.rows, job.task_rows);
  const bool few = job.part.rows <= 2 * most;  // packed sooner than waited for
  job.left_in_place = job.kind != product::tn;
  job.left = job.kind == product::tn && across > 1 && !few ? left : nullptr;
  if (job.left) {
    const index_t tiles = parts_of(job.part.rows, most), group = std::clamp<index_t>(tiles / d.threads(), 1, 8);
    d.run(parts_of(tiles, group),
          [&](index_t task, int) { call_with<Set, pack_left_task<T>>(the_job, task * group, group); });
  }
  const index_t need = product_scratch<Set, T>(job);
  d.run(down * across, [&](index_t task, int worker) {
    call_with<Set, product_task<T>>(the_job, task / across * job.task_rows, task % across * job.task_columns,
                                    d.scratch<T>(worker, need));
  });
}

/// The whole product, in parts: of K so much that a task's panels stay in the second cache, of columns so many that waiting
/// sums take a few megabytes.
template <class Set, class T>
void multiply_with(cpu_device& d, product_job<T>& job) {
  constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
  constexpr index_t room = (index_t{1} << 22) / static_cast<index_t>(sizeof(T));
  const bool spaced = job.kind != product::tn && !job.term.packed_panels && job.rows > 2 * most &&
                      job.term.a_stride * static_cast<index_t>(sizeof(T)) % 4096 == 0;
  job.tile_rows = spaced ? index_t{spaced_tile_rows<Set>} : most;
  // 1,024 rows and more at a time: all columns pass by, and A should not have left the caches by then.
  const index_t times = std::max<index_t>(job.rows / 1024, 1);
  const index_t rows = std::min(job.rows, up_to(parts_of(job.rows, times), job.tile_rows)),
                tall = up_to(rows, job.tile_rows);
  const bool packs = job.kind == product::tn && rows > 2 * most;  // the left operand, for all tasks
  const index_t blocks = packs ? std::max<index_t>(room / tall / depth_block, 1) : 4;
  const index_t depth = std::min(job.term.depth, blocks * depth_block);
  const bool whole = depth == job.term.depth;
  const index_t columns =
      whole ? job.columns : std::min(job.columns, std::max<index_t>(room / tall / panel, 1) * panel);
  const index_t left =
      packs ? tall * (parts_of(depth, depth_block) + (job.more.depth > 0 ? 1 : 0)) * panel_stride<T> : 0;
  const index_t sums = whole ? 0 : tall * up_to(columns, panel);
  T* const memory = left + sums > 0 ? d.shared_scratch<T>(left + sums) : nullptr;
  if (!whole) job.sums = memory + left;
  auto& part = job.part;
  for (part.row = 0; part.row < job.rows; part.row += rows) {
    part.rows = std::min(rows, job.rows - part.row);
    for (part.column = 0; part.column < job.columns; part.column += columns) {
      part.columns = std::min(columns, job.columns - part.column);
      for (part.k = 0; part.k == 0 || part.k < job.term.depth; part.k += depth) {
        part.depth = std::min(depth, job.term.depth - part.k);
        multiply_part<Set, T>(d, job, memory);
        if (depth == 0) break;
      }
    }
  }
}

/// Starts a product.
template <class T>
void multiply_job(cpu_device& d, product_job<T> job) {
  if (job.rows == 0 || job.columns == 0) return;
#if defined(PLUMB_X86)
  if constexpr (std::is_same_v<T, float>)
    if (rounds_operands<T>(d, job.columns) && job.term.depth > 0) return multiply_rounded(d, job);
#endif
  with_set(d.instructions(), [&]<class Set>(Set) { multiply_with<Set, T>(d, job); });
}

/// The operands of a product of this kind; `panels` or `packed` in place of b where they are there.
template <class T>
product_term<T> term_of(product kind, view<const T> a, view<const T> b, const T* panels = nullptr,
                        const packed_matrix* packed = nullptr, const std::uint8_t* packed_panels = nullptr) {
  return {a.data, b.data,       panels, a.columns, b.columns, kind == product::tn ? a.rows : a.columns,
          packed, packed_panels};
}

/// C = β C + α Σ of a term.
template <class T>
product_job<T> job_of(product kind, T alpha, const product_term<T>& term, T beta, view<T> c) {
  return {.kind = kind,
          .alpha = alpha,
          .beta = beta,
          .term = term,
          .more = {},
          .c = c.data,
          .rows = c.rows,
          .columns = c.columns,
          .part = {}};
}

/// C = β C + α op(A, B).
template <class T>
void cpu_multiply(cpu_device& d, product kind, T alpha, view<const T> a, view<const T> b, T beta, view<T> c) {
  bool done = false;
  if (kind == product::tn)
    with_set(d.instructions(), [&]<class Set>(Set) { done = multiply_narrow<Set, T>(d, alpha, a, b, beta, c); });
  if (done) return;
  multiply_job<T>(d, job_of<T>(kind, alpha, term_of<T>(kind, a, b), beta, c));
}

/// C = β C + α op(A, B), B in fewer bits: A Bᵀ or A B. The bits of `cpu_multiply` with B as floats. `panels` of
/// `cpu_make_packed_panels`, for A Bᵀ alone, or null.
template <class T>
void cpu_multiply_packed(cpu_device& d, product kind, T alpha, view<const T> a, const packed_matrix& b,
                         const std::uint8_t* panels, T beta, view<T> c) {
  multiply_job<T>(d, job_of<T>(kind, alpha, term_of<T>(kind, a, {}, nullptr, &b, panels), beta, c));
}

// --- weights packed once --------------------------------------------------------------------------------------------

template <class T>
index_t cpu_panel_size(const cpu_device& d, shape extent) {
  if (rounds_operands<T>(d, extent.rows)) return strips_size(extent.rows, extent.columns) / 2;
  index_t columns = 0;
  with_set(d.instructions(), [&]<class Set>(Set) {
    constexpr index_t panel = panel_columns<Set, T>;
    const index_t rest = extent.rows % panel;
    columns = extent.rows - rest + (rest > 0 ? kernel_columns<Set, T>(rest) : 0);
  });
  return columns * extent.columns;
}

/// One panel: rows [first, first + rows) of a weight.
template <class T>
struct make_panel_task {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const product_term<T>* term, index_t first, index_t rows, T* to) {
    pack_right<Set, T>(product::nt, *term, first, rows, 0, term->depth, to);
  }
};

template <class T>
void cpu_make_panels(cpu_device& d, view<const T> weight, T* to) {
  const product_term<T> term{nullptr, weight.data, nullptr, 0, weight.columns, weight.columns, nullptr, nullptr};
#if defined(PLUMB_X86)
  if constexpr (std::is_same_v<T, float>)
    if (rounds_operands<T>(d, weight.rows))
      return make_strips(d, product::nt, term, weight.rows, reinterpret_cast<bfloat16_bits*>(to));
#endif
  with_set(d.instructions(), [&]<class Set>(Set) {
    constexpr index_t panel = panel_columns<Set, T>;
    d.run(parts_of(weight.rows, panel), [&](index_t task, int) {
      const index_t first = task * panel;
      call_with<Set, make_panel_task<T>>(&term, first, std::min(panel, weight.rows - first), to + first * term.depth);
    });
  });
}

/// Bytes of a packed weight in the order of products; 0 where the device has no kernel for it.
inline index_t packed_panel_bytes(const cpu_device& d, const packed_matrix& m) {
  if (rounds_operands<float>(d, m.rows)) return 2 * strips_size(m.rows, m.columns);
  index_t bytes = 0;
  with_set(d.instructions(), [&]<class Set>(Set) {
    bytes = parts_of(m.rows, panel_columns<Set, float>) * order_of_panels<Set>(m).panel_bytes;
  });
  return bytes;
}
inline void make_all_packed_panels(cpu_device& d, const packed_matrix& m, std::uint8_t* to) {
#if defined(PLUMB_X86)
  if (rounds_operands<float>(d, m.rows))
    return make_strips(d, product::nt, {nullptr, nullptr, nullptr, 0, m.columns, m.columns, &m, nullptr}, m.rows,
                       reinterpret_cast<bfloat16_bits*>(to));
#endif
  with_set(d.instructions(), [&]<class Set>(Set) {
    constexpr index_t panel = panel_columns<Set, float>;
    const panel_order order = order_of_panels<Set>(m);
    d.run(parts_of(m.rows, panel), [&](index_t task, int) {
      const index_t first = task * panel;
      call_with<Set, write_packed_panel>(&m, &order, first, std::min(panel, m.rows - first),
                                         to + task * order.panel_bytes);
    });
  });
}
/// Only floats have kernels that read codes.
template <class T>
index_t cpu_packed_panel_size(const cpu_device& d, const packed_matrix& m) {
  return std::is_same_v<T, float> ? packed_panel_bytes(d, m) : 0;
}
template <class T>
void cpu_make_packed_panels(cpu_device& d, const packed_matrix& m, std::uint8_t* to) {
  make_all_packed_panels(d, m, to);
}

/// C = β C + α A Bᵀ, B from `cpu_make_panels`.
template <class T>
void cpu_multiply_panels(cpu_device& d, T alpha, view<const T> a, const T* panels, T beta, view<T> c) {
  multiply_job<T>(d, job_of<T>(product::nt, alpha, term_of<T>(product::nt, a, {}, panels), beta, c));
}

}  // namespace plumb::inline v0::detail
