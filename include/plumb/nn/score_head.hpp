// SPDX-License-Identifier: BSL-1.0
// A head that says one number: the score of a reply by a reward model, or the value of a state by a critic.
#pragma once

#include <string>

#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// s = w · h (+ bias) on the last normalised state h: transformers' …ForSequenceClassification with one label. Of an encoder
/// h is the pooled state of the first token, and there is a bias.
template <class B, class T>
struct score_head {
  weight_ptr<B, T> weight;     ///< [1, width]
  weight_ptr<B, T> bias = {};  ///< [1, 1]; null: none
  std::string name = "score";  ///< in files, before ".weight" and ".bias"
  bool critic = false;         ///< says values beside a policy's words; false: the model is one that says scores

  /// The numbers of chosen rows of `hidden` [tokens, width], as [count, 1]; `rows` [count] lies on the device.
  template <class Network>
  variable<B, T> operator()(pass<B, T>& p, const Network& network, variable<B, T> hidden, const std::int32_t* rows,
                            index_t count) const {
    auto& t = p.tape;
    const auto states = network.summary(p, gather_rows(t, hidden, rows, count));  // [count, width]
    const auto y = product_with(t, states, t.leaf(*weight));                      // [count, 1]
    return bias ? add_row(t, y, t.leaf(*bias)) : y;
  }
};

}  // namespace plumb::inline v0
