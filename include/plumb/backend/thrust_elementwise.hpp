// SPDX-License-Identifier: BSL-1.0
// Primitives that treat numbers one by one, as named function objects of the number's index. They run on a GPU thread as
// on a CPU thread, and hold plain pointers only. Their meaning is explained in reference.hpp.
#pragma once

#include <cmath>
#include <cstdint>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::blocks {

template <class T>
struct fill_each {
  T* x;
  T value;
  PLUMB_HD void operator()(index_t i) const { x[i] = value; }
};

template <class T>
struct add_scaled_each {
  T factor;
  const T* x;
  T* y;
  PLUMB_HD void operator()(index_t i) const { y[i] = fused(factor, x[i], y[i]); }
};

template <class T>
struct add_each {
  const T* a;
  const T* b;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = a[i] + b[i]; }
};

template <class T>
struct multiply_each {
  const T* a;
  const T* b;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = a[i] * b[i]; }
};

template <class T>
struct multiply_add_each {
  const T* a;
  const T* b;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = fused(a[i], b[i], out[i]); }
};

template <class T>
struct swiglu_each {
  const T* gate;
  const T* up;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i]; }
};

template <class T>
struct swiglu_backward_each {
  const T* gate;
  const T* up;
  const T* d;
  bool accumulate;
  T* d_gate;  ///< null: not wanted
  T* d_up;    ///< null: not wanted
  PLUMB_HD void operator()(index_t i) const {
    const T x = gate[i], s = 1 / (1 + std::exp(-x));
    if (d_gate) d_gate[i] = (accumulate ? d_gate[i] : T(0)) + d[i] * up[i] * s * (1 + x * (1 - s));
    if (d_up) d_up[i] = (accumulate ? d_up[i] : T(0)) + d[i] * x * s;
  }
};

/// Four numbers at a time, because one call of Philox makes four words.
template <class T>
struct dropout_each {
  const T* x;
  T* out;
  index_t count;
  T scale;
  std::uint64_t key;
  std::uint32_t threshold;
  bool accumulate;
  PLUMB_HD void operator()(index_t four) const {
    const auto number = static_cast<std::uint64_t>(four);
    const auto words = philox4x32({static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32), 0, 0},
                                  {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
    for (index_t i = 4 * four; i < count && i < 4 * four + 4; ++i) {
      const T kept = words[static_cast<unsigned>(i & 3)] >= threshold ? scale * x[i] : T(0);
      out[i] = accumulate ? out[i] + kept : kept;
    }
  }
};

template <class T>
struct adamw_each {
  T* gradient;
  T* m;
  T* v;
  T* p;
  T scale, beta1, rest1, beta2, rest2, root_correction2, epsilon, decay, rate;

  adamw_each(const adamw_step& s, T* from, T* first, T* second, T* parameter)
      : gradient(from),
        m(first),
        v(second),
        p(parameter),
        scale(static_cast<T>(s.gradient_scale)),
        beta1(static_cast<T>(s.beta1)),
        rest1(static_cast<T>(1 - s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        rest2(static_cast<T>(1 - s.beta2)),
        root_correction2(static_cast<T>(std::sqrt(s.correction2))),
        epsilon(static_cast<T>(s.epsilon)),
        decay(static_cast<T>(1 - s.rate * s.weight_decay)),
        rate(static_cast<T>(s.rate / s.correction1)) {}

  PLUMB_HD void operator()(index_t i) const {
    const T g = gradient[i] * scale;
    gradient[i] = 0;
    const T first = beta1 * m[i] + rest1 * g;
    const T second = beta2 * v[i] + rest2 * g * g;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * decay - rate * first / (std::sqrt(second) / root_correction2 + epsilon);
  }
};

// --- a row at hand ----------------------------------------------------------------------------------------------------

template <class T>
struct gather_each {
  const T* table;
  const std::int32_t* rows;
  T* out;
  index_t columns;
  PLUMB_HD void operator()(index_t i) const {
    const matrix_place at = place_of(i, columns);
    out[i] = table[rows[at.row] * columns + at.column];
  }
};

/// Row i and its destination as one number; such numbers sort by destination, equals in the order of the rows.
struct pack_destination {
  const std::int32_t* destinations;
  std::uint64_t* out;
  PLUMB_HD void operator()(index_t i) const {
    out[i] = static_cast<std::uint64_t>(destinations[i]) << 32 | static_cast<std::uint64_t>(i);
  }
};

/// Adds rows in the order of their sorted, packed destinations. The first of a run of equals adds them all, in the order
/// of the rows: no atomics, so the same bits every time.
template <class T>
struct scatter_add_each {
  const T* x;
  const std::uint64_t* sorted;
  T* table;
  index_t count;
  index_t columns;
  PLUMB_HD void operator()(index_t i) const {
    const matrix_place at = place_of(i, columns);
    const std::uint64_t destination = sorted[at.row] >> 32;
    if (at.row > 0 && sorted[at.row - 1] >> 32 == destination) return;
    T* to = table + static_cast<index_t>(destination) * columns + at.column;
    T sum = *to;
    for (index_t k = at.row; k < count && sorted[k] >> 32 == destination; ++k)
      sum += x[static_cast<index_t>(sorted[k] & 0xffffffffu) * columns + at.column];
    *to = sum;
  }
};

template <class T>
struct add_row_each {
  const T* x;
  const T* bias;
  T* out;
  index_t columns;
  PLUMB_HD void operator()(index_t i) const { out[i] = x[i] + bias[place_of(i, columns).column]; }
};

template <class T>
struct add_scaled_rows_each {
  const T* factor;
  const T* x;
  T* out;
  index_t columns;
  PLUMB_HD void operator()(index_t i) const { out[i] = fused(factor[place_of(i, columns).row], x[i], out[i]); }
};

/// One pair of one head of one row.
template <class T>
struct rotate_each {
  const T* x;
  const std::int32_t* positions;
  const T* cosine;
  const T* sine;
  index_t columns;
  index_t head_width;
  index_t pairs;  ///< that turn; the others of a head stay
  rotary_layout layout;
  T direction;
  bool accumulate;
  T* out;
  PLUMB_HD void operator()(index_t i) const {
    const index_t half = head_width / 2;
    const matrix_place head = place_of(i, half);
    const index_t p = head.column;
    const index_t heads = columns / head_width;
    const index_t row = place_of(head.row, heads).row;
    const index_t start = head.row * head_width;  // columns is heads · head_width, so heads lie end to end
    const bool turns = p < pairs;
    const bool apart = turns && layout == rotary_layout::half;
    const index_t first = start + (apart ? p : 2 * p);
    const index_t second = apart ? first + pairs : first + 1;
    const index_t at = positions[row] * pairs + p;
    const T c = turns ? cosine[at] : T(1), s = turns ? sine[at] * direction : T(0);
    const T a = x[first], b = x[second];
    const T left = a * c - b * s, right = b * c + a * s;
    out[first] = accumulate ? out[first] + left : left;
    out[second] = accumulate ? out[second] + right : right;
  }
};

}  // namespace plumb::inline v0::detail::blocks
