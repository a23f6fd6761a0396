// SPDX-License-Identifier: BSL-1.0
// Matrix products on the cpu: C is cut into tasks, operands are packed for cpu_tile.hpp, partial sums wait in scratch
// memory between the blocks of K.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_tile.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// One product and how it is cut; see `reference::multiply`.
template <class T>
struct product_job {
  product kind = product::nt;
  T alpha = 1, beta = 0;
  const T* a = nullptr;
  const T* b = nullptr;
  T* c = nullptr;
  index_t rows = 0, columns = 0, depth = 0;
  index_t a_stride = 0, b_stride = 0;
  index_t task_rows = 0, task_columns = 0;  ///< the part of C that is one task
};

/// Packs `rows` rows from `first`, [k, k + depth), of the left operand as panels of kernel rows.
template <class Set, class T>
[[gnu::always_inline]] inline void pack_left(const product_job<T>& job, index_t first, index_t rows, index_t k,
                                             index_t depth, T* to) {
  constexpr index_t most = Set::tile_rows;
  for (index_t i = 0; i < rows; i += most, to += most * panel_stride<T>) {
    const index_t here = std::min(most, rows - i);
    if (job.kind == product::tn)
      call_with<Set, transpose<T>>(job.a + k * job.a_stride + first + i, job.a_stride, depth, here,
                                   job.rows - first - i, to, panel_stride<T>);
    else
      for (index_t r = 0; r < here; ++r)
        std::memcpy(to + r * panel_stride<T>, job.a + (first + i + r) * job.a_stride + k,
                    sizeof(T) * static_cast<std::size_t>(depth));
    for (index_t r = here; r < kernel_rows<Set>(here); ++r) std::fill_n(to + r * panel_stride<T>, depth, T(0));
  }
}

/// Packs `columns` ≤ panel_columns columns from `first`, [k, k + depth), of the right operand: to[depth, wide].
template <class Set, class T>
[[gnu::always_inline]] inline void pack_right(const product_job<T>& job, index_t first, index_t columns, index_t k,
                                              index_t depth, index_t wide, T* to) {
  if (job.kind == product::nt)
    call_with<Set, transpose<T>>(job.b + first * job.b_stride + k, job.b_stride, columns, depth, depth, to, wide);
  else
    for (index_t i = 0; i < depth; ++i)
      std::memcpy(to + i * wide, job.b + (k + i) * job.b_stride + first, sizeof(T) * static_cast<std::size_t>(columns));
  if (columns < wide)
    for (index_t i = 0; i < depth; ++i) std::fill_n(to + i * wide + columns, wide - columns, T(0));
}

/// c = alpha · sums + beta · c, `rows` by `columns`; the rows of sums are `wide` apart, those of c `c_stride`.
template <class T>
struct finish_tile {
  template <class Set>
  [[gnu::always_inline]] static inline void run(T alpha, T beta, index_t rows, index_t columns, const T* sums,
                                                index_t wide, T* c, index_t c_stride) {
    using s = simd<Set, T>;
    for (index_t i = 0; i < rows; ++i, sums += wide, c += c_stride) {
      index_t j = 0;
      for (; j + s::lanes <= columns; j += s::lanes) {
        typename s::vector sum, old;
        s::load(sum, sums + j);
        sum *= alpha;
        if (beta != 0) {
          s::load(old, c + j);
          sum += beta * old;
        }
        s::store(c + j, sum);
      }
      for (; j < columns; ++j) c[j] = beta == 0 ? alpha * sums[j] : alpha * sums[j] + beta * c[j];
    }
  }
};

/// Numbers of scratch memory that a task needs.
template <class Set, class T>
constexpr index_t product_scratch(index_t task_rows, index_t task_columns, index_t depth) {
  const index_t rows = up_to(task_rows, Set::tile_rows), columns = up_to(task_columns, panel_columns<Set, T>);
  return rows * panel_stride<T> + panel_columns<Set, T> * depth_block +
         (depth > depth_block ? rows * columns : Set::tile_rows * panel_columns<Set, T>);
}

