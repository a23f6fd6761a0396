// SPDX-License-Identifier: BSL-1.0
// The feed-forward part of a block.
#pragma once

#include <plumb/autograd/operations.hpp>
#include <plumb/nn/linear.hpp>

namespace plumb::inline v0 {

/// down(silu(gate(x)) ⊙ up(x)) (Shazeer 2020, eq. 6).
template <class B, class T>
struct swiglu_mlp {
  linear<B, T> gate_proj;  ///< [inner, width]
  linear<B, T> up_proj;    ///< [inner, width]
  linear<B, T> down_proj;  ///< [width, inner]

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto gate = gate_proj(p, x);              // [tokens, inner]
    const auto up = up_proj(p, x);                  // [tokens, inner]
    return down_proj(p, swiglu(p.tape, gate, up));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("gate_proj", self.gate_proj);
    f("up_proj", self.up_proj);
    f("down_proj", self.down_proj);
  }
};

}  // namespace plumb::inline v0
