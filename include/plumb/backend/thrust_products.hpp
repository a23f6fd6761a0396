// SPDX-License-Identifier: BSL-1.0
// Matrix products as tiles of C: a block of lanes computes one tile, a slab of the depth at a time.
#pragma once

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0::detail::blocks {

/// Rows × Columns numbers of C; every lane keeps RowsEach × ColumnsEach of them in registers, Depth steps of the sum go
/// through shared memory at once. Each number of C is one chain of multiply-adds over k = 0, 1, 2, …: its bits depend on
/// its row of A and its column of B alone, neither on the other rows nor on the shape of the tile.
template <class T, product Kind, int Rows, int Columns, int Depth, int RowsEach, int ColumnsEach>
struct product_tile {
  static constexpr int rows = Rows, columns = Columns, depth = Depth;
  static constexpr int row_lanes = Rows / RowsEach, column_lanes = Columns / ColumnsEach;
  static constexpr int threads = row_lanes * column_lanes;
  static_assert(Rows % RowsEach == 0 && Columns % ColumnsEach == 0);

  /// One number more per line than needed, so that lanes that fill a line's neighbours meet different memory banks.
  struct shared {
    T a[Depth][Rows + 1];
    T b[Depth][Columns + 1];
  };
  struct tile {
    T sum[RowsEach][ColumnsEach];
  };

  const T* a;
  const T* b;
  T* c;
  index_t m;  ///< rows of C
  index_t n;  ///< columns of C
  index_t k;  ///< length of each sum
  T alpha;
  T beta;

  [[nodiscard]] index_t tiles() const { return ceil_div(m, Rows) * ceil_div(n, Columns); }

  template <class Block>
  PLUMB_HD void operator()(Block& block, shared& s, index_t number) const {
    const matrix_place at = place_of(number, ceil_div(n, Columns));
    const index_t top = at.row * Rows, left = at.column * Columns;
    typename Block::template lanes<tile> mine;
    block.each([&](int lane) {
      for (int i = 0; i < RowsEach; ++i)
        for (int j = 0; j < ColumnsEach; ++j) mine[lane].sum[i][j] = 0;
    });
    for (index_t start = 0; start < k; start += Depth) {
      block.each([&](int lane) { load(s, lane, top, left, start); });
      block.each([&](int lane) { accumulate(s, lane, mine[lane]); });
    }
    block.each([&](int lane) { store(lane, top, left, mine[lane]); });
  }

 private:
  /// Copies the slab [start, start + Depth) of both operands; what lies outside counts as zero. Neighbouring lanes read
  /// neighbouring numbers, whichever way the operand lies.
  PLUMB_HD void load(shared& s, int lane, index_t top, index_t left, index_t start) const {
    for (int e = lane; e < Rows * Depth; e += threads) {
      const int i = Kind == product::tn ? e % Rows : e / Depth, d = Kind == product::tn ? e / Rows : e % Depth;
      const index_t row = top + i, step = start + d;
      const bool inside = row < m && step < k;
      s.a[d][i] = inside ? a[Kind == product::tn ? step * m + row : row * k + step] : T(0);
    }
    for (int e = lane; e < Columns * Depth; e += threads) {
      const int j = Kind == product::nt ? e / Depth : e % Columns, d = Kind == product::nt ? e % Depth : e / Columns;
      const index_t column = left + j, step = start + d;
      const bool inside = column < n && step < k;
      s.b[d][j] = inside ? b[Kind == product::nt ? column * k + step : step * n + column] : T(0);
    }
  }

  PLUMB_HD void accumulate(const shared& s, int lane, tile& mine) const {
    const int i0 = lane / column_lanes, j0 = lane % column_lanes;
    for (int d = 0; d < Depth; ++d) {
      T left[RowsEach], right[ColumnsEach];
      for (int i = 0; i < RowsEach; ++i) left[i] = s.a[d][i0 + i * row_lanes];
      for (int j = 0; j < ColumnsEach; ++j) right[j] = s.b[d][j0 + j * column_lanes];
      for (int i = 0; i < RowsEach; ++i)
        for (int j = 0; j < ColumnsEach; ++j) mine.sum[i][j] = fused(left[i], right[j], mine.sum[i][j]);
    }
  }

  PLUMB_HD void store(int lane, index_t top, index_t left, const tile& mine) const {
    const int i0 = lane / column_lanes, j0 = lane % column_lanes;
    for (int i = 0; i < RowsEach; ++i)
      for (int j = 0; j < ColumnsEach; ++j) {
        const index_t row = top + i0 + i * row_lanes, column = left + j0 + j * column_lanes;
        if (row >= m || column >= n) continue;
        T& out = c[row * n + column];
        const T value = alpha * mine.sum[i][j];
        out = beta == 0 ? value : fused(beta, out, value);
      }
  }
};

/// A few rows, as in sampling: short tiles and long slabs, so that many blocks read the weight at once.
template <class T, product Kind>
using skinny_product = product_tile<T, Kind, 8, 32, 64, 1, 1>;

template <class T, product Kind>
using medium_product = product_tile<T, Kind, 64, 64, 16, 4, 4>;

template <class T, product Kind>
using large_product = product_tile<T, Kind, 128, 128, 8, 8, 8>;

}  // namespace plumb::inline v0::detail::blocks
