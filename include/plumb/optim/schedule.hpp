// SPDX-License-Identifier: BSL-1.0
// How the learning rate moves over a run.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// A factor in [0, 1] for each optimiser step: linear warm-up from 0, then constant, a line or half a cosine down to 0.
struct schedule {
  enum class kind { constant, linear, cosine };

  kind shape = kind::linear;
  index_t warmup = 0;  ///< steps of warm-up
  index_t total = 1;   ///< steps of the run

  /// step counts from 0; the values are those of transformers' schedules of the same names.
  [[nodiscard]] double factor(index_t step) const noexcept {
    if (step < warmup) return static_cast<double>(step) / static_cast<double>(std::max<index_t>(1, warmup));
    const double done = static_cast<double>(step - warmup) / static_cast<double>(std::max<index_t>(1, total - warmup));
    switch (shape) {
      case kind::constant: return 1;
      case kind::linear: return std::max(0.0, 1 - done);
      case kind::cosine: return std::max(0.0, 0.5 * (1 + std::cos(3.14159265358979323846 * done)));
    }
    return 1;
  }
};

/// "constant", "linear" or "cosine". Throws errc::bad_argument for another name.
inline schedule::kind schedule_from_name(std::string_view name) {
  if (name == "constant") return schedule::kind::constant;
  if (name == "linear") return schedule::kind::linear;
  if (name == "cosine") return schedule::kind::cosine;
  throw error(errc::bad_argument, "schedule", join("expected constant, linear or cosine, found \"", name, "\""));
}
constexpr std::string_view name(schedule::kind shape) noexcept {
  return shape == schedule::kind::constant ? "constant" : shape == schedule::kind::linear ? "linear" : "cosine";
}

}  // namespace plumb::inline v0
