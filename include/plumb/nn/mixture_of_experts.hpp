// SPDX-License-Identifier: BSL-1.0
// A mixture of experts in place of one feed-forward part.
#pragma once

#include <optional>
#include <span>
#include <string_view>
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

/// y_t = Σ_{e in the k likeliest} w_te expert_e(x_t), p_t = softmax(gate x_t), w_te = p_te, or p_te / Σ_chosen p where
/// `shared_weights` (Shazeer et al. 2017, eq. 2-5; Jiang et al. 2024, Mixtral, section 2.1); with a shared expert
/// + σ(shared_expert_gate x_t) shared_expert(x_t) (Qwen 1.5 MoE). x, y [tokens, width].
///
/// Every expert runs on its own rows only: none is padded, none dropped, one without tokens costs nothing. Of equal
/// probabilities the lower expert is chosen. Experts add in their order, so that a token's result does not depend on its
/// company or on the number of threads. `Expert` is any callable (pass&, [rows, width]) → [rows, width] with `parts`.
template <class B, class T, class Expert>
struct mixture_of_experts {
  linear<B, T> gate;  ///< the router: [experts, width]
  std::vector<Expert> experts;
  std::optional<Expert> shared_expert;
  std::optional<linear<B, T>> shared_expert_gate;  ///< [1, width]; there with a shared expert
  index_t chosen = 1;                              ///< k
  bool shared_weights = true;                      ///< the k weights of a token add up to 1
  std::string_view gate_name = "gate";             ///< in files

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    const auto count = static_cast<index_t>(experts.size());
    const auto probabilities = softmax_rows(t, gate(p, x));                               // [tokens, experts]
    const std::int32_t* best = choose_largest(t, probabilities.value, chosen);            // [tokens, k]
    const auto weights = choose_numbers(t, probabilities, best, chosen, shared_weights);  // [tokens, k]
    const auto each = reshape(t, weights, {weights.value.size(), 1});                     // [tokens · k, 1]
    std::vector<std::int32_t> host(static_cast<std::size_t>(weights.value.size()));
    B::download(t.device(), best, host.data(), weights.value.size());
    if (p.balance) report(p, probabilities, host);

    const auto sorted = detail::sort_by_expert(host, chosen, count);
    const std::int32_t* rows = upload(t, std::span<const std::int32_t>(sorted.rows));
    const std::int32_t* places = upload(t, std::span<const std::int32_t>(sorted.places));
    const view<T> nothing = t.memory().template make<T>(x.value.extent());
    B::fill(t.device(), nothing, T(0));
    auto y = t.constant(nothing);  // [tokens, width]
    for (index_t e = 0; e < count; ++e) {
      const index_t first = sorted.first[static_cast<std::size_t>(e)];
      const index_t own = sorted.first[static_cast<std::size_t>(e) + 1] - first;
      if (own == 0) continue;
      const auto inputs = gather_rows(t, x, rows + first, own);  // [own, width]
      const auto* const mixture = p.mixture;  // of all rows; the expert's adapters are those of its own
      adapter_mixture<B, T> of_own;
      if (mixture) {
        of_own = mixture->of_rows(
            std::span(sorted.rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(own)));
        p.mixture = &of_own;
      }
      const auto outputs = experts[static_cast<std::size_t>(e)](p, inputs);  // [own, width]
      p.mixture = mixture;
      const auto shares = gather_rows(t, each, places + first, own);  // [own, 1]
      y = add_weighted_rows(t, y, outputs, shares, rows + first);     // [tokens, width]
    }
    if (!shared_expert) return y;
    const auto open = sigmoid(t, (*shared_expert_gate)(p, x));     // [tokens, 1]
    return add_weighted_rows(t, y, (*shared_expert)(p, x), open);  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.gate_name, self.gate);
    f("experts", self.experts);
    if (self.shared_expert) f("shared_expert", *self.shared_expert);
    if (self.shared_expert_gate) f("shared_expert_gate", *self.shared_expert_gate);
  }

 private:
  /// Virtual tokens, in the first rows, are nobody's text and do not count.
  void report(pass<B, T>& p, const variable<B, T>& probabilities, std::span<const std::int32_t> host) const {
    const index_t ahead = p.batch.ahead;
    p.balance->add(p.tape, ahead > 0 ? rows_from(p.tape, probabilities, ahead) : probabilities,
                   host.subspan(static_cast<std::size_t>(ahead * chosen)));
  }
};

}  // namespace plumb::inline v0
