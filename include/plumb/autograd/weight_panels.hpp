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
        note({weight.get().data, weight.get(), {}, 0, nullptr},
             static_cast<index_t>(sizeof(T)) * B::template panel_size<T>(*weight.device(), weight.extent()));
  }
  /// The codes of a packed weight.
  void add(const packed_tensor<B>& weight) {
    if constexpr (packed_products<B, T>)
      note({weight.get().codes, {}, weight.get(), 0, nullptr},
           B::template packed_panel_size<T>(*weight.device(), weight.get()));
  }
  /// A weight that holds its numbers as such or packed.
  template <class Weight>
    requires requires(const Weight& w) { w.packed; }
  void add(const Weight& weight) {
    if (weight.packed)
      add(*weight.packed);
    else
      add(weight.value);
  }
  /// Copies what was noted. For a while: each copy has memory of its own, which a program that samples again and again gets
  /// back from its own heap. `to_stay`: all copies in one piece, which the system gives in large pages, slowly.
  void make(const device_ptr<B>& device, bool to_stay = false) {
    std::sort(panels_.begin(), panels_.end(), [](const panel& a, const panel& b) { return a.weight < b.weight; });
    const auto same = [](const panel& a, const panel& b) { return a.weight == b.weight; };
    panels_.erase(std::unique(panels_.begin(), panels_.end(), same), panels_.end());  // tied weights are noted twice
    memory_.clear();
    index_t all = 0, taken = 0;
    for (const panel& p : panels_) all += p.bytes;
    if (to_stay) memory_.emplace_back(device, shape{1, all});
    for (panel& p : panels_) {
      std::uint8_t* const to = to_stay ? memory_.front().get().data + std::exchange(taken, taken + p.bytes)
                                       : memory_.emplace_back(device, shape{1, p.bytes}).get().data;
      if constexpr (panel_products<B, T>)
        if (p.plain.data) B::make_panels(*device, p.plain, reinterpret_cast<T*>(to));
      if constexpr (packed_products<B, T>)
        if (!p.plain.data) B::template make_packed_panels<T>(*device, p.packed, to);
      p.copy = to;
    }
  }
  /// Looks there, too: what others have is not noted here. To be said first; they must outlive these.
  void set_others(const weight_panels* others) noexcept { others_ = others; }
  /// The panels of this matrix, or null.
  [[nodiscard]] const std::uint8_t* find_packed(const packed_matrix& weight) const { return place_of(weight.codes); }
  /// The panels of the weight at `weight`, or null.
  [[nodiscard]] const T* find(const T* weight) const { return reinterpret_cast<const T*>(place_of(weight)); }

 private:
  static constexpr index_t line = 64;  ///< bytes; where a copy begins

  struct panel {
    const void* weight = nullptr;
    view<const T> plain;  ///< empty: it is packed
    packed_matrix packed;
    index_t bytes = 0;
    const std::uint8_t* copy = nullptr;
  };

  void note(panel p, index_t bytes) {
    if (bytes == 0 || (others_ && others_->place_of(p.weight))) return;
    p.bytes = (bytes + line - 1) / line * line;
    panels_.push_back(std::move(p));
  }
  [[nodiscard]] const std::uint8_t* place_of(const void* weight) const {
    const auto found = std::lower_bound(panels_.begin(), panels_.end(), weight,
                                        [](const panel& p, const void* at) { return p.weight < at; });
    if (found != panels_.end() && found->weight == weight) return found->copy;
    return others_ ? others_->place_of(weight) : nullptr;
  }

  std::vector<panel> panels_;  ///< in the order of `weight`, once they are made
  std::vector<tensor<B, std::uint8_t>> memory_;
  const weight_panels* others_ = nullptr;
};

}  // namespace plumb::inline v0
