// SPDX-License-Identifier: BSL-1.0
// The cpu primitives that treat a row as a whole: norms, rotations, tables, sums over rows. A row's result is the same
// bits wherever the row lies and whatever the other rows are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_elementwise.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Rows per task for rows of this many numbers.
constexpr index_t rows_grain(index_t columns) {
  return std::max<index_t>(1, elementwise_grain / 2 / std::max<index_t>(1, columns));
}

/// Σ_j of terms that `add(sum, j, left)` adds for the numbers from column j on, in four chains and a fixed tree.
template <class Set, class T, class Add>
[[gnu::always_inline]] inline T row_sum(index_t columns, Add add) {
  using s = simd<Set, T>;
  typename s::vector chain[4] = {};
  index_t j = 0;
  for (; j + 4 * s::lanes <= columns; j += 4 * s::lanes)
    for (index_t c = 0; c < 4; ++c) add(chain[c], j + c * s::lanes, columns - j - c * s::lanes);
  for (index_t c = 0; j < columns; ++c, j += s::lanes) add(chain[c], j, columns - j);
  const typename s::vector all = (chain[0] + chain[1]) + (chain[2] + chain[3]);
  return s::sum(all);
}

template <class T>
struct rms_norm_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, const T* x, const T* weight, T epsilon,
                                                T* y, T* inverse) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    for (index_t i = 0; i < rows; ++i, x += columns, y += columns) {
      const T squares =
          row_sum<Set, T>(columns, [&](vector& sum, index_t j, index_t left) __attribute__((always_inline)) {
            vector v;
            s::load_some(v, x + j, left);
            s::fma(sum, v, v);
          });
      const T r = 1 / std::sqrt(squares / static_cast<T>(columns) + epsilon);
      inverse[i] = r;
      for (index_t j = 0; j < columns; j += s::lanes) {
        vector v, w;
        s::load_some(v, x + j, columns - j);
        s::load_some(w, weight + j, columns - j);
        v = v * r * w;
        s::store_some(y + j, v, columns - j);
      }
    }
  }
};

template <class T>
void cpu_rms_norm(cpu_device& d, view<const T> x, view<const T> weight, double epsilon, view<T> y, T* inverse) {
  d.run_pieces(x.rows, rows_grain(x.columns), [&](index_t first, index_t last) {
    run_with<rms_norm_body<T>>(d.instructions(), last - first, x.columns, x.row(first), weight.data,
                               static_cast<T>(epsilon), y.row(first), inverse + first);
  });
}

/// dw += dy ⊙ n for one row, n = (x − centre) inverse: what a norm's weight learns.
template <class Set, class T>
[[gnu::always_inline]] inline void add_norm_slope(index_t columns, const T* x, T centre, T inverse, const T* dy,
                                                  T* dw) {
  using s = simd<Set, T>;
  for (index_t j = 0; j < columns; j += s::lanes) {
    typename s::vector v, slope, sum;
    s::load_some(v, x + j, columns - j);
    s::load_some(slope, dy + j, columns - j);
    s::load_some(sum, dw + j, columns - j);
    v = (v - centre) * inverse;
    s::fma(sum, slope, v);
    s::store_some(dw + j, sum, columns - j);
  }
}

/// `dw` here is the sum over these rows alone; it starts from zero.
template <class T>
struct rms_norm_backward_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, const T* x, const T* weight,
                                                const T* inverse, const T* dy, T* dx, T* dw) {
    using s = simd<Set, T>;
    using vector = typename s::vector;
    if (dw) std::fill_n(dw, columns, T(0));
    for (index_t i = 0; i < rows; ++i, x += columns, dy += columns) {
      const T r = inverse[i];
      if (dx) {
        const T along =
            row_sum<Set, T>(columns, [&](vector& sum, index_t j, index_t left) __attribute__((always_inline)) {
              vector v, w, slope;
              s::load_some(v, x + j, left);
              s::load_some(w, weight + j, left);
              s::load_some(slope, dy + j, left);
              slope *= w;
              s::fma(sum, slope, v);
            });
        const T mean = along * r / static_cast<T>(columns);
        for (index_t j = 0; j < columns; j += s::lanes) {
          vector v, w, slope, old;
          s::load_some(v, x + j, columns - j);
          s::load_some(w, weight + j, columns - j);
          s::load_some(slope, dy + j, columns - j);
          s::load_some(old, dx + j, columns - j);
          old += r * (slope * w - v * r * mean);
          s::store_some(dx + j, old, columns - j);
        }
        dx += columns;
      }
      if (dw) add_norm_slope<Set>(columns, x, T(0), r, dy, dw);
    }
  }
};

/// out[j] += Σ_i x[i, j] over rows that follow one another, in order.
template <class T>
struct sum_rows_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t rows, index_t columns, index_t stride, const T* x, T* out) {
    using s = simd<Set, T>;
    for (index_t j = 0; j < columns; j += s::lanes) {
      typename s::vector sum, v;
      s::load_some(sum, out + j, columns - j);
      for (index_t i = 0; i < rows; ++i) {
        s::load_some(v, x + i * stride + j, columns - j);
        sum += v;
      }
      s::store_some(out + j, sum, columns - j);
    }
  }
};

/// Adds `parts` rows of partial sums to `out`, in order; tasks own columns.
template <class T>
void add_partial_rows(cpu_device& d, index_t parts, const T* partial, view<T> out) {
  d.run_pieces(out.columns, 256, [&](index_t first, index_t last) {
    run_with<sum_rows_body<T>>(d.instructions(), parts, last - first, out.columns, partial + first, out.data + first);
  });
}

/// Rows are summed in groups of this many, groups in order: the same sum for every number of threads.
inline constexpr index_t sum_group = 64;

