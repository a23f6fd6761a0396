// SPDX-License-Identifier: BSL-1.0
// Copies of weights in the order in which products read them, for passes over few tokens: sampling.
#pragma once

#include <utility>
#include <vector>

#include <plumb/tensor/tensor.hpp>

namespace plumb::inline v0 {

/// Weights as panels, found by where the weight lies. They are copies: make them anew when weights have changed.
template <class B, class T>
class weight_panels {
 public:
  void add(const tensor<B, T>& weight) {
    if constexpr (panel_products<B, T>) {
      if (weight.empty() || find(weight.get().data)) return;
      tensor<B, T> copy(weight.device(), {1, B::template panel_size<T>(*weight.device(), weight.extent())});
      B::make_panels(*weight.device(), weight.get(), copy.get().data);
      panels_.emplace_back(weight.get().data, std::move(copy));
    }
  }
  /// The panels of the weight at `weight`, or null.
  [[nodiscard]] const T* find(const T* weight) const {
    for (const auto& [of, panels] : panels_)
      if (of == weight) return panels.get().data;
    return nullptr;
  }

 private:
  std::vector<std::pair<const T*, tensor<B, T>>> panels_;
};

}  // namespace plumb::inline v0
