// SPDX-License-Identifier: BSL-1.0
// Attention of families that have their own names for its maps, or one map for queries, keys and values.
#pragma once

#include <optional>

#include <plumb/autograd/columns.hpp>
#include <plumb/models/plain_names.hpp>
#include <plumb/nn/attention.hpp>

namespace plumb::inline v0 {

/// out(softmax(q kᵀ scale) v), q and k rotated where there are rotary positions.
template <class B, class T>
struct plain_attention {
  const attention_names* names = nullptr;
  std::optional<linear<B, T>> all;      ///< [(heads + 2 kv_heads) · head_width, width]
  std::optional<linear<B, T>> q, k, v;  ///< in its place
  linear<B, T> out;                     ///< [width, heads · head_width]
  bool grouped =
      false;  ///< `all` holds the queries of a key, that key and its value, then the next; else all queries first
  attention_options options;
  std::shared_ptr<const rotary<B, T>> positions;  ///< null: none
  double clip = 0;                                ///< q, k and v beyond ± this come to rest there (DBRX); 0: they stay

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    three own = all ? taken_apart(p.tape, (*all)(p, x)) : three{(*q)(p, x), (*k)(p, x), (*v)(p, x)};
    if (clip > 0)
      for (variable<B, T>* each : {&own.q, &own.k, &own.v}) *each = plumb::clip(p.tape, *each, static_cast<T>(clip));
    if (positions) own.q = positions->onto(p, own.q), own.k = positions->onto(p, own.k);
    return out(p, attend_path(p, own.q, own.k, own.v, options));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    if (self.all) f(self.names->all, *self.all);
    if (self.q) f(self.names->q, *self.q), f(self.names->k, *self.k), f(self.names->v, *self.v);
    f(self.names->out, self.out);
  }

 private:
  struct three {
    variable<B, T> q, k, v;  // [tokens, heads · head_width] and twice [tokens, kv_heads · head_width]
  };
  three taken_apart(tape<B, T>& t, variable<B, T> x) const {
    const index_t tokens = x.rows(), groups = grouped ? options.kv_heads : 1, kv_heads = options.kv_heads / groups;
    const index_t q_width = options.heads / groups * options.head_width, kv_width = kv_heads * options.head_width;
    if (groups > 1) x = reshape(t, x, {tokens * groups, q_width + 2 * kv_width});  // a row for each key
    const auto take = [&](index_t first, index_t count) {
      const auto part = take_columns(t, x, first, count);
      return groups > 1 ? reshape(t, part, {tokens, groups * count}) : part;
    };
    return {take(0, q_width), take(q_width, kv_width), take(q_width + kv_width, kv_width)};
  }
};

}  // namespace plumb::inline v0