/// Goes through rows in pieces, and, where `dw` is there, adds to it what each piece leaves in its own row of partial sums:
/// use(first, last, partial), partial null where nobody wants them.
template <class T, class Use>
void rows_with_partial_sums(cpu_device& d, index_t rows, index_t columns, view<T> dw, Use use) {
  const index_t groups = (rows + sum_group - 1) / sum_group;
  T* const partial = dw.data ? d.shared_scratch<T>(groups * columns) : nullptr;
  d.run_pieces(rows, dw.data ? sum_group : rows_grain(columns), [&](index_t first, index_t last) {
    use(first, last, partial ? partial + first / sum_group * columns : nullptr);
  });
  if (dw.data) add_partial_rows(d, groups, partial, dw);
}

template <class T>
void cpu_sum_rows(cpu_device& d, view<const T> x, view<T> out) {
  rows_with_partial_sums(d, x.rows, x.columns, out, [&](index_t first, index_t last, T* sums) {
    std::fill_n(sums, x.columns, T(0));
    run_with<sum_rows_body<T>>(d.instructions(), last - first, x.columns, x.columns, x.row(first), sums);
  });
}

template <class T>
void cpu_rms_norm_backward(cpu_device& d, view<const T> x, view<const T> weight, const T* inverse, view<const T> dy,
                           view<T> dx, view<T> dw) {
  rows_with_partial_sums(d, x.rows, x.columns, dw, [&](index_t first, index_t last, T* sums) {
    run_with<rms_norm_backward_body<T>>(d.instructions(), last - first, x.columns, x.row(first), weight.data,
                                        inverse + first, dy.row(first), dx.data ? dx.row(first) : nullptr, sums);
  });
}

/// One row of `reference::rotate`; `sign` carries the direction.
template <class T>
struct rotate_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t columns, index_t head_width, index_t half, rotary_layout layout,
                                                T sign, bool accumulate, const T* x, const T* cosine, const T* sine,
                                                T* out) {
    using s = simd<Set, T>;
    for (index_t head = 0; head < columns; head += head_width) {
      if (layout == rotary_layout::half) {
        const T* const from = x + head;
        T* const to = out + head;
        for (index_t p = 0; p < half; p += s::lanes) {
          typename s::vector a, b, c, turn, left, right, old;
          s::load_some(a, from + p, half - p);
          s::load_some(b, from + half + p, half - p);
          s::load_some(c, cosine + p, half - p);
          s::load_some(turn, sine + p, half - p);
          turn *= sign;
          left = a * c - b * turn;
          right = b * c + a * turn;
          if (accumulate) {
            s::load_some(old, to + p, half - p);
            left += old;
            s::load_some(old, to + half + p, half - p);
            right += old;
          }
          s::store_some(to + p, left, half - p);
          s::store_some(to + half + p, right, half - p);
        }
      } else {
        for (index_t p = 0; p < half; ++p) {
          const T a = x[head + 2 * p], b = x[head + 2 * p + 1], c = cosine[p], turn = sine[p] * sign;
          const T left = a * c - b * turn, right = b * c + a * turn;
          out[head + 2 * p] = accumulate ? out[head + 2 * p] + left : left;
          out[head + 2 * p + 1] = accumulate ? out[head + 2 * p + 1] + right : right;
        }
      }
      for (index_t k = head + 2 * half; k < head + head_width; ++k) out[k] = accumulate ? out[k] + x[k] : x[k];
    }
  }
};

template <class T>
void cpu_rotate(cpu_device& d, view<const T> x, const std::int32_t* positions, view<const T> cosine, view<const T> sine,
                index_t head_width, rotary_layout layout, int direction, bool accumulate, view<T> out) {
  d.run_pieces(x.rows, rows_grain(x.columns), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      run_with<rotate_body<T>>(d.instructions(), x.columns, head_width, cosine.columns, layout,
                               static_cast<T>(direction), accumulate, x.row(i), cosine.row(positions[i]),
                               sine.row(positions[i]), out.row(i));
  });
}

template <class T>
void cpu_gather_rows(cpu_device& d, view<const T> table, const std::int32_t* rows, view<T> out) {
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(out.columns);
  if (bytes == 0) return;
  d.run_pieces(out.rows, rows_grain(out.columns), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) std::memcpy(out.row(i), table.row(rows[i]), bytes);
  });
}

/// Tasks own columns, so that rows that occur twice are added in order.
template <class T>
void cpu_scatter_add_rows(cpu_device& d, view<const T> x, const std::int32_t* rows, view<T> table) {
  d.run_pieces(x.columns, 64, [&](index_t first, index_t last) {
    for (index_t i = 0; i < x.rows; ++i) {
      const T* const from = x.row(i);
      T* const to = table.row(rows[i]);
      for (index_t j = first; j < last; ++j) to[j] += from[j];
    }
  });
}

/// out[i] = x[i] + bias
template <class T>
void cpu_add_row(cpu_device& d, view<const T> x, const T* bias, view<T> out) {
  d.run_pieces(x.rows, rows_grain(x.columns), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      run_with<pointwise_body<T, pointwise::add>>(d.instructions(), x.columns, T(0), x.row(i), bias, out.row(i));
  });
}

/// out[i] += factor[i] x[i]
template <class T>
void cpu_add_scaled_rows(cpu_device& d, const T* factor, view<const T> x, view<T> out) {
  d.run_pieces(x.rows, rows_grain(x.columns), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      run_with<pointwise_body<T, pointwise::add_scaled>>(d.instructions(), x.columns, factor[i], x.row(i),
                                                         static_cast<const T*>(nullptr), out.row(i));
  });
}

}  // namespace plumb::inline v0::detail
