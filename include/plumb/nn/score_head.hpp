// SPDX-License-Identifier: BSL-1.0
// A head that says one number: the score of a reply by a reward model, or the value of a state by a critic.
#pragma once

#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// s = w · h on the last normalised state h, without a bias: transformers' …ForSequenceClassification with one label.
template <class B, class T>
struct score_head {
  weight_ptr<B, T> weight;  ///< [1, width]; "score.weight" in files
  bool critic = false;      ///< says values beside a policy's words; false: the model is one that says scores

  /// The numbers of chosen rows of `hidden` [tokens, width], as [count, 1]; `rows` [count] lies on the device.
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> hidden, const std::int32_t* rows, index_t count) const {
    auto& t = p.tape;
    return product_with(t, gather_rows(t, hidden, rows, count), t.leaf(*weight));
  }
};

}  // namespace plumb::inline v0
