// SPDX-License-Identifier: BSL-1.0
// Encoders: BERT and RoBERTa. Every token sees its whole text; norms stand after each part; positions are learnt. They give
// states of texts and scores, not next tokens.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <plumb/autograd/activations.hpp>
#include <plumb/models/decoder_parts.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/stack.hpp>

namespace plumb::inline v0 {

/// y = norm(x + attention(x)); x ← norm(y + down(f(up(y)))) (Devlin et al. 2019; Vaswani et al. 2017, section 3.1).
template <class B, class T>
struct encoder_block {
  linear<B, T> query, key, value, out;  ///< [width, width]
  layer_norm<B, T> attention_norm;
  linear<B, T> up;    ///< [inner, width]
  linear<B, T> down;  ///< [width, inner]
  layer_norm<B, T> mlp_norm;
  attention_options options;
  activation f = activation::gelu;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    const auto seen = attend_path(p, query(p, x), key(p, x), value(p, x), options);  // [tokens, width]
    x = attention_norm(p, add_onto(p.tape, x, out(p, seen)));                        // [tokens, width]
    const auto inner = up(p, x);                                                     // [tokens, inner]
    const auto y = p.tape.recompute([&] { return activate(p.tape, inner, f); },
                                    [&](variable<B, T> bent) { return down(p, bent); });  // [tokens, width]
    return mlp_norm(p, add_onto(p.tape, x, y));                                           // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("attention.self.query", self.query);
    f("attention.self.key", self.key);
    f("attention.self.value", self.value);
    f("attention.output.dense", self.out);
    f("attention.output.LayerNorm", self.attention_norm);
    f("intermediate.dense", self.up);
    f("output.dense", self.down);
    f("output.LayerNorm", self.mlp_norm);
  }
};

/// Embedding of tokens, positions and the first kind of text, normalised; blocks; perhaps a map behind the first token's
/// state, which a score head reads.
template <class B, class T>
struct encoder {
  using backend_type = B;
  using number_type = T;

  std::string prefix;       ///< "bert" or "roberta"
  std::string pooler_name;  ///< what files call the map behind the first state
  embedding<B, T> words;    ///< [vocabulary, width]
  weight_ptr<B, T> places;  ///< [first_place + positions, width]
  weight_ptr<B, T> kinds;   ///< [token types, width]; texts are of the first kind, as transformers takes them unasked
  index_t first_place = 0;  ///< the row of position 0 (RoBERTa: 2)
  layer_norm<B, T> first_norm;
  std::vector<encoder_block<B, T>> blocks;
  std::optional<linear<B, T>> pooler;  ///< [width, width]

  variable<B, T> hidden(pass<B, T>& p) const {
    if (p.batch.host)
      for (const query_segment& s : p.batch.host->segments)
        if (s.first_position != 0)
          throw error(
              errc::unsupported, prefix,
              "an encoder reads each text as a whole: a text cannot continue another, and virtual tokens cannot "
              "stand ahead of it");
    auto& t = p.tape;
    const std::vector<std::int32_t> first(static_cast<std::size_t>(p.batch.tokens), 0);
    auto x = words(p);  // [tokens, width]
    x = add(t, x, gather_rows(t, p.leaf(*places), p.batch.positions, p.batch.tokens, first_place));
    x = add(t, x, gather_rows(t, p.leaf(*kinds), upload(t, std::span<const std::int32_t>(first)), p.batch.tokens));
    return run_blocks(p, blocks, first_norm(p, x));  // [tokens, width]
  }
  /// tanh(pooler(h)) of first tokens' states [rows, width].
  variable<B, T> summary(pass<B, T>& p, variable<B, T> rows) const {
    return pooler ? soft_cap(p.tape, (*pooler)(p, rows), 1) : rows;
  }

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.prefix + ".embeddings.word_embeddings", self.words);
    f(self.prefix + ".embeddings.position_embeddings.weight", self.places);
    f(self.prefix + ".embeddings.token_type_embeddings.weight", self.kinds);
    f(self.prefix + ".embeddings.LayerNorm", self.first_norm);
    f(self.prefix + ".encoder.layer", self.blocks);
    if (self.pooler) f(self.pooler_name, *self.pooler);
  }
};

/// Builds the encoder that `c` describes; see build_llama.
template <class B, class T, class Make>
encoder<B, T> build_encoder(const model_config& c, Make&& make) {
  const index_t width = c.hidden_size;
  const auto norm = [&](const std::string& at) {
    layer_norm<B, T> out{make(at + ".LayerNorm.weight", shape{1, width}), nullptr, c.norm_epsilon};
    out.bias = make(at + ".LayerNorm.bias", shape{1, width});
    return out;
  };
  const auto linear_map = [&](const std::string& name, index_t outputs, index_t inputs) {
    return make_linear<B, T>(make, name, outputs, inputs, true);
  };
  encoder<B, T> net;
  net.prefix = c.family, net.pooler_name = pooler_name(c);
  const std::string at = c.family + ".embeddings";
  net.words.weight = make(at + ".word_embeddings.weight", shape{c.vocabulary, width});
  net.first_place = c.first_place();
  net.places = make(at + ".position_embeddings.weight", shape{c.first_place() + c.max_positions, width});
  net.kinds = make(at + ".token_type_embeddings.weight", shape{c.token_types, width});
  net.first_norm = norm(at);
  for (index_t i = 0; i < c.layers; ++i) {
    const std::string layer = join(c.family, ".encoder.layer.", i);
    encoder_block<B, T> block;
    block.query = linear_map(layer + ".attention.self.query", width, width);
    block.key = linear_map(layer + ".attention.self.key", width, width);
    block.value = linear_map(layer + ".attention.self.value", width, width);
    block.out = linear_map(layer + ".attention.output.dense", width, width);
    block.attention_norm = norm(layer + ".attention.output");
    block.up = linear_map(layer + ".intermediate.dense", c.intermediate_size, width);
    block.down = linear_map(layer + ".output.dense", width, c.intermediate_size);
    block.mlp_norm = norm(layer + ".output");
    block.options = attention_numbers(c, i);
    block.f = c.gate;
    net.blocks.push_back(std::move(block));
  }
  if (c.pooled) net.pooler = linear_map(net.pooler_name, width, width);
  return net;
}

}  // namespace plumb::inline v0
