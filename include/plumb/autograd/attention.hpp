// SPDX-License-Identifier: BSL-1.0
// Softmax attention over a forest of segments, forward and backward, without ever storing its weights.
#pragma once

#include <cstdint>

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// out = softmax(scale q kᵀ) v over each query's path (Vaswani et al. 2017, eq. 1, with grouped heads).
/// q, out [tokens, heads · head_width]; k, v [key rows, kv_heads · head_width].
template <class B, class T>
struct forest_attention {
  variable<B, T> q, k, v;
  attention_plan plan;
  attention_options options;
  view<T> log_sum;  ///< [tokens, heads], log Σ exp of the scores
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(q.value.extent(), q, k, v);
    log_sum = t.memory().template make<T>({q.rows(), options.heads});
    B::attention(t.device(), plan, options, q.value, k.value, v.value, t.writable(out), log_sum);
    return out;
  }
  void backward(tape<B, T>& t) {
    // One kernel makes all three gradients. Where one is not wanted (nothing below it learns), it goes to scratch.
    const auto wanted = [&](const variable<B, T>& x) {
      if (x.slot) return t.gradient(x);
      const view<T> scratch = t.borrow(x.value.extent());
      B::fill(t.device(), scratch, T(0));
      return scratch;
    };
    const view<T> dq = wanted(q), dk = wanted(k), dv = wanted(v);
    B::attention_backward(t.device(), plan, options, q.value, k.value, v.value, out.value, log_sum, out.slot->value, dq,
                          dk, dv);
    if (!q.slot) t.give_back(dq);
    if (!k.slot) t.give_back(dk);
    if (!v.slot) t.give_back(dv);
  }
};

template <class B, class T>
variable<B, T> attend(tape<B, T>& t, variable<B, T> q, variable<B, T> k, variable<B, T> v, const attention_plan& plan,
                      const attention_options& options) {
  return t.apply(forest_attention<B, T>{q, k, v, plan, options, {}, {}});
}

/// The same with keys and values in bfloat16, for backends that take them; nothing goes back.
template <class B, class T>
variable<B, T> attend_to_rounded(tape<B, T>& t, variable<B, T> q, view<const std::uint16_t> k,
                                 view<const std::uint16_t> v, const attention_plan& plan,
                                 const attention_options& options) {
  const auto out = t.make(q.value.extent(), false);
  const view<T> log_sum = t.memory().template make<T>({q.rows(), options.heads});
  B::attention_to_rounded(t.device(), plan, options, q.value, k, v, t.writable(out), log_sum);
  return out;
}

}  // namespace plumb::inline v0
