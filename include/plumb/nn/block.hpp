// SPDX-License-Identifier: BSL-1.0
// A block of a transformer: attention and feed-forward, each normalised before and added after.
#pragma once

#include <plumb/autograd/operations.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// x ← x + attention(norm(x)); x ← x + mlp(norm(x)). Norm, Attention and Mlp are any callables
/// (pass&, variable [tokens, width]) → variable [tokens, width] with `parts`.
template <class Norm, class Attention, class Mlp>
struct pre_norm_block {
  Norm input_layernorm;
  Attention self_attn;
  Norm post_attention_layernorm;
  Mlp mlp;

  template <class B, class T>
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    x = add(p.tape, x, self_attn(p, input_layernorm(p, x)));        // [tokens, width]
    return add(p.tape, x, mlp(p, post_attention_layernorm(p, x)));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("input_layernorm", self.input_layernorm);
    f("self_attn", self.self_attn);
    f("post_attention_layernorm", self.post_attention_layernorm);
    f("mlp", self.mlp);
  }
};

}  // namespace plumb::inline v0
