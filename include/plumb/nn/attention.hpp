// SPDX-License-Identifier: BSL-1.0
// Self-attention with grouped heads and rotary positions.
#pragma once

#include <optional>

#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/attention.hpp>
#include <plumb/nn/linear.hpp>
#include <plumb/nn/norm.hpp>
#include <plumb/nn/rotary.hpp>
#include <plumb/nn/virtual_tokens.hpp>

namespace plumb::inline v0 {

/// softmax(q kᵀ scale) v along each token's path. In sampling, keys and values are appended to the pass's cache and read
/// from there; a pass may also keep its own for one that goes on from it.
template <class B, class T>
variable<B, T> attend_path(pass<B, T>& p, variable<B, T> q, variable<B, T> k, variable<B, T> v,
                           const attention_options& options) {
  const index_t ahead = p.batch.ahead;  // virtual tokens in the first rows
  if (ahead > 0 && p.ahead->prefix) k = p.ahead->instead_of(p, k, 0), v = p.ahead->instead_of(p, v, 1);
  if (kv_cache<B, T>* const cache = p.cache ? p.cache : p.kept) {
    cache->write(p.tape.device(), p.layer, ahead, k.value, v.value);
    ++p.kept_layers;
  }
  if (!p.cache) return attend(p.tape, q, k, v, p.batch.plan, options);  // [tokens, heads · head_width]
  const auto layer = static_cast<std::size_t>(p.layer);
  if constexpr (rounded_keys<B, T>)
    if (!p.cache->rounded_layers.empty()) {
      const auto& rounded = p.cache->rounded_layers[layer];
      return attend_to_rounded(p.tape, q, rounded.keys.get(), rounded.values.get(), p.batch.plan, options);
    }
  k = p.tape.constant(p.cache->layers[layer].keys.get());    // [capacity, kv_heads · head_width]
  v = p.tape.constant(p.cache->layers[layer].values.get());  // [capacity, kv_heads · head_width]
  return attend(p.tape, q, k, v, p.batch.plan, options);     // [tokens, heads · head_width]
}

/// o(softmax(q kᵀ / √head_width) v), q, k, v = projections of x, q and k rotated (Ainslie et al. 2023 for the groups).
/// With q_norm and k_norm, q and k are normalised before they are turned (Dehghani et al. 2023, section 2): each head by
/// itself, or all heads together, as the width of the norm's weight says.
template <class B, class T>
struct self_attention {
  linear<B, T> q_proj;                                 ///< [heads · head_width, width]
  linear<B, T> k_proj;                                 ///< [kv_heads · head_width, width]
  linear<B, T> v_proj;                                 ///< [kv_heads · head_width, width]
  linear<B, T> o_proj;                                 ///< [width, heads · head_width]
  std::optional<rms_norm<B, T>> q_norm;                ///< weight [1, head_width or heads · head_width]
  std::optional<rms_norm<B, T>> k_norm;                ///< weight [1, head_width or kv_heads · head_width]
  std::optional<heads_layer_norm<B, T>> q_heads_norm;  ///< in place of q_norm, under its name
  std::optional<heads_layer_norm<B, T>> k_heads_norm;
  attention_options options;
  double clip = 0;                                ///< q, k and v beyond ± this come to rest there (OLMoE); 0: they stay
  std::shared_ptr<const rotary<B, T>> positions;  ///< null: none in this layer

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto q = clipped(p, each_head(p, q_norm, q_heads_norm, q_proj(p, x)));  // [tokens, heads · head_width]
    auto k = clipped(p, each_head(p, k_norm, k_heads_norm, k_proj(p, x)));  // [tokens, kv_heads · head_width]
    if (positions) q = positions->onto(p, q), k = positions->onto(p, k);
    const auto v = clipped(p, v_proj(p, x));             // [tokens, kv_heads · head_width]
    return o_proj(p, attend_path(p, q, k, v, options));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("q_proj", self.q_proj);
    f("k_proj", self.k_proj);
    f("v_proj", self.v_proj);
    f("o_proj", self.o_proj);
    if (self.q_norm) f("q_norm", *self.q_norm);
    if (self.k_norm) f("k_norm", *self.k_norm);
    if (self.q_heads_norm) f("q_norm", *self.q_heads_norm);
    if (self.k_heads_norm) f("k_norm", *self.k_heads_norm);
  }

 private:
  variable<B, T> clipped(pass<B, T>& p, variable<B, T> x) const {
    return clip > 0 ? plumb::clip(p.tape, x, static_cast<T>(clip)) : x;
  }
  variable<B, T> each_head(pass<B, T>& p, const std::optional<rms_norm<B, T>>& norm,
                           const std::optional<heads_layer_norm<B, T>>& of_heads, variable<B, T> x) const {
    if (of_heads) return (*of_heads)(p, x);
    if (!norm) return x;
    const shape whole = x.value.extent();  // [tokens, heads · head_width]
    const index_t width = norm->weight->value.extent().columns;
    const auto each = reshape(p.tape, x, {whole.size() / width, width});  // [tokens · heads, head_width]
    return reshape(p.tape, (*norm)(p, each), whole);                      // as x
  }
};

}  // namespace plumb::inline v0
