// SPDX-License-Identifier: BSL-1.0
// Attention whose maps of queries and outputs are experts.
#pragma once

#include <memory>
#include <vector>

#include <plumb/autograd/columns.hpp>
#include <plumb/nn/attention.hpp>
#include <plumb/nn/expert_routing.hpp>

namespace plumb::inline v0 {

/// An expert: the maps of its queries and of its outputs.
template <class B, class T>
struct attention_expert {
  linear<B, T> q_proj;  ///< [kv_heads · head_width, width]
  linear<B, T> o_proj;  ///< [width, kv_heads · head_width]

  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("q_proj", self.q_proj);
    f("o_proj", self.o_proj);
  }
};

/// y_t = Σ_{e in the k likeliest} w_te o_e(attention(q_e x_t, keys, values)) + bias (Zhang et al. 2022, mixture of attention
/// heads, eq. 4-7; Shen et al. 2024, JetMoE, section 2.3): every expert has a query for each of the shared keys and values, and
/// the weights of the k chosen ones add up to 1. x, y [tokens, width].
template <class B, class T>
struct mixture_of_attention {
  linear<B, T> gate;  ///< the router: [experts, width]
  std::vector<attention_expert<B, T>> experts;
  linear<B, T> kv_proj;       ///< [2 · kv_heads · head_width, width], keys above values
  weight_ptr<B, T> bias;      ///< [1, width]
  attention_options options;  ///< heads = k · kv_heads
  std::shared_ptr<const rotary<B, T>> positions;

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    const index_t tokens = x.rows(), keys = options.kv_heads, chosen = options.heads / keys, head = options.head_width;
    const auto routing = route(p, gate, x, chosen, true);
    auto q = no_rows_yet(t, {tokens * chosen, keys * head});
    routing.for_each_expert([&](std::size_t e, index_t first, index_t own) {
      const auto mine = experts[e].q_proj(p, gather_rows(t, x, routing.rows + first, own));  // [own, keys · head]
      q = add_weighted_rows(t, q, mine, ones(t, own), routing.places + first);  // [tokens · k, keys · head]
    });
    q = reshape(t, q, {tokens, options.heads * head});
    const auto both = kv_proj(p, x);                 // [tokens, 2 · keys · head]
    auto k = take_columns(t, both, 0, keys * head);  // [tokens, keys · head]
    const auto v = take_columns(t, both, keys * head, keys * head);
    if (positions) q = positions->onto(p, q), k = positions->onto(p, k);
    // A key's queries must lie side by side, where choices do.
    const auto by_key = exchanged(t, q, tokens, chosen, keys);  // [tokens, heads · head]
    const auto read = attend_path(p, by_key, k, v, options);    // [tokens, heads · head]
    auto z = exchanged(t, read, tokens, keys, chosen);          // [tokens, heads · head]
    z = reshape(t, z, {tokens * chosen, keys * head});
    auto y = no_rows_yet(t, x.value.extent());
    routing.for_each_expert([&](std::size_t e, index_t first, index_t own) {
      const auto outputs = experts[e].o_proj(p, gather_rows(t, z, routing.places + first, own));  // [own, width]
      const auto shares = gather_rows(t, routing.shares, routing.places + first, own);            // [own, 1]
      y = add_weighted_rows(t, y, outputs, shares, routing.rows + first);                         // [tokens, width]
    });
    return add_row(t, y, p.leaf(*bias));
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("experts.router.layer", self.gate);
    f("experts", self.experts);
    f("experts.bias", self.bias);
    f("kv_proj", self.kv_proj);
  }

 private:
  static variable<B, T> ones(tape<B, T>& t, index_t count) {
    const view<T> out = t.memory().template make<T>({count, 1});
    B::fill(t.device(), out, T(1));
    return t.constant(out);
  }
  /// Heads [tokens, a, b] → [tokens, b, a].
  variable<B, T> exchanged(tape<B, T>& t, variable<B, T> x, index_t tokens, index_t a, index_t b) const {
    if (a == 1 || b == 1) return x;
    std::vector<std::int32_t> from(static_cast<std::size_t>(tokens * a * b));
    for (index_t i = 0; i < tokens * a * b; ++i)
      from[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i / (a * b) * (a * b) + i % a * b + i / a % b);
    const shape whole = x.value.extent();
    const auto heads = reshape(t, x, {tokens * a * b, options.head_width});
    const std::int32_t* order = upload(t, std::span<const std::int32_t>(from));
    return reshape(t, gather_rows(t, heads, order, tokens * a * b), whole);
  }
};

}  // namespace plumb::inline v0
