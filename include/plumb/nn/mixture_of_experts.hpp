// SPDX-License-Identifier: BSL-1.0
// A mixture of experts in place of one feed-forward part.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/nn/expert_routing.hpp>

namespace plumb::inline v0 {

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
  weight_ptr<B, T> bias;                           ///< [1, width], added to every token (JetMoE); null: none
  std::string_view gate_name = "gate";             ///< in files

  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    auto& t = p.tape;
    const auto routing = route(p, gate, x, chosen, shared_weights);
    auto y = no_rows_yet(t, x.value.extent());  // [tokens, width]
    routing.for_each_expert([&](std::size_t e, index_t first, index_t own) {
      const auto* const mixture = p.mixture;  // of all rows; the expert's adapters are those of its own
      adapter_mixture<B, T> of_own;
      if (mixture) {
        of_own = mixture->of_rows(
            std::span(routing.sorted.rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(own)));
        p.mixture = &of_own;
      }
      const auto outputs = t.recompute([&] { return gather_rows(t, x, routing.rows + first, own); },
                                       [&](variable<B, T> inputs) { return experts[e](p, inputs); });  // [own, width]
      p.mixture = mixture;
      const auto shares = gather_rows(t, routing.shares, routing.places + first, own);  // [own, 1]
      y = add_weighted_rows(t, y, outputs, shares, routing.rows + first);               // [tokens, width]
    });
    if (bias) y = add_row(t, y, p.leaf(*bias));
    if (!shared_expert) return y;
    const auto open = sigmoid(t, (*shared_expert_gate)(p, x));     // [tokens, 1]
    return add_weighted_rows(t, y, (*shared_expert)(p, x), open);  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f(self.gate_name, self.gate);
    f("bias", self.bias);
    f("experts", self.experts);
    if (self.shared_expert) f("shared_expert", *self.shared_expert);
    if (self.shared_expert_gate) f("shared_expert_gate", *self.shared_expert_gate);
  }
};

}  // namespace plumb::inline v0
