// SPDX-License-Identifier: BSL-1.0
// The bodies of train/baseline.hpp: which rows are mismatched, and their mean. Collected by plumb/impl.hpp.
#pragma once

#include <cmath>
#include <span>

#include <plumb/core/error.hpp>
#include <plumb/train/baseline.hpp>

namespace plumb::inline v0 {

mismatched_rows mismatch(std::span<const example> data) {
  mismatched_rows out;
  const std::size_t count = data.size();
  for (std::size_t i = 0; i < count; ++i) {
    out.row_of.push_back(mismatched_rows::none);
    if (!std::isnan(data[i].kl) || data[i].replies.size() != 1) continue;
    const auto& own = data[i].replies[0].tokens;
    std::size_t back = 1;
    while (back < count && (data[(i + count - back) % count].replies.size() != 1 ||
                            data[(i + count - back) % count].replies[0].tokens == own))
      ++back;
    if (back >= count)
      throw error(errc::bad_data, data[i].place,
                  "the baseline needs this prompt with another row's reply, and no other row has another reply; give "
                  "more rows, or \"kl\" in each, or take apo_zero_unpaired, which has no baseline");
    out.row_of[i] = out.rows.size();
    out.rows.push_back({.prompt = data[i].prompt,
                        .replies = {{data[(i + count - back) % count].replies[0].tokens}},
                        .place = data[i].place});
  }
  return out;
}

void baseline_sum::begin(const mismatched_rows& mismatched, std::span<const example> data,
                         std::span<const example* const> examples, std::vector<const example*>& asked) {
  *this = {};
  asked.clear();
  for (const example* e : examples) {
    if (e->replies[0].weight == 0) continue;
    ++count;
    const std::size_t row = mismatched.row_of[static_cast<std::size_t>(e - data.data())];
    if (row == mismatched_rows::none)
      sum += e->kl;
    else
      asked.push_back(&mismatched.rows[row]);
  }
}

void baseline_sum::add(const training_batch& batch, const batch_scores& scores) {
  for (std::size_t i = 0; i < batch.examples.size(); ++i)
    sum += detail::sequence_of(batch, scores, static_cast<index_t>(i), batch.examples[i]->replies[0]).log_ratio();
}

}  // namespace plumb::inline v0
