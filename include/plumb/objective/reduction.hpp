// SPDX-License-Identifier: BSL-1.0
// How the losses of records become the loss of a batch: as a value, so that it can be chosen apart from the formula.
#pragma once

namespace plumb::inline v0 {

/// Weights that turn per-record losses into one number, L = Σ_i w_i L_i. Masked tokens have weight 0 and are skipped.
///
///   mean              w = 1 / N        N records; for tokens, N valid tokens ("token-global": long replies count more)
///   sequence_mean     w = 1 / (S n_s)  S sequences, n_s valid tokens of the token's own: each reply counts equally
///   constant_length   w = 1 / (S C)    C a fixed length, such as the longest completion allowed (Dr. GRPO)
///
/// N and S are those of the whole optimiser step. When a step is split into micro-batches or over machines, count them
/// first (`window_units`) and pass the sum with `over`; then the result does not depend on the split. A sequence
/// must not be split. Without a window the batch at hand is the whole step. A batch without a single valid record has
/// loss 0 and slopes 0; that is not an error, because a micro-batch may be all prompt.
struct reduction {
  enum class kind { mean, sequence_mean, constant_length };

  kind how = kind::mean;
  double window = 0;  ///< N or S of the optimiser step; 0: of the batch at hand
  double length = 0;  ///< C, in tokens; constant_length only

  static constexpr reduction mean() { return {}; }
  static constexpr reduction sequence_mean() { return {.how = kind::sequence_mean}; }
  static constexpr reduction constant_length(double tokens) { return {.how = kind::constant_length, .length = tokens}; }

  /// The same reduction over a known window.
  [[nodiscard]] constexpr reduction over(double units) const { return {.how = how, .window = units, .length = length}; }
  friend constexpr bool operator==(const reduction&, const reduction&) = default;
};

/// What an objective asks for itself: `static constexpr auto reduction = …` in the struct, or the mean.
template <class O>
constexpr reduction default_reduction() {
  if constexpr (requires { reduction(O::reduction); })
    return O::reduction;
  else
    return reduction::mean();
}
/// What this objective asks for with its parameters as they are: `constexpr plumb::reduction own_reduction() const` in
/// the struct, or the same for all of its type.
template <class O>
constexpr reduction default_reduction(const O& objective) {
  if constexpr (requires { reduction(objective.own_reduction()); })
    return objective.own_reduction();
  else
    return default_reduction<O>();
}

}  // namespace plumb::inline v0
