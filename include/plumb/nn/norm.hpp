// SPDX-License-Identifier: BSL-1.0
// Normalisation of rows: by their root mean square, or by mean and deviation.
#pragma once

#include <plumb/autograd/layer_normalisation.hpp>
#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// y = x / √(mean x² + ε) ⊙ (offset + weight); x, y [tokens, width], weight [1, width].
template <class B, class T>
struct rms_norm {
  weight_ptr<B, T> weight;
  double epsilon = 1e-5;
  double offset = 0;  ///< Gemma: 1, its weights are differences from it

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto w = p.leaf(*weight);                                       // [1, width]
    if (offset != 0) w = shift(p.tape, w, static_cast<T>(offset));  // [1, width]
    return rms_normalise(p.tape, x, w, epsilon);                    // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
  }
};

/// y = (x − mean x) / √(var x + ε) ⊙ weight + bias (Ba et al. 2016, eq. 4); weight, bias [1, width].
template <class B, class T>
struct layer_norm {
  weight_ptr<B, T> weight;
  weight_ptr<B, T> bias;  ///< null: none
  double epsilon = 1e-5;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto y = centre_and_normalise(p.tape, x, p.leaf(*weight), epsilon);  // [tokens, width]
    return bias ? add_row(p.tape, y, p.leaf(*bias)) : y;                       // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

}  // namespace plumb::inline v0
