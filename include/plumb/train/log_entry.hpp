// SPDX-License-Identifier: BSL-1.0
// What training reports at one step: the value that callbacks receive, logs store and reports draw.
#pragma once

#include <plumb/core/types.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// The numbers that one optimiser step (or one evaluation after it) reported, in the order they were added.
/// Names follow TRL: `loss`, `grad_norm`, `learning_rate`, `num_tokens`, `rewards/chosen`, `rewards/rejected`,
/// `rewards/accuracies`, `rewards/margins`, `logps/chosen`, `entropy`, …; evaluation adds the prefix `eval_`.
struct log_entry {
  index_t step = 0;  ///< optimiser steps done so far
  double epoch = 0;  ///< passes over the data done so far, with its fraction
  std::vector<std::pair<std::string, double>> values{};
  std::vector<std::string> warnings{};  ///< what train/health.hpp found wrong, in words

  /// The value of that name, or nothing.
  [[nodiscard]] std::optional<double> find(std::string_view name) const {
    for (const auto& [key, value] : values)
      if (key == name) return value;
    return std::nullopt;
  }

  /// Sets the value of that name; a new name goes to the end.
  void set(std::string_view name, double value) {
    for (auto& [key, old] : values)
      if (key == name) {
        old = value;
        return;
      }
    values.emplace_back(std::string(name), value);
  }
};

}  // namespace plumb::inline v0
