// SPDX-License-Identifier: BSL-1.0
// Evaluates an objective on one row of the vocabulary: its loss and the slopes of the logits.
#pragma once

#include <plumb/core/row_sum.hpp>
#include <plumb/objective/row.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0 {

/// What a row objective says about one row.
struct row_evaluation {
  double loss = 0;
  std::vector<double> slopes;  ///< [vocabulary], ∂loss/∂logit of the student
};

/// Evaluates φ on rows of logits (log-probabilities will do) [vocabulary]; `other` is empty when φ does not compare.
template <row_objective O>
row_evaluation evaluate_row(const O& phi, std::span<const double> logits, std::span<const double> other = {}) {
  row_evaluation out;
  out.slopes.resize(logits.size());
  double sharpness = 1;
  if constexpr (requires { phi.temperature; }) sharpness = 1 / phi.temperature;
  out.loss = row_sum_of(phi, logits.data(), other.empty() ? nullptr : other.data(), static_cast<index_t>(logits.size()),
                        sharpness, 1.0, out.slopes.data());
  return out;
}

}  // namespace plumb::inline v0
