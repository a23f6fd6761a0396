// SPDX-License-Identifier: BSL-1.0
// A decoder: embedding, blocks, a last normalisation, a head. Any of them can be exchanged.
#pragma once

#include <string_view>
#include <vector>

#include <plumb/autograd/activations.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/linear.hpp>
#include <plumb/nn/stack.hpp>

namespace plumb::inline v0 {

/// What files call the parts of a decoder; as Llama on the hub unless said otherwise, like most families.
struct decoder_names {
  std::string_view tokens = "model.embed_tokens", blocks = "model.layers", norm = "model.norm";
};

/// The decoder of `Block`s.
template <class B, class T, class Block, class Norm, class Head = linear<B, T>>
struct transformer {
  using backend_type = B;
  using number_type = T;

  embedding<B, T> embed_tokens;
  std::vector<Block> layers;
  Norm norm;
  Head lm_head;             ///< its weight is the embedding's when tied
  double logit_factor = 1;  ///< multiplies the logits (Cohere)
  double logit_cap = 0;     ///< logits become cap tanh(logit / cap); 0: they stay
  decoder_names names{};

  /// The states that the head reads, [tokens, width].
  variable<B, T> hidden(pass<B, T>& p) const {
    return norm(p, run_blocks(p, layers, embed_tokens(p)));  // [tokens, width]
  }
  /// Scores of the next token for rows of hidden states, [rows, vocabulary].
  variable<B, T> logits(pass<B, T>& p, variable<B, T> rows) const {
    auto z = lm_head(p, rows);  // [rows, vocabulary]
    if (logit_factor != 1) z = scale(p.tape, z, static_cast<T>(logit_factor));
    return logit_cap > 0 ? soft_cap(p.tape, z, static_cast<T>(logit_cap)) : z;  // [rows, vocabulary]
  }

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names.tokens, self.embed_tokens);
    f(self.names.blocks, self.layers);
    f(self.names.norm, self.norm);
    f("lm_head", self.lm_head);
  }
};

}  // namespace plumb::inline v0
