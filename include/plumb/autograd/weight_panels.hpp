// SPDX-License-Identifier: BSL-1.0
// Copies of weights in the order in which products read them, for passes over few tokens: sampling.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <plumb/tensor/packed_tensor.hpp>

namespace plumb::inline v0 {

/// Weights as panels, found by where the weight lies. They are copies: make them anew when weights have changed.
template <class B, class T>
class weight_panels {
 public:
  /// Notes a weight for `make`.
  void add(const tensor<B, T>& weight) {
    if constexpr (panel_products<B, T>)
      if (!weight.empty())
        note({weight.get().data, weight.get(), {}, 0, {}},
             static_cast<index_t>(sizeof(T)) * B::template panel_size<T>(*weight.device(), weight.extent()));
  }
  /// The codes of a packed weight.
  void add(const packed_tensor<B>& weight) {
    if constexpr (packed_products<B, T>)
      note({weight.get().codes, {}, weight.get(), 0, {}},
           B::template packed_panel_size<T>(*weight.device(), weight.get()));
  }
  /// Copies what was noted. Each copy has memory of its own, which a program that samples again and again gets back from
  /// its own heap; one large piece would go to the system and come back page by page.
  void make(const device_ptr<B>& device) {
    std::sort(panels_.begin(), panels_.end(), [](const panel& a, const panel& b) { return a.weight < b.weight; });
    const auto same = [](const panel& a, const panel& b) { return a.weight == b.weight; };
    panels_.erase(std::unique(panels_.begin(), panels_.end(), same), panels_.end());  // tied weights are noted twice
    for (panel& p : panels_) {
      p.copy = tensor<B, std::uint8_t>(device, {1, p.bytes});
      std::uint8_t* const to = p.copy.get().data;
      if constexpr (panel_products<B, T>)
        if (p.plain.data) B::make_panels(*device, p.plain, reinterpret_cast<T*>(to));
      if constexpr (packed_products<B, T>)
        if (!p.plain.data) B::template make_packed_panels<T>(*device, p.packed, to);
    }
  }
  /// The panels of this matrix, or null.
  [[nodiscard]] const std::uint8_t* find_packed(const packed_matrix& weight) const { return place_of(weight.codes); }
  /// The panels of the weight at `weight`, or null.
  [[nodiscard]] const T* find(const T* weight) const { return reinterpret_cast<const T*>(place_of(weight)); }

 private:
  struct panel {
    const void* weight = nullptr;
    view<const T> plain;  ///< empty: it is packed
    packed_matrix packed;
    index_t bytes = 0;
    tensor<B, std::uint8_t> copy;
  };

  void note(panel p, index_t bytes) {
    if (bytes == 0) return;
    p.bytes = bytes;
    panels_.push_back(std::move(p));
  }
  [[nodiscard]] const std::uint8_t* place_of(const void* weight) const {
    const auto found = std::lower_bound(panels_.begin(), panels_.end(), weight,
                                        [](const panel& p, const void* at) { return p.weight < at; });
    return found == panels_.end() || found->weight != weight ? nullptr : found->copy.get().data;
  }

  std::vector<panel> panels_;  ///< in the order of `weight`, once they are made
};

}  // namespace plumb::inline v0
