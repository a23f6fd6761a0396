// SPDX-License-Identifier: BSL-1.0
// Operations on numbers one by one. The shortest examples of what an operation is: inputs and output as members,
// `forward` runs it, `backward` adds to the gradients of the inputs.
#pragma once

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// out = a + b, both [rows, columns]; a residual connection. `onto`: in b's memory where that is free.
template <class B, class T>
struct addition {
  variable<B, T> a, b, out;
  bool onto = false;

  variable<B, T> forward(tape<B, T>& t) {
    out = onto && t.may_take_over(b) ? t.take_over(b, a, b) : t.make_like(a.value.extent(), a, b);
    B::add(t.device(), a.value, b.value, t.writable(out));
    return out;
  }
  void backward(tape<B, T>& t) {
    if (b.slot) t.add_gradient(b, out.slot->value);
    if (a.slot) t.hand_gradient(a, out);
  }
};

/// out = x in another shape of the same size: [rows, columns] read row after row.
template <class B, class T>
struct reshaping {
  variable<B, T> x;
  shape extent;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) { return out = t.make_reshaped(x, extent); }
  void backward(tape<B, T>& t) {
    if (x.slot) t.hand_gradient(x, out);
  }
};

/// out = factor · x + by
template <class B, class T>
struct line_function {
  static constexpr bool output_is_free = true;
  variable<B, T> x;
  T factor = 1, by = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    B::fill(t.device(), t.writable(out), by);
    B::add_scaled(t.device(), factor, x.value, t.writable(out));
    return out;
  }
  void backward(tape<B, T>& t) {
    if (x.slot) B::add_scaled(t.device(), factor, out.slot->value, t.gradient(x));
  }
};

/// out = a ⊙ b, both [rows, columns].
template <class B, class T>
struct multiplication {
  variable<B, T> a, b, out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(a.value.extent(), a, b);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) { B::multiply(t.device(), a.value, b.value, t.writable(out)); }
  void backward(tape<B, T>& t) {
    const view<const T> d = out.slot->value;
    const auto give = [&](const variable<B, T>& to, view<const T> factor) {
      if (!to.slot) return;
      if (const auto [gradient, beta] = t.begin_gradient(to); beta == 0)
        B::multiply(t.device(), d, factor, gradient);
      else
        B::multiply_add(t.device(), d, factor, gradient);
    };
    give(a, b.value), give(b, a.value);
  }
};

/// out = silu(gate) ⊙ up, the gated unit of Llama's MLP (Shazeer 2020, eq. 6).
template <class B, class T>
struct gated_silu {
  variable<B, T> gate, up, out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(gate.value.extent(), gate, up);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) { B::swiglu(t.device(), gate.value, up.value, t.writable(out)); }
  void backward(tape<B, T>& t) {
    const auto begun = [](const variable<B, T>& x) { return x.slot && x.slot->started; };
    const bool accumulate = begun(gate) || begun(up) || gate.slot == up.slot;
    const auto gradient = [&](const variable<B, T>& x) {
      return !x.slot ? view<T>() : accumulate ? t.gradient(x) : t.begin_gradient(x).first;
    };
    B::swiglu_backward(t.device(), gate.value, up.value, out.slot->value, accumulate, gradient(gate), gradient(up));
  }
};

/// out = keep ⊙ x / (1 − rate); the mask is a function of `key`, so that backward makes the same one.
template <class B, class T>
struct random_drop {
  variable<B, T> x;
  double rate = 0;
  std::uint64_t key = 0;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(x.value.extent(), x);
    compute(t);
    return out;
  }
  void compute(tape<B, T>& t) { B::dropout(t.device(), x.value, key, rate, false, t.writable(out)); }
  void backward(tape<B, T>& t) {
    if (!x.slot) return;
    const auto [dx, beta] = t.begin_gradient(x);
    B::dropout(t.device(), out.slot->value, key, rate, beta != 0, dx);
  }
};

/// x as [extent.rows, extent.columns], which must have as many numbers.
template <class B, class T>
variable<B, T> reshape(tape<B, T>& t, variable<B, T> x, shape extent) {
  return t.apply(reshaping<B, T>{x, extent, {}});
}
template <class B, class T>
variable<B, T> add(tape<B, T>& t, variable<B, T> a, variable<B, T> b) {
  return t.apply(addition<B, T>{a, b, {}});
}
/// a + b, in b's memory where its maker needs it no more; `b` must have been made just before and is not used again.
template <class B, class T>
variable<B, T> add_onto(tape<B, T>& t, variable<B, T> a, variable<B, T> b) {
  return t.apply(addition<B, T>{a, b, {}, true});
}
template <class B, class T>
variable<B, T> scale(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> factor) {
  return t.apply(line_function<B, T>{x, factor, T(0), {}});
}
template <class B, class T>
variable<B, T> shift(tape<B, T>& t, variable<B, T> x, std::type_identity_t<T> by) {
  return t.apply(line_function<B, T>{x, T(1), by, {}});
}
template <class B, class T>
variable<B, T> multiply(tape<B, T>& t, variable<B, T> a, variable<B, T> b) {
  return t.apply(multiplication<B, T>{a, b, {}});
}
template <class B, class T>
variable<B, T> swiglu(tape<B, T>& t, variable<B, T> gate, variable<B, T> up) {
  return t.apply(gated_silu<B, T>{gate, up, {}});
}
/// Dropout that costs nothing when the rate is zero.
template <class B, class T>
variable<B, T> dropout(tape<B, T>& t, variable<B, T> x, double rate, std::uint64_t key) {
  return rate > 0 ? t.apply(random_drop<B, T>{x, rate, key, {}}) : x;
}

}  // namespace plumb::inline v0
