// SPDX-License-Identifier: BSL-1.0
// Copies of weights in the order in which products read them, for passes over few tokens: sampling.
#pragma once

#include <concepts>
#include <utility>
#include <vector>

#include <plumb/tensor/packed_tensor.hpp>

namespace plumb::inline v0 {

/// Does the backend's product gain from a weight whose numbers lie in its own order? Then it has three more primitives:
/// `panel_size(d, shape)` numbers hold a weight [out, in], `make_panels(d, weight, to)` writes them, and
/// `multiply_panels(d, alpha, a, panels, beta, c)` is multiply(nt, …) with the weight read from there, to the same bits.
template <class B, class T>
concept panel_products =
    requires(typename B::device& d, shape extent, view<const T> a, const T* panels, T* to, view<T> c) {
      { B::template panel_size<T>(d, extent) } -> std::same_as<index_t>;
      B::make_panels(d, a, to);
      B::multiply_panels(d, T(1), a, panels, T(0), c);
    };

/// Does the backend add two products in one trip, `multiply_sum(d, kind, {a, b, panels}, {a, b, panels}, beta, c)`?
template <class B, class T>
concept summed_products = requires(typename B::device& d, view<const T> a, view<T> c) {
  B::template multiply_sum<T>(d, product::nt, {a, a, nullptr}, {a, a, nullptr}, T(0), c);
};

/// Does the backend multiply with packed weights as they are? `multiply_packed(d, kind, alpha, a, b, panels, beta, c)` is
/// multiply(d, kind, …) for kind nt or nn with the numbers of b, to the same bits. `panels` is null, or for nt what
/// `make_packed_panels(d, b, to)` wrote: the codes in the order of products, `packed_panel_size(d, b)` bytes (0: it has no
/// kernel for this format). Where a backend lacks these three, a weight becomes plain numbers in the step's memory for the
/// time of one product: right everywhere, and no more than one weight at a time.
template <class B, class T>
concept packed_products = requires(typename B::device& d, view<const T> a, const packed_matrix& b, std::uint8_t* to,
                                   const std::uint8_t* panels, view<T> c) {
  { B::template packed_panel_size<T>(d, b) } -> std::same_as<index_t>;
  B::template make_packed_panels<T>(d, b, to);
  B::multiply_packed(d, product::nt, T(1), a, b, panels, T(0), c);
};

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
