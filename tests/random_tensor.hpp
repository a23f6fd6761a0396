// SPDX-License-Identifier: BSL-1.0
// Random matrices for tests: the same numbers on every backend.
#pragma once

#include <cstdint>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/tensor/tensor.hpp>

namespace plumb_test {

/// Uniform numbers in [low, high); a function of key and place.
template <class B, class T>
plumb::tensor<B, T> random_tensor(const plumb::device_ptr<B>& device, plumb::shape extent, std::uint64_t key,
                                  double low = -1, double high = 1) {
  std::vector<T> values(static_cast<std::size_t>(extent.size()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(low + (high - low) * plumb::philox_word(key, i) / 4294967296.0);
  return plumb::tensor<B, T>(device, extent, std::span<const T>(values));
}

/// The largest difference between two lists, relative to the largest number of the second.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return 1e300;
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = d;  // NaN counts as far
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return worst / largest;
}

}  // namespace plumb_test
