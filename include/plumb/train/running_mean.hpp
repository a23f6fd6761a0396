// SPDX-License-Identifier: BSL-1.0
// A mean that goes on as numbers come in.
#pragma once

#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// Sum and count: what a checkpoint needs to go on bit for bit. bco keeps that of all log-ratios that training has seen.
struct running_mean {
  double sum = 0;
  double count = 0;

  void add(double x) { sum += x, ++count; }
  /// `missing` before the first.
  [[nodiscard]] double value() const { return count > 0 ? sum / count : missing; }
};

}  // namespace plumb::inline v0
