// SPDX-License-Identifier: BSL-1.0
// The operands of a product on the cpu, and how a task packs them for cpu_tile.hpp: plain numbers, or packed weights, which
// become floats here.
#pragma once

#include <algorithm>
#include <cstring>

#include <plumb/backend/cpu_packed_tile.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// A part of C, and of the sums behind it: [row, row + rows) x [column, column + columns), over [k, k + depth).
struct product_part {
  index_t row = 0, rows = 0, column = 0, columns = 0, k = 0, depth = 0;
};

/// The operands of a sum over K: op(A, B), `depth` long.
template <class T>
struct product_term {
  const T* a = nullptr;
  const T* b = nullptr;
  const T* panels = nullptr;  ///< B packed beforehand, all of K; null: B lies at `b`
  index_t a_stride = 0, b_stride = 0, depth = 0;
  const packed_matrix* packed = nullptr;        ///< B in fewer bits; null: B lies at `b`
  const std::uint8_t* packed_panels = nullptr;  ///< the codes of `packed` in panels; null: as they lie
};

/// One product and how it is cut; see `reference::multiply`. The sums may go on over the operands of a second term, at
/// most a block deep: a low-rank change of a map, in the same trip through memory.
template <class T>
struct product_job {
  product kind = product::nt;
  T alpha = 1, beta = 0;
  product_term<T> term, more;
  T* c = nullptr;
  index_t rows = 0, columns = 0;
  index_t tile_rows = 0;                    ///< of a tile of C
  product_part part;                        ///< what is computed now
  index_t task_rows = 0, task_columns = 0;  ///< how much of it is one task
  bool left_in_place = false;               ///< full tiles of A are read where they lie
  T* left = nullptr;  ///< the part's rows of A, packed once for all tasks; null: each task packs its own
  T* sums = nullptr;  ///< where sums wait between parts; null: the part holds the whole depth
};

constexpr index_t parts_of(index_t n, index_t part) { return (n + part - 1) / part; }

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

/// Packs `rows` rows from `first`, [k, k + depth), of the left operand as panels of kernel rows.
template <class Set, class T>
[[gnu::always_inline]] inline void pack_left(const product_job<T>& job, const product_term<T>& term, index_t first,
                                             index_t rows, index_t k, index_t depth, T* to) {
  constexpr index_t most = Set::tile_rows;
  for (index_t i = 0; i < rows; i += most, to += most * panel_stride<T>) {
    const index_t here = std::min(most, rows - i);
    if (job.kind == product::tn)
      call_with<Set, transpose<T>>(term.a + k * term.a_stride + first + i, term.a_stride, depth, here,
                                   job.rows - first - i, to, panel_stride<T>);
    else
      for (index_t r = 0; r < here; ++r)
        std::memcpy(to + r * panel_stride<T>, term.a + (first + i + r) * term.a_stride + k,
                    sizeof(T) * static_cast<std::size_t>(depth));
    for (index_t r = here; r < kernel_rows<Set>(here); ++r) std::fill_n(to + r * panel_stride<T>, depth, T(0));
  }
}

/// `pack_right` for a B in fewer bits: a stretch of its rows at a time becomes floats in the nearest cache, and goes from
/// there to its places. So the floats of a weight are never all there, and the result is that of multiplying with them.
template <class Set, class T>
[[gnu::always_inline]] inline void pack_packed(product kind, const packed_matrix* m, index_t first, index_t columns,
                                               index_t k, index_t depth, T* to) {
  constexpr index_t panel = panel_columns<Set, T>, stretch = 128;
  if (kind == product::nt) {
    alignas(64) T staged[panel * stretch];
    for (index_t j = 0; j < columns; j += panel) {
      const index_t across = std::min(panel, columns - j), wide = kernel_columns<Set, T>(across);
      T* const block = to + j * depth;
      for (index_t i = 0; i < depth; i += stretch) {
        const index_t length = std::min(stretch, depth - i);
        for (index_t r = 0; r < across; ++r)
          call_with<Set, unpack_row<T>>(m, first + j + r, k + i, length, staged + r * stretch);
        call_with<Set, transpose<T>>(static_cast<const T*>(staged), stretch, across, length, stretch, block + i * wide,
                                     wide);
      }
      if (across < wide)
        for (index_t i = 0; i < depth; ++i) std::fill_n(block + i * wide + across, wide - across, T(0));
    }
    return;
  }
  alignas(64) T staged[stretch] = {};
  for (index_t i = 0; i < depth; ++i)
    for (index_t begin = 0; begin < columns; begin += stretch) {
      const index_t length = std::min(stretch, columns - begin);
      call_with<Set, unpack_row<T>>(m, k + i, first + begin, length, static_cast<T*>(staged));
      for (index_t j = 0; j < length; j += panel) {
        const index_t across = std::min(panel, length - j), wide = kernel_columns<Set, T>(across);
        T* const place = to + (begin + j) * depth + i * wide;
        std::memcpy(place, staged + j, sizeof(T) * static_cast<std::size_t>(across));
        std::fill_n(place + across, wide - across, T(0));
      }
    }
}

/// Packs `columns` columns from `first`, [k, k + depth), of the right operand as panels: to[panel, depth, wide], where the
/// last panel may be narrower than panel_columns.
template <class Set, class T>
[[gnu::always_inline]] inline void pack_right(product kind, const product_term<T>& term, index_t first, index_t columns,
                                              index_t k, index_t depth, T* to) {
  using s = simd<Set, T>;
  constexpr index_t panel = panel_columns<Set, T>;
  if (term.packed) return pack_packed<Set, T>(kind, term.packed, first, columns, k, depth, to);
  if (kind == product::nt) {
    for (index_t j = 0; j < columns; j += panel) {
      const index_t across = std::min(panel, columns - j), wide = kernel_columns<Set, T>(across);
      T* const block = to + j * depth;
      call_with<Set, transpose<T>>(term.b + (first + j) * term.b_stride + k, term.b_stride, across, depth, depth, block,
                                   wide);
      if (across < wide)
        for (index_t i = 0; i < depth; ++i) std::fill_n(block + i * wide + across, wide - across, T(0));
    }
    return;
  }
  for (index_t i = 0; i < depth; ++i) {  // row after row, as memory likes it
    const T* const from = term.b + (k + i) * term.b_stride + first;
    for (index_t j = 0; j < columns; j += panel) {
      const index_t wide = kernel_columns<Set, T>(std::min(panel, columns - j));
      for (index_t l = 0; l < wide; l += s::lanes) {
        typename s::vector numbers;
        s::load_some(numbers, from + j + l, std::max<index_t>(columns - j - l, 0));
        s::store(to + j * depth + i * wide + l, numbers);
      }
    }
  }
}

}  // namespace plumb::inline v0::detail
