// SPDX-License-Identifier: BSL-1.0
// The bodies of train/step.hpp: the metrics of the head. Collected by plumb/impl.hpp.
#pragma once

#include <cstddef>

#include <plumb/train/step.hpp>

namespace plumb::inline v0 {

void collect_of_head(const batch_scores& scores, const training_batch& batch, metric_list& out) {
  std::size_t which = 0;
  for (const example* e : batch.examples)
    for (std::size_t k = 0; k < e->replies.size(); ++k, ++which) {
      const auto span = batch.replies[which];
      for (index_t i = span.first; i < span.first + span.count; ++i) {
        if (!scores.entropy.empty()) out.add("entropy", scores.entropy[static_cast<std::size_t>(i)]);
        if (k == 0 && !scores.correct.empty())
          out.add("mean_token_accuracy", scores.correct[static_cast<std::size_t>(i)] ? 1 : 0);
      }
    }
}

}  // namespace plumb::inline v0
