// SPDX-License-Identifier: BSL-1.0
// Several changes of one weight become one: sums, TIES, DARE.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// How changes d_1 … d_n with weights w_i become one.
///
///   linear     Σ w_i d_i
///   ties       each d_i keeps its largest numbers (share `density`), the others become 0; a place takes the sign of Σ d_i there;
///              the result is the mean of w_i d_i over the d_i that have it (Yadav et al. 2023, arXiv:2306.01708)
///   dare       each number is dropped with probability 1 − density, those left are divided by density; then as linear
///              (Yu et al. 2023, arXiv:2311.03099)
///   dare_ties  dropped like dare, then signs and means like ties
///   prune      each d_i keeps its largest numbers (share `density`); then as linear
enum class merge_method { linear, ties, dare, dare_ties, prune };

inline constexpr std::string_view merge_method_names[] = {"linear", "ties", "dare", "dare_ties", "prune"};

struct merge_options {
  merge_method method = merge_method::linear;
  double density = 0.5;    ///< share of numbers that all but linear keep, (0, 1]
  std::uint64_t seed = 0;  ///< of what dare drops

  void check() const {
    if (!(density > 0 && density <= 1))
      throw error(errc::bad_argument, "density", join("expected above 0 up to 1, found ", density));
  }
};

namespace detail {

/// Sets all but the `kept` numbers of largest size to zero; of equal ones the earlier stay.
inline void keep_largest(std::vector<double>& d, std::size_t kept) {
  std::vector<std::size_t> order(d.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto larger = [&](std::size_t a, std::size_t b) {
    const double x = std::abs(d[a]), y = std::abs(d[b]);
    return x != y ? x > y : a < b;
  };
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), larger);
  for (std::size_t i = kept; i < order.size(); ++i) d[order[i]] = 0;
}

/// Drops numbers at random and divides the others by the share that stays.
inline void drop_and_rescale(std::vector<double>& d, double density, std::uint64_t key) {
  for (std::size_t i = 0; i < d.size(); ++i)
    d[i] = uniform_double(philox_word(key, 2 * i), philox_word(key, 2 * i + 1)) < density ? d[i] / density : 0;
}

}  // namespace detail

/// One change out of several, each [n]; `place` numbers the weight, so that each draws its own random numbers.
/// Throws errc::bad_argument when the sizes differ.
inline std::vector<double> merge_changes(std::vector<std::vector<double>> changes, std::span<const double> weights,
                                         const merge_options& how, std::uint64_t place) {
  how.check();
  if (changes.empty() || changes.size() != weights.size())
    throw error(errc::bad_argument, "merge", join("expected a weight for each of the ", changes.size(), " changes"));
  const std::size_t n = changes.front().size();
  for (const auto& d : changes)
    if (d.size() != n) throw error(errc::bad_argument, "merge", "changes of different sizes");
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if ((how.method == merge_method::ties || how.method == merge_method::prune) && n > 0)
      detail::keep_largest(changes[i], static_cast<std::size_t>(how.density * static_cast<double>(n)));
    if (how.method == merge_method::dare || how.method == merge_method::dare_ties)
      detail::drop_and_rescale(changes[i], how.density, derive_key(derive_key(how.seed, place), i));
  }
  std::vector<double> out(n, 0);
  const bool elect = how.method == merge_method::ties || how.method == merge_method::dare_ties;
  for (std::size_t k = 0; k < n; ++k) {
    double total = 0, sum = 0, agreeing = 0;
    for (const auto& d : changes) total += d[k];
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const double d = changes[i][k];
      const bool agrees = d != 0 && (d > 0) == (total >= 0);
      if (!elect || agrees) sum += weights[i] * d, agreeing += 1;
    }
    out[k] = elect && agreeing > 0 ? sum / agreeing : sum;
  }
  return out;
}

}  // namespace plumb::inline v0
