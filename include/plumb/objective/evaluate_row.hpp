// SPDX-License-Identifier: BSL-1.0
// Evaluates an objective on one row of the vocabulary: its loss and the slopes of the logits.
#pragma once

#include <plumb/core/row_sum.hpp>
#include <plumb/core/top_words.hpp>
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
/// A φ with `top_k` > 0, such as distill, is summed over the other row's likeliest words (core/top_words.hpp).
template <row_objective O>
row_evaluation evaluate_row(const O& phi, std::span<const double> logits, std::span<const double> other = {}) {
  row_evaluation out;
  out.slopes.resize(logits.size());
  double sharpness = 1;
  if constexpr (requires { phi.temperature; }) sharpness = 1 / phi.temperature;
  if constexpr (requires { phi.top_k, phi.tail; })
    if (phi.top_k > 0) {
      const auto all = static_cast<index_t>(logits.size()), words = all < phi.top_k ? all : index_t{phi.top_k};
      std::vector<std::int32_t> ids(static_cast<std::size_t>(words));
      pick_top_words(other.data(), all, ids.data(), words);
      const auto size = static_cast<std::size_t>(words + (phi.tail ? 1 : 0));
      std::vector<double> own(size), beside(size), slopes(size);
      gather_words(logits.data(), all, ids.data(), words, phi.tail, sharpness, own.data());
      gather_words(other.data(), all, ids.data(), words, phi.tail, sharpness, beside.data());
      out.loss = row_sum_of(phi, own.data(), beside.data(), words + (phi.tail ? 1 : 0), sharpness, 1.0, slopes.data());
      scatter_words(logits.data(), all, ids.data(), words, phi.tail, sharpness, own.data(), slopes.data(),
                    out.slopes.data());
      return out;
    }
  out.loss = row_sum_of(phi, logits.data(), other.empty() ? nullptr : other.data(), static_cast<index_t>(logits.size()),
                        sharpness, 1.0, out.slopes.data());
  return out;
}

}  // namespace plumb::inline v0
