// SPDX-License-Identifier: BSL-1.0
// Learnt rows for a few tokens in place of those of a frozen table: where the table is looked up, and where it scores.
#pragma once

#include <plumb/autograd/tape.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// out_i = learnt row of token i where it has one, else base_i.
template <class T>
struct take_replaced_each {
  view<const T> base, learnt;
  const std::int32_t* tokens;
  const std::int32_t* slots;
  T* out;
  PLUMB_HD void operator()(index_t i) const {
    const auto slot = slots[tokens[i / base.columns]];
    out[i] = slot < 0 ? base.data[i] : learnt.row(slot)[i % base.columns];
  }
};
/// The way back: a column at a time, so that the sum over tokens has one order.
template <class T>
struct give_replaced_each {
  view<const T> d;
  const std::int32_t* tokens;
  const std::int32_t* slots;
  view<T> base, learnt;  ///< gradients; no memory: not wanted
  PLUMB_HD void operator()(index_t column) const {
    for (index_t i = 0; i < d.rows; ++i) {
      const auto slot = slots[tokens[i]];
      if (slot >= 0 && learnt.data) learnt.row(slot)[column] += d.row(i)[column];
      if (slot < 0 && base.data) base.row(i)[column] += d.row(i)[column];
    }
  }
};
/// z[i, which_j] = own[i, j], or the way back: own[i, j] += z[i, which_j], which then holds 0.
template <class T, bool Back>
struct replace_column_each {
  view<T> z;
  std::conditional_t<Back, T*, const T*> own;  ///< may be null on the way back
  const std::int32_t* which;
  index_t count;
  PLUMB_HD void operator()(index_t k) const {
    T& score = z.row(k / count)[which[k % count]];
    if constexpr (Back) {
      if (own) own[k] += score;
      score = 0;
    } else {
      score = own[k];
    }
  }
};

}  // namespace detail

/// out [tokens, width]: row slots[token_i] of `learnt` [n, width], or row i of `base` where the slot is −1.
/// `slots` [vocabulary] and `tokens` [tokens] lie on the device.
template <class B, class T>
struct row_replacement {
  variable<B, T> base, learnt;
  const std::int32_t* tokens = nullptr;
  const std::int32_t* slots = nullptr;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.make_like(base.value.extent(), base, learnt);
    B::for_each(t.device(), base.value.size(),
                detail::take_replaced_each<T>{base.value, learnt.value, tokens, slots, t.writable(out).data});
    return out;
  }
  void backward(tape<B, T>& t) {
    const view<T> to_base = base.slot ? t.gradient(base) : view<T>();
    const view<T> to_learnt = learnt.slot ? t.gradient(learnt) : view<T>();
    B::for_each(t.device(), base.columns(),
                detail::give_replaced_each<T>{out.slot->value, tokens, slots, to_base, to_learnt});
  }
};

/// out [rows, vocabulary] = base with column which_j replaced by column j of `own` [rows, n], in base's memory; `base` must
/// have been made just before and is not used again. `which` [n] lies on the device.
template <class B, class T>
struct column_replacement {
  variable<B, T> base, own;
  const std::int32_t* which = nullptr;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    out = t.take_over(base, base, own);
    B::for_each(t.device(), own.value.size(),
                detail::replace_column_each<T, false>{t.writable(out), own.value.data, which, own.columns()});
    return out;
  }
  void backward(tape<B, T>& t) {
    B::for_each(t.device(), own.value.size(),
                detail::replace_column_each<T, true>{out.slot->value, own.slot ? t.gradient(own).data : nullptr, which,
                                                     own.columns()});
    if (base.slot) t.hand_gradient(base, out);
  }
};

}  // namespace plumb::inline v0
