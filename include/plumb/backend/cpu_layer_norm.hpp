// SPDX-License-Identifier: BSL-1.0
// Layer norms on the cpu. As in cpu_rows.hpp, a row's result is the same bits wherever the row lies, and sums over rows are the same
// for every number of threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <plumb/backend/cpu_rows.hpp>

namespace plumb::inline v0::detail {

/// y = (x − mean) · inverse ⊙ weight, inverse = 1/√(variance + ε).
template <class T>
struct layer_norm_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, const T* x, const T* weight, T epsilon,
                                                T* y, T* mean, T* inverse) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    const T count = static_cast<T>(columns);
    for (index_t i = 0; i < rows; ++i, x += columns, y += columns) {
      const T sum = row_sum<Set, T>(columns, [&](vector& all, index_t j, index_t left) __attribute__((always_inline)) {
        vector v;
        s::load_some(v, x + j, left);
        all += v;
      });
      const T centre = sum / count;
      const T squares =
          row_sum<Set, T>(columns, [&](vector& all, index_t j, index_t left) __attribute__((always_inline)) {
            vector v;
            s::load_some(v, x + j, left, centre);
            v -= centre;
            s::fma(all, v, v);
          });
      const T r = 1 / std::sqrt(squares / count + epsilon);
      mean[i] = centre, inverse[i] = r;
      for (index_t j = 0; j < columns; j += s::lanes) {
        vector v, w;
        s::load_some(v, x + j, columns - j);
        s::load_some(w, weight + j, columns - j);
        v = (v - centre) * r * w;
        s::store_some(y + j, v, columns - j);
      }
    }
  }
};

template <class T>
void cpu_layer_norm(cpu_device& d, view<const T> x, view<const T> weight, double epsilon, view<T> y, T* mean,
                    T* inverse) {
  d.run_pieces(x.rows, rows_grain(x.columns), [&](index_t first, index_t last) {
    run_with<layer_norm_body<T>>(d.instructions(), last - first, x.columns, x.row(first), weight.data,
                                 static_cast<T>(epsilon), y.row(first), mean + first, inverse + first);
  });
}

/// dx += inverse (g − mean g − n · mean(g n)), with n the normalised row and g = dy ⊙ weight; dw = Σ dy ⊙ n over these rows alone.
template <class T>
struct layer_norm_backward_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, const T* x, const T* weight,
                                                const T* mean, const T* inverse, const T* dy, T* dx, T* dw) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    const T count = static_cast<T>(columns);
    if (dw) std::fill_n(dw, columns, T(0));
    for (index_t i = 0; i < rows; ++i, x += columns, dy += columns) {
      const T centre = mean[i], r = inverse[i];
      if (dx) {
        const auto weighted = [&](vector& g, index_t j, index_t left) __attribute__((always_inline)) {
          vector w;
          s::load_some(g, dy + j, left);
          s::load_some(w, weight + j, left);
          g *= w;
        };
        const T all = row_sum<Set, T>(columns,
                                      [&](vector& sum, index_t j, index_t left) __attribute__((always_inline)) {
                                        vector g;
                                        weighted(g, j, left);
                                        sum += g;
                                      }) /
                      count;
        const T along = row_sum<Set, T>(columns,
                                        [&](vector& sum, index_t j, index_t left) __attribute__((always_inline)) {
                                          vector g, v;
                                          weighted(g, j, left);
                                          s::load_some(v, x + j, left);
                                          v = (v - centre) * r;
                                          s::fma(sum, g, v);
                                        }) /
                        count;
        for (index_t j = 0; j < columns; j += s::lanes) {
          vector g, v, old;
          weighted(g, j, columns - j);
          s::load_some(v, x + j, columns - j);
          s::load_some(old, dx + j, columns - j);
          v = (v - centre) * r;
          old += r * (g - all - v * along);
          s::store_some(dx + j, old, columns - j);
        }
        dx += columns;
      }
      if (dw) add_norm_slope<Set>(columns, x, centre, r, dy, dw);
    }
  }
};

template <class T>
void cpu_layer_norm_backward(cpu_device& d, view<const T> x, view<const T> weight, const T* mean, const T* inverse,
                             view<const T> dy, view<T> dx, view<T> dw) {
  rows_with_partial_sums(d, x.rows, x.columns, dw, [&](index_t first, index_t last, T* sums) {
    run_with<layer_norm_backward_body<T>>(d.instructions(), last - first, x.columns, x.row(first), weight.data,
                                          mean + first, inverse + first, dy.row(first),
                                          dx.data ? dx.row(first) : nullptr, sums);
  });
}

}  // namespace plumb::inline v0::detail
