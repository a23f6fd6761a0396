// SPDX-License-Identifier: BSL-1.0
// Normalisation of rows: by their root mean square, or by mean and deviation.
#pragma once

#include <plumb/autograd/column_scale.hpp>
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

/// The same without a bias, head by head, each head with weights of its own (Command R+):
/// x, y [tokens, heads · head_width], weight [heads, head_width].
template <class B, class T>
struct heads_layer_norm {
  weight_ptr<B, T> weight;
  double epsilon = 1e-5;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const index_t width = weight->extent().columns;
    const shape whole = x.value.extent();
    const view<T> ones = p.tape.memory().template make<T>({1, whole.columns});
    B::fill(p.tape.device(), ones, T(1));
    const auto plain = p.tape.constant(view<const T>{ones.data, 1, width});
    const auto each = reshape(p.tape, x, {whole.size() / width, width});  // [tokens · heads, head_width]
    auto y = centre_and_normalise(p.tape, each, plain, epsilon);          // [tokens · heads, head_width]
    y = reshape(p.tape, y, whole);                                        // [tokens, heads · head_width]
    const auto w = reshape(p.tape, p.leaf(*weight), {1, whole.columns});  // [1, heads · head_width]
    return scale_columns(p.tape, y, w, view<const T>(ones));              // [tokens, heads · head_width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
  }
};

}  // namespace plumb::inline v0
