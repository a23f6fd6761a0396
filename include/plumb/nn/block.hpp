// SPDX-License-Identifier: BSL-1.0
// A block of a transformer: attention and feed-forward, each normalised before and added after.
#pragma once

#include <optional>
#include <string_view>

#include <plumb/autograd/operations.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// What files call the parts of a block that normalises before them; as Llama on the hub unless said otherwise.
struct block_names {
  std::string_view first_norm = "input_layernorm", attention = "self_attn", second_norm = "post_attention_layernorm",
                   mlp = "mlp";
};

/// part(norm(x)); the normalised rows are not kept, but computed again on the way back.
template <class B, class T, class Norm, class Part>
variable<B, T> normalised(pass<B, T>& p, const Norm& norm, variable<B, T> x, const Part& part) {
  return p.tape.recompute([&] { return norm(p, x); },                             // [tokens, width]
                          [&](variable<B, T> inner) { return part(p, inner); });  // [tokens, width]
}

/// x ← x + c attention(norm(x)); x ← x + c mlp(norm(x)). Norm, Attention and Mlp are any callables
/// (pass&, variable [tokens, width]) → variable [tokens, width] with `parts`; what they give is not used again, so that the
/// sum may lie in its memory.
template <class Norm, class Attention, class Mlp>
struct pre_norm_block {
  Norm input_layernorm;
  Attention self_attn;
  Norm post_attention_layernorm;
  Mlp mlp;
  double residual_factor = 1;  ///< c (Granite)
  block_names names{};

  template <class B, class T>
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto change = [&](const Norm& norm, const auto& part) {
      const auto y = normalised(p, norm, x, part);  // [tokens, width]
      return residual_factor == 1 ? y : scale(p.tape, y, static_cast<T>(residual_factor));
    };
    x = add_onto(p.tape, x, change(input_layernorm, self_attn));        // [tokens, width]
    return add_onto(p.tape, x, change(post_attention_layernorm, mlp));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.names.first_norm, self.input_layernorm);
    f(self.names.attention, self.self_attn);
    f(self.names.second_norm, self.post_attention_layernorm);
    f(self.names.mlp, self.mlp);
  }
};

/// x ← x + attention(norm(x)) + mlp(norm(x)), both from one norm (Wang & Komatsuzaki 2021, GPT-J; Cohere's models).
template <class Norm, class Attention, class Mlp>
struct parallel_block {
  Norm input_layernorm;
  Attention self_attn;
  Mlp mlp;

  template <class B, class T>
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    return normalised(p, input_layernorm, x, [&](pass<B, T>&, variable<B, T> inner) {
      const auto y = add_onto(p.tape, x, self_attn(p, inner));  // [tokens, width]
      return add_onto(p.tape, y, mlp(p, inner));                // [tokens, width]
    });
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("input_layernorm", self.input_layernorm);
    f("self_attn", self.self_attn);
    f("mlp", self.mlp);
  }
};

/// x ← x + norm(attention(x)); x ← x + norm(mlp(x)), and with the first norms also norm(attention(norm(x))):
/// OLMo 2 without them, Gemma 2 and 3 with them.
template <class Norm, class Attention, class Mlp>
struct post_norm_block {
  std::optional<Norm> input_layernorm;
  Attention self_attn;
  Norm post_attention_layernorm;
  std::optional<Norm> pre_feedforward_layernorm;
  Mlp mlp;
  Norm post_feedforward_layernorm;

  template <class B, class T>
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto change = [&](const std::optional<Norm>& before, const auto& part, const Norm& after) {
      return after(p, before ? normalised(p, *before, x, part) : part(p, x));  // [tokens, width]
    };
    x = add_onto(p.tape, x, change(input_layernorm, self_attn, post_attention_layernorm));           // [tokens, width]
    return add_onto(p.tape, x, change(pre_feedforward_layernorm, mlp, post_feedforward_layernorm));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    if (self.input_layernorm) f("input_layernorm", *self.input_layernorm);
    f("self_attn", self.self_attn);
    f("post_attention_layernorm", self.post_attention_layernorm);
    if (self.pre_feedforward_layernorm) f("pre_feedforward_layernorm", *self.pre_feedforward_layernorm);
    f("mlp", self.mlp);
    f("post_feedforward_layernorm", self.post_feedforward_layernorm);
  }
};

}  // namespace plumb::inline v0
