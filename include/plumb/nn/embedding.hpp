// SPDX-License-Identifier: BSL-1.0
// Token ids become vectors.
#pragma once

#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// The rows of a table [vocabulary, width] that the batch's tokens name, times `factor`.
template <class B, class T>
struct embedding {
  weight_ptr<B, T> weight;
  double factor = 1;  ///< Gemma: √width

  variable<B, T> operator()(pass<B, T>& p) const {
    auto x = gather_rows(p.tape, p.tape.leaf(*weight), p.batch.token_ids, p.batch.tokens);  // [tokens, width]
    if (factor != 1) x = scale(p.tape, x, static_cast<T>(factor));                          // [tokens, width]
    return p.noise.empty() ? x : add(p.tape, x, variable<B, T>{p.noise});                   // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("weight", self.weight);
  }
};

}  // namespace plumb::inline v0
