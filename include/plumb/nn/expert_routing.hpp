// SPDX-License-Identifier: BSL-1.0
// Which experts of a mixture the tokens of a pass go to, and with what weights.
#pragma once

#include <span>
#include <vector>

#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/row_stack.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/nn/linear.hpp>
#include <plumb/nn/router_balance.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Which tokens each expert has: for expert e the entries [first[e], first[e + 1]), in the order of the tokens.
struct expert_rows {
  std::vector<std::int32_t> rows;    ///< the token's row
  std::vector<std::int32_t> places;  ///< where its weight lies among the [tokens, k] weights
  std::vector<index_t> first;        ///< [experts + 1]
};

/// `chosen` [tokens, k] experts, each from 0 to experts − 1.
inline expert_rows sort_by_expert(std::span<const std::int32_t> chosen, index_t k, index_t experts) {
  expert_rows out;
  out.rows.resize(chosen.size()), out.places.resize(chosen.size());
  out.first.assign(static_cast<std::size_t>(experts) + 1, 0);
  for (const std::int32_t e : chosen) ++out.first[static_cast<std::size_t>(e) + 1];
  for (std::size_t e = 1; e < out.first.size(); ++e) out.first[e] += out.first[e - 1];
  auto next = out.first;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(chosen[i])]++);
    out.rows[at] = static_cast<std::int32_t>(static_cast<index_t>(i) / k);
    out.places[at] = static_cast<std::int32_t>(i);
  }
  return out;
}

}  // namespace detail

/// The k likeliest experts of each token, p_t = softmax(gate x_t), of equal ones the lower, and their weights w_te = p_te, or
/// p_te / Σ_chosen p. A token's k choices are rows t k, …, t k + k − 1 of whatever has [tokens · k] rows.
template <class B, class T>
struct expert_routing {
  variable<B, T> shares;                 ///< w, [tokens · k, 1]
  detail::expert_rows sorted;            ///< on the host
  const std::int32_t* rows = nullptr;    ///< sorted.rows on the device
  const std::int32_t* places = nullptr;  ///< sorted.places on the device

  /// Calls f(expert, first, count) for each expert that has tokens, lower ones first: entries [first, first + count).
  template <class F>
  void for_each_expert(F&& f) const {
    for (std::size_t e = 0; e + 1 < sorted.first.size(); ++e)
      if (const index_t count = sorted.first[e + 1] - sorted.first[e]; count > 0) f(e, sorted.first[e], count);
  }
};

/// Routes x [tokens, width] with the router `gate` [experts, width], and counts the choice in the pass's balance.
template <class B, class T>
expert_routing<B, T> route(pass<B, T>& p, const linear<B, T>& gate, variable<B, T> x, index_t chosen,
                           bool shared_weights) {
  auto& t = p.tape;
  const auto probabilities = softmax_rows(t, gate(p, x));                               // [tokens, experts]
  const std::int32_t* best = choose_largest(t, probabilities.value, chosen);            // [tokens, k]
  const auto weights = choose_numbers(t, probabilities, best, chosen, shared_weights);  // [tokens, k]
  expert_routing<B, T> out;
  out.shares = reshape(t, weights, {weights.value.size(), 1});
  std::vector<std::int32_t> host(static_cast<std::size_t>(weights.value.size()));
  B::download(t.device(), best, host.data(), weights.value.size());
  if (p.balance) {  // virtual tokens, in the first rows, are nobody's text and do not count
    const index_t ahead = p.batch.ahead;
    p.balance->add(t, ahead > 0 ? rows_from(t, probabilities, ahead) : probabilities,
                   std::span<const std::int32_t>(host).subspan(static_cast<std::size_t>(ahead * chosen)));
  }
  out.sorted = detail::sort_by_expert(host, chosen, gate.outputs());
  out.rows = upload(t, std::span<const std::int32_t>(out.sorted.rows));
  out.places = upload(t, std::span<const std::int32_t>(out.sorted.places));
  return out;
}

/// Zeros to which experts add their rows.
template <class B, class T>
variable<B, T> no_rows_yet(tape<B, T>& t, shape extent) {
  const view<T> nothing = t.memory().template make<T>(extent);
  B::fill(t.device(), nothing, T(0));
  return t.constant(nothing);
}

}  // namespace plumb::inline v0