/// One task: the part of C that begins at (row, column).
template <class T>
struct product_task {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const product_job<T>* the_job, index_t row, index_t column,
                                                T* scratch) {
    constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
    const product_job<T>& job = *the_job;
    const index_t rows = std::min(job.task_rows, job.rows - row);
    const index_t columns = std::min(job.task_columns, job.columns - column);
    T* const left = scratch;
    T* const right = left + up_to(rows, most) * panel_stride<T>;
    T* const sums = right + panel * depth_block;
    const bool once = job.depth <= depth_block;
    index_t k = 0;
    do {
      const index_t depth = std::min(depth_block, job.depth - k);
      const bool last = k + depth >= job.depth;
      pack_left<Set, T>(job, row, rows, k, depth, left);
      for (index_t j = 0; j < columns; j += panel) {
        const index_t across = std::min(panel, columns - j), wide = kernel_columns<Set, T>(across);
        const T* b = right;
        index_t b_stride = wide;
        if (job.kind != product::nt && rows <= most && across == wide) {
          b = job.b + k * job.b_stride + column + j;  // used once: not worth packing
          b_stride = job.b_stride;
        } else {
          pack_right<Set, T>(job, column + j, across, k, depth, wide, right);
        }
        for (index_t i = 0; i < rows; i += most) {
          const index_t down = std::min(most, rows - i);
          T* const tile = once ? sums : sums + (j / panel * up_to(rows, most) + i) * panel;
          multiply_tile<Set, T>(down, across, depth, left + i * panel_stride<T>, b, b_stride, tile, k > 0);
          if (last)
            call_with<Set, finish_tile<T>>(job.alpha, job.beta, down, across, static_cast<const T*>(tile), wide,
                                           job.c + (row + i) * job.columns + column + j, job.columns);
        }
      }
      k += depth;
    } while (k < job.depth);
  }
};

/// Cuts C into tasks: large enough that packing costs little, small enough that every thread has some. The cut changes
/// no bit of the result, so it may look at the number of threads.
template <class Set, class T>
void cut_product(product_job<T>& job, int threads) {
  constexpr index_t most = Set::tile_rows, panel = panel_columns<Set, T>;
  const auto parts = [](index_t n, index_t part) { return (n + part - 1) / part; };
  index_t down = parts(job.rows, 16 * most), across = parts(job.columns, 8 * panel);
  const auto sized = [](index_t n, index_t count, index_t multiple) {
    return up_to((n + count - 1) / count, multiple);
  };
  constexpr index_t least_work = index_t{1} << 16;  // multiply-adds: about a microsecond
  while (down * across < 4 * threads && threads > 1) {
    const index_t tall = sized(job.rows, down, most), broad = sized(job.columns, across, panel);
    if (tall * broad * std::max<index_t>(job.depth, 1) < 2 * least_work) break;
    if (tall > most && (tall >= broad || broad == panel))
      down *= 2;
    else if (broad > panel)
      across *= 2;
    else
      break;
  }
  job.task_rows = sized(job.rows, down, most);
  job.task_columns = sized(job.columns, across, panel);
}

template <class Set, class T>
void multiply_with(cpu_device& d, product_job<T>& job) {
  cut_product<Set, T>(job, d.threads());
  const index_t across = (job.columns + job.task_columns - 1) / job.task_columns;
  const index_t down = (job.rows + job.task_rows - 1) / job.task_rows;
  const index_t need = product_scratch<Set, T>(job.task_rows, job.task_columns, job.depth);
  d.run(down * across, [&](index_t task, int worker) {
    call_with<Set, product_task<T>>(static_cast<const product_job<T>*>(&job), task / across * job.task_rows,
                                    task % across * job.task_columns, d.scratch<T>(worker, need));
  });
}

/// C = β C + α op(A, B).
template <class T>
void cpu_multiply(cpu_device& d, product kind, T alpha, view<const T> a, view<const T> b, T beta, view<T> c) {
  if (c.empty()) return;
  product_job<T> job{.kind = kind,
                     .alpha = alpha,
                     .beta = beta,
                     .a = a.data,
                     .b = b.data,
                     .c = c.data,
                     .rows = c.rows,
                     .columns = c.columns,
                     .depth = kind == product::tn ? a.rows : a.columns,
                     .a_stride = a.columns,
                     .b_stride = b.columns};
  with_set(d.instructions(), [&]<class Set>(Set) { multiply_with<Set, T>(d, job); });
}

}  // namespace plumb::inline v0::detail
