// SPDX-License-Identifier: BSL-1.0
// How well the scores of a reward model agree with the oracle's.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <plumb/core/error.hpp>

namespace demo {

/// The agreement of scores with the truth.
struct judgement {
  double ordered =
      0;  ///< share of the pairs of replies to one question that differ in truth, in its order; a tie: half
  double correlation = 0;  ///< Pearson's, over all replies
  double best = 0;  ///< the truth of the reply to each question that is scored highest (ties: the first), on average
};

/// Scores of replies [questions][samples] against true ones of the same shape; true ones within 1e-9 are equal. Nothing to
/// order: ½; scores or truth all the same: no correlation, 0. Throws errc::bad_argument for shapes that differ or are empty.
inline judgement judge_scores(std::span<const std::vector<double>> scores, std::span<const std::vector<double>> truth) {
  if (scores.size() != truth.size() || truth.empty())
    throw plumb::error(
        plumb::errc::bad_argument, "judge_scores",
        plumb::join("expected scores of ", truth.size(), " questions, at least one, found ", scores.size()));
  judgement out;
  double pairs = 0, n = 0, mean_s = 0, mean_t = 0, ss = 0, tt = 0, st = 0;
  for (std::size_t q = 0; q < truth.size(); ++q) {
    const auto &own = scores[q], &known = truth[q];
    if (own.size() != known.size() || own.empty())
      throw plumb::error(plumb::errc::bad_argument, plumb::join("judge_scores, question ", q),
                         plumb::join("expected ", known.size(), " scores, at least one, found ", own.size()));
    for (std::size_t i = 0; i < own.size(); ++i) {
      const double ds = own[i] - mean_s, dt = known[i] - mean_t;  // Welford's sums, which do not cancel
      mean_s += ds / ++n, mean_t += dt / n;
      ss += ds * (own[i] - mean_s), tt += dt * (known[i] - mean_t), st += ds * (known[i] - mean_t);
      for (std::size_t j = 0; j < own.size(); ++j) {
        if (known[i] - known[j] <= 1e-9) continue;
        out.ordered += own[i] > own[j] ? 1 : own[i] == own[j] ? 0.5 : 0;
        ++pairs;
      }
    }
    out.best += known[static_cast<std::size_t>(std::max_element(own.begin(), own.end()) - own.begin())];
  }
  out.ordered = pairs > 0 ? out.ordered / pairs : 0.5;
  out.correlation = ss > 0 && tt > 0 ? st / std::sqrt(ss * tt) : 0;
  out.best /= static_cast<double>(truth.size());
  return out;
}

}  // namespace demo
