// SPDX-License-Identifier: BSL-1.0
// Decoders built like GPT-2: layer norms with biases, a feed-forward part without a gate, learnt or rotary positions.
// Families of this kind differ in names and in a few traits; models/plain_families.hpp lists them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <plumb/models/plain_attention.hpp>
#include <plumb/nn/block.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/mlp.hpp>
#include <plumb/nn/stack.hpp>

namespace plumb::inline v0 {

/// down(f(up(x))).
template <class B, class T>
struct plain_mlp {
  const plain_names* names = nullptr;
  linear<B, T> up;    ///< [inner, width]
  linear<B, T> down;  ///< [width, inner]
  activation f = activation::gelu_tanh;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto inner = up(p, x);  // [tokens, inner]
    return p.tape.recompute([&] { return activate(p.tape, inner, f); },
                            [&](variable<B, T> bent) { return down(p, bent); });  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names->up, self.up);
    f(self.names->down, self.down);
  }
};

/// y = x + attention(norm(x)); x ← y + mlp(norm(y)), or side by side: x ← y + mlp(norm(x)).
template <class B, class T>
struct plain_block {
  const plain_names* names = nullptr;
  layer_norm<B, T> attention_norm;
  plain_attention<B, T> attention;
  std::optional<layer_norm<B, T>> mlp_norm;  ///< none: the feed-forward part reads what attention reads
  plain_mlp<B, T> mlp;
  bool parallel = false;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    if (!mlp_norm)
      return normalised(p, attention_norm, x, [&](pass<B, T>&, variable<B, T> a) {
        const auto y = add_onto(p.tape, x, attention(p, a));  // [tokens, width]
        return add_onto(p.tape, y, mlp(p, a));                // [tokens, width]
      });
    const auto y = add_onto(p.tape, x, normalised(p, attention_norm, x, attention));  // [tokens, width]
    return add_onto(p.tape, y, normalised(p, *mlp_norm, parallel ? x : y, mlp));      // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names->attention_norm, self.attention_norm);
    f(self.names->attention, self.attention);
    if (self.mlp_norm) f(self.names->mlp_norm, *self.mlp_norm);
    f(self.names->mlp, self.mlp);
  }
};

/// Embedding, perhaps plus a row of weights for the position, blocks, a last norm, a head.
template <class B, class T>
struct plain_decoder {
  using backend_type = B;
  using number_type = T;

  const plain_names* names = nullptr;
  embedding<B, T> tokens;   ///< [vocabulary, width]
  weight_ptr<B, T> places;  ///< [first_place + positions, width]; null: none
  index_t first_place = 0;  ///< the row of position 0 (OPT: 2)
  std::vector<plain_block<B, T>> blocks;
  layer_norm<B, T> last_norm;
  linear<B, T> lm_head;  ///< its weight is the embedding's when tied

  variable<B, T> hidden(pass<B, T>& p) const {
    auto x = tokens(p);  // [tokens, width]
    if (places)
      x = add(p.tape, x, gather_rows(p.tape, p.leaf(*places), p.batch.positions, p.batch.tokens, first_place));
    return last_norm(p, run_blocks(p, blocks, x));  // [tokens, width]
  }
  variable<B, T> logits(pass<B, T>& p, variable<B, T> rows) const { return lm_head(p, rows); }  // [rows, vocabulary]

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names->embedding, self.tokens);
    f(self.names->places, self.places);
    f(self.names->blocks, self.blocks);
    f(self.names->last_norm, self.last_norm);
    f("lm_head", self.lm_head);
  }
};

}  // namespace plumb::inline v0
