// SPDX-License-Identifier: BSL-1.0
// The gated feed-forward part of a block.
#pragma once

#include <string_view>

#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/operations.hpp>
#include <plumb/nn/linear.hpp>

namespace plumb::inline v0 {

/// f(g) ⊙ up, number by number.
template <class B, class T>
variable<B, T> gated(tape<B, T>& t, variable<B, T> g, variable<B, T> up, activation f) {
  return f == activation::silu ? swiglu(t, g, up) : multiply(t, activate(t, g, f), up);
}

/// What files call the maps of a gated feed-forward part.
struct gated_names {
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
};

/// down(f(gate(x)) ⊙ up(x)); f = silu: SwiGLU, f = gelu: GeGLU (Shazeer 2020, eq. 6).
template <class B, class T>
struct gated_mlp {
  linear<B, T> gate_proj;  ///< [inner, width]
  linear<B, T> up_proj;    ///< [inner, width]
  linear<B, T> down_proj;  ///< [width, inner]
  activation gate = activation::silu;
  gated_names names{};

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto g = gate_proj(p, x);  // [tokens, inner]
    const auto up = up_proj(p, x);   // [tokens, inner]
    return p.tape.recompute([&] { return gated(p.tape, g, up, gate); },
                            [&](variable<B, T> inner) { return down_proj(p, inner); });  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names.gate, self.gate_proj);
    f(self.names.up, self.up_proj);
    f(self.names.down, self.down_proj);
  }
};

}  // namespace plumb::inline v0
