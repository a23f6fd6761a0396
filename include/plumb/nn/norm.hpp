// SPDX-License-Identifier: BSL-1.0
// Root-mean-square normalisation.
#pragma once

#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// y = x / √(mean x² + ε) ⊙ weight; x, y [tokens, width], weight [1, width].
template <class B, class T>
struct rms_norm {
  weight_ptr<B, T> weight;
  double epsilon = 1e-5;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    return rms_normalise(p.tape, x, p.tape.leaf(*weight), epsilon);  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
  }
};

}  // namespace plumb::inline v0
