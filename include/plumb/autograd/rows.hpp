// SPDX-License-Identifier: BSL-1.0
// Operations on rows: picking them, normalising them, rotating them by their position.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// out[i] = table[first + rows[i]]: an embedding, or the choice of the rows that a head needs. `rows` lies on the device.
template <class B, class T>
struct row_choice {
  variable<B, T> table;
  const std::int32_t* rows = nullptr;
  index_t count = 0, first = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like({count, table.columns()}, table);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) {
    if (table.packed)
      gather_rows_on<B>(t.device(), *table.packed, rows, first, t.writable(out));
    else
      B::gather_rows(t.device(), table.value.slice(first, table.rows() - first), rows, t.writable(out));
  }
  void backward(tape<B, T>& t) {
    if (table.slot)
      B::scatter_add_rows(t.device(), out.slot->value, rows, t.gradient(table).slice(first, table.rows() - first));
  }
};

/// y = x / √(mean x² + ε) ⊙ weight per row (Zhang & Sennrich 2019, eq. 4); x [tokens, width], weight [1, width].
template <class B, class T>
struct rms_normalisation {
  static constexpr bool output_is_free = true;
  variable<B, T> x, weight;
  double epsilon = 1e-5;
  T* inverse = nullptr;  ///< 1/√(mean x² + ε) per row, kept for the way back
  variable<B, T> y;

  variable<B, T> forward(tape<B, T>& t) {
    y = t.make_like(x.value.extent(), x, weight);
    inverse = t.memory().template make_array<T>(x.rows());
    compute(t);
    return y;
  }
  void compute(tape<B, T>& t) { B::rms_norm(t.device(), x.value, weight.value, epsilon, t.writable(y), inverse); }
  void backward(tape<B, T>& t) {
    B::rms_norm_backward(t.device(), x.value, weight.value, static_cast<const T*>(inverse), y.slot->value,
                         x.slot ? t.gradient(x) : view<T>(), weight.slot ? t.gradient(weight) : view<T>());
  }
};

/// Rotary position embedding (Su et al. 2021, eq. 34): pairs of each head turn by position · frequency.
/// x [tokens, heads · head_width]; cosine, sine [positions, pairs]; positions [tokens] on the device. Of each head the
/// first 2 · pairs numbers turn, the rest stays (Wang & Komatsuzaki 2021, GPT-J). `onto`: in x's memory where that is free.
template <class B, class T>
struct rotation {
  variable<B, T> x;
  const std::int32_t* positions = nullptr;
  view<const T> cosine, sine;
  index_t head_width = 0;
  rotary_layout layout = rotary_layout::half;
  variable<B, T> y;
  bool onto = false;

  variable<B, T> forward(tape<B, T>& t) {
    y = onto && t.may_take_over(x) ? t.take_over(x, x) : t.make_like(x.value.extent(), x);
    B::rotate(t.device(), x.value, positions, cosine, sine, head_width, layout, +1, false, t.writable(y));
    return y;
  }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const auto [dx, beta] = t.begin_gradient(x);
    B::rotate(t.device(), y.slot->value, positions, cosine, sine, head_width, layout, -1, beta != 0, dx);
  }
};

template <class B, class T>
variable<B, T> gather_rows(tape<B, T>& t, variable<B, T> table, const std::int32_t* rows, index_t count,
                           index_t first = 0) {
  return t.apply(row_choice<B, T>{table, rows, count, first, {}});
}
template <class B, class T>
variable<B, T> rms_normalise(tape<B, T>& t, variable<B, T> x, variable<B, T> weight, double epsilon) {
  return t.apply(rms_normalisation<B, T>{x, weight, epsilon, nullptr, {}});
}

}  // namespace plumb::inline v0
