// SPDX-License-Identifier: BSL-1.0
// The feed-forward part of a block: gated, or plain.
#pragma once

#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/operations.hpp>
#include <plumb/nn/linear.hpp>

namespace plumb::inline v0 {

/// down(f(gate(x)) ⊙ up(x)); f = silu: SwiGLU, f = gelu: GeGLU (Shazeer 2020, eq. 6).
template <class B, class T>
struct gated_mlp {
  linear<B, T> gate_proj;  ///< [inner, width]
  linear<B, T> up_proj;    ///< [inner, width]
  linear<B, T> down_proj;  ///< [width, inner]
  activation gate = activation::silu;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto g = gate_proj(p, x);  // [tokens, inner]
    const auto up = up_proj(p, x);   // [tokens, inner]
    const auto inner = gate == activation::silu ? swiglu(p.tape, g, up)
                                                : multiply(p.tape, gelu(p.tape, g, gate), up);  // [tokens, inner]
    return down_proj(p, inner);                                                                 // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("gate_proj", self.gate_proj);
    f("up_proj", self.up_proj);
    f("down_proj", self.down_proj);
  }
};

/// c_proj(gelu(c_fc(x))), with GPT-2's names for its maps.
template <class B, class T>
struct gelu_mlp {
  linear<B, T> c_fc;    ///< [inner, width]
  linear<B, T> c_proj;  ///< [width, inner]
  activation inner = activation::gelu_tanh;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    return c_proj(p, gelu(p.tape, c_fc(p, x), inner));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("c_fc", self.c_fc);
    f("c_proj", self.c_proj);
  }
};

}  // namespace plumb::inline v0
