// SPDX-License-Identifier: BSL-1.0
// GPT-2: learnt positions, layer norms, one map for queries, keys and values, a plain feed-forward part.
#pragma once

#include <plumb/autograd/columns.hpp>
#include <plumb/models/decoder_parts.hpp>
#include <plumb/nn/attention.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/mlp.hpp>
#include <plumb/nn/norm.hpp>

namespace plumb::inline v0 {

/// c_proj(softmax(q kᵀ / √head_width) v), with (q, k, v) side by side in c_attn(x).
template <class B, class T>
struct gpt2_attention {
  linear<B, T> c_attn;  ///< [3 width, width]
  linear<B, T> c_proj;  ///< [width, width]
  attention_options options;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const index_t width = x.columns();
    const auto all = c_attn(p, x);                               // [tokens, 3 width]
    const auto q = take_columns(p.tape, all, 0, width);          // [tokens, width]
    const auto k = take_columns(p.tape, all, width, width);      // [tokens, width]
    const auto v = take_columns(p.tape, all, 2 * width, width);  // [tokens, width]
    return c_proj(p, attend_path(p, q, k, v, options));          // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("c_attn", self.c_attn);
    f("c_proj", self.c_proj);
  }
};

/// x ← x + attention(norm(x)); x ← x + mlp(norm(x)).
template <class B, class T>
struct gpt2_block {
  layer_norm<B, T> ln_1;
  gpt2_attention<B, T> attn;
  layer_norm<B, T> ln_2;
  gelu_mlp<B, T> mlp;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    x = add(p.tape, x, attn(p, ln_1(p, x)));    // [tokens, width]
    return add(p.tape, x, mlp(p, ln_2(p, x)));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("ln_1", self.ln_1);
    f("attn", self.attn);
    f("ln_2", self.ln_2);
    f("mlp", self.mlp);
  }
};

/// The decoder (Radford et al. 2019).
template <class B, class T>
struct gpt2 {
  using backend_type = B;
  using number_type = T;

  embedding<B, T> wte;   ///< [vocabulary, width]
  weight_ptr<B, T> wpe;  ///< [positions, width]
  std::vector<gpt2_block<B, T>> h;
  layer_norm<B, T> ln_f;
  linear<B, T> lm_head;  ///< its weight is the embedding's when tied

  variable<B, T> hidden(pass<B, T>& p) const {
    const auto at = gather_rows(p.tape, p.leaf(*wpe), p.batch.positions, p.batch.tokens);  // [tokens, width]
    auto x = add(p.tape, wte(p), at);                                                      // [tokens, width]
    for (p.layer = 0; p.layer < static_cast<index_t>(h.size()); ++p.layer)
      x = h[static_cast<std::size_t>(p.layer)](p, x);  // [tokens, width]
    return ln_f(p, x);                                 // [tokens, width]
  }
  variable<B, T> logits(pass<B, T>& p, variable<B, T> rows) const { return lm_head(p, rows); }  // [rows, vocabulary]

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("transformer.wte", self.wte);
    f("transformer.wpe.weight", self.wpe);
    f("transformer.h", self.h);
    f("transformer.ln_f", self.ln_f);
    f("lm_head", self.lm_head);
  }
};

/// Builds the model that `c` describes; see build_llama.
template <class B, class T, class Make>
gpt2<B, T> build_gpt2(const model_config& c, Make&& make) {
  const index_t width = c.hidden_size;
  const auto norm = [&](const std::string& name) {
    return layer_norm<B, T>{make(name + ".weight", shape{1, width}), make(name + ".bias", shape{1, width}),
                            c.norm_epsilon};
  };
  const auto linear_map = [&](const std::string& name, index_t outputs, index_t inputs) {
    return make_linear<B, T>(make, name, outputs, inputs, true);
  };
  gpt2<B, T> net;
  net.wte.weight = make("transformer.wte.weight", shape{c.vocabulary, width});
  net.wpe = make("transformer.wpe.weight", shape{c.max_positions, width});
  for (index_t i = 0; i < c.layers; ++i) {
    const std::string at = join("transformer.h.", i);
    gpt2_block<B, T> block;
    block.ln_1 = norm(at + ".ln_1");
    block.attn.c_attn = linear_map(at + ".attn.c_attn", 3 * width, width);
    block.attn.c_proj = linear_map(at + ".attn.c_proj", width, width);
    block.attn.options = attention_numbers(c, i);
    block.ln_2 = norm(at + ".ln_2");
    block.mlp.c_fc = linear_map(at + ".mlp.c_fc", c.intermediate_size, width);
    block.mlp.c_proj = linear_map(at + ".mlp.c_proj", width, c.intermediate_size);
    block.mlp.inner = c.gate;
    net.h.push_back(std::move(block));
  }
  net.ln_f = norm("transformer.ln_f");
  net.lm_head.weight = c.tied_head ? net.wte.weight : make("lm_head.weight", shape{c.vocabulary, width});
  return net;
}

}  // namespace plumb::inline v0
