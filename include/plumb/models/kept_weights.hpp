// SPDX-License-Identifier: BSL-1.0
// A second copy of a model's weights that stays, in the order in which making replies reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <plumb/autograd/weight_panels.hpp>
#include <plumb/nn/parts.hpp>

namespace plumb::inline v0 {

/// Weights as panels, and how often each had been made trainable when it was copied.
template <class B, class T>
class kept_weights {
 public:
  /// Notes a weight for `make`; one that is being trained changes, and is left out.
  void add(const weight_ptr<B, T>& weight) {
    if (weight->trainable()) return;
    panels_.add(*weight);
    copied_.push_back({weight, weight->times_trained});
  }
  void make(const device_ptr<B>& device) { panels_.make(device, true); }

  /// Do all copies hold their weights' numbers as they are now?
  [[nodiscard]] bool up_to_date() const {
    return std::all_of(copied_.begin(), copied_.end(), [](const copied& c) {
      return !c.weight->trainable() && c.weight->times_trained == c.times_trained;
    });
  }
  [[nodiscard]] const weight_panels<B, T>& panels() const noexcept { return panels_; }

 private:
  struct copied {
    weight_ptr<B, T> weight;
    std::uint64_t times_trained;
  };
  weight_panels<B, T> panels_;
  std::vector<copied> copied_;
};

}  // namespace plumb::inline v0
