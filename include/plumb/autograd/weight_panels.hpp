// SPDX-License-Identifier: BSL-1.0
// Copies of weights in the order in which products read them, for passes over few tokens: sampling.
#pragma once

#include <utility>
#include <vector>

#include <plumb/tensor/packed_tensor.hpp>

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
  /// The codes of a packed weight, in the order of products.
  void add(const packed_tensor<B>& weight) {
    if constexpr (packed_products<B, T>) {
      const index_t bytes = B::template packed_panel_size<T>(*weight.device(), weight.get());
      if (bytes == 0 || find_packed(weight.get())) return;
      tensor<B, std::uint8_t> copy(weight.device(), {1, bytes});
      B::template make_packed_panels<T>(*weight.device(), weight.get(), copy.get().data);
      packed_.emplace_back(weight.get().codes, std::move(copy));
    }
  }
  /// The panels of this matrix, or null.
  [[nodiscard]] const std::uint8_t* find_packed(const packed_matrix& weight) const {
    for (const auto& [of, panels] : packed_)
      if (of == weight.codes) return panels.get().data;
    return nullptr;
  }
  /// The panels of the weight at `weight`, or null.
  [[nodiscard]] const T* find(const T* weight) const {
    for (const auto& [of, panels] : panels_)
      if (of == weight) return panels.get().data;
    return nullptr;
  }

 private:
  std::vector<std::pair<const T*, tensor<B, T>>> panels_;
  std::vector<std::pair<const std::uint8_t*, tensor<B, std::uint8_t>>> packed_;
};

}  // namespace plumb::inline v0
