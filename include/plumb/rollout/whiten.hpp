// SPDX-License-Identifier: BSL-1.0
// Whitening: mean 0 and deviation 1 over the tokens that count.
#pragma once

#include <plumb/rollout/checks.hpp>
#include <vector>

namespace plumb::inline v0 {

/// Mean and unbiased variance Σ (x − mean)²/(n − 1); the variance of fewer than two numbers is 0.
struct moments {
  double mean = 0;
  double variance = 0;
  double count = 0;
};

/// The moments of the numbers whose mask is not 0, in two passes: nothing cancels, however far the mean is from 0.
inline moments moments_of(std::span<const double> x, std::span<const unsigned char> mask = {}) {
  const detail::token_mask counts{mask};
  moments m;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (counts[i]) m.mean += x[i], ++m.count;
  m.mean /= m.count > 0 ? m.count : 1;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (counts[i]) m.variance += (x[i] - m.mean) * (x[i] - m.mean);
  m.variance /= m.count > 1 ? m.count - 1 : 1;
  return m;
}

/// (x − mean)/sqrt(variance + 1e-8), [tokens]; 0 where the mask is 0.
///
/// mask [tokens], or empty: all count. shift_mean = false leaves the mean where it was (TRL's choice for rewards): only
/// the scale changes. torchtune has the two the other way round, so that its PPO's advantages are not centred.
/// Throws errc::bad_argument for sizes that differ and numbers that are not finite.
inline std::vector<double> whiten(std::span<const double> x, std::span<const unsigned char> mask = {},
                                  bool shift_mean = true) {
  if (!mask.empty()) detail::check_size("whiten", "mask entries, one per number", x.size(), mask.size());
  const detail::token_mask counts{mask};
  for (std::size_t i = 0; i < x.size(); ++i)
    if (counts[i]) detail::check_finite_numbers("whiten", "numbers", x.subspan(i, 1));
  const moments m = moments_of(x, mask);
  std::vector<double> result(x.size(), 0.0);
  const double scale = 1 / std::sqrt(m.variance + 1e-8);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (counts[i]) result[i] = (x[i] - m.mean) * scale + (shift_mean ? 0 : m.mean);
  return result;
}

}  // namespace plumb::inline v0
