// SPDX-License-Identifier: BSL-1.0
// Rotary position embedding: the tables of cosines and sines, made once per model.
#pragma once

#include <cmath>
#include <vector>

#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// cos and sin of position · θ^(−2i/width), i < width/2 (Su et al. 2021, eq. 15).
template <class B, class T>
struct rotary {
  tensor<B, T> cosine;  ///< [positions, head_width / 2]
  tensor<B, T> sine;    ///< [positions, head_width / 2]
  index_t head_width = 0;
  rotary_layout layout = rotary_layout::half;

  rotary(const device_ptr<B>& device, index_t positions, index_t width, double theta,
         rotary_layout pairs = rotary_layout::half)
      : head_width(width), layout(pairs) {
    const index_t half = width / 2;
    std::vector<T> c(static_cast<std::size_t>(positions * half)), s(c.size());
    for (index_t i = 0; i < half; ++i) {
      // Frequency and angle in T, so that float rounds the angle as the published models were trained.
      const T frequency = T(1) / std::pow(static_cast<T>(theta), static_cast<T>(2 * i) / static_cast<T>(width));
      for (index_t p = 0; p < positions; ++p) {
        const T angle = static_cast<T>(p) * frequency;
        c[static_cast<std::size_t>(p * half + i)] = static_cast<T>(std::cos(static_cast<double>(angle)));
        s[static_cast<std::size_t>(p * half + i)] = static_cast<T>(std::sin(static_cast<double>(angle)));
      }
    }
    cosine = tensor<B, T>(device, {positions, half}, std::span<const T>(c));
    sine = tensor<B, T>(device, {positions, half}, std::span<const T>(s));
  }

  /// x [tokens, heads · head_width] → the same, turned by each token's position.
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const {
    return p.tape.apply(
        rotation<B, T>{x, p.batch.positions, cosine.get(), sine.get(), head_width, layout, {}});  // [tokens, width]
  }
};

}  // namespace plumb::inline v0
