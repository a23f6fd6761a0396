// SPDX-License-Identifier: BSL-1.0
// Rotary position embedding: the tables of cosines and sines, made once per model.
#pragma once

#include <cmath>
#include <vector>

#include <plumb/autograd/rows.hpp>
#include <plumb/nn/parts.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// cos and sin of position · θ^(−2i/turned), i < turned/2 (Su et al. 2021, eq. 15). The first `turned` numbers of each head
/// turn, the rest stays.
template <class B, class T>
struct rotary {
  tensor<B, T> cosine;  ///< [positions, turned / 2]
  tensor<B, T> sine;    ///< [positions, turned / 2]
  index_t head_width = 0;
  rotary_layout layout = rotary_layout::half;

  rotary(const device_ptr<B>& device, index_t positions, index_t width, index_t turned, double theta,
         rotary_layout pairs = rotary_layout::half)
      : head_width(width), layout(pairs) {
    std::vector<T> frequencies;
    // Frequency and angle in T, so that float rounds the angle as the published models were trained.
    for (index_t i = 0; i < turned / 2; ++i)
      frequencies.push_back(T(1) / std::pow(static_cast<T>(theta), static_cast<T>(2 * i) / static_cast<T>(turned)));
    fill(device, positions, frequencies, 1);
  }
  /// Turns by position · frequencies[i], [turned / 2]; cosines and sines are multiplied by `magnitude`.
  rotary(const device_ptr<B>& device, index_t positions, index_t width, const std::vector<double>& frequencies,
         double magnitude, rotary_layout pairs = rotary_layout::half)
      : head_width(width), layout(pairs) {
    fill(device, positions, std::vector<T>(frequencies.begin(), frequencies.end()), magnitude);
  }

  /// x [tokens, heads · head_width] → the same, turned by each token's position.
  variable<B, T> operator()(pass<B, T>& p, variable<B, T> x) const { return turned(p, x, false); }
  /// The same in x's memory where its maker needs it no more; `x` must have been made just before and is not used again.
  variable<B, T> onto(pass<B, T>& p, variable<B, T> x) const { return turned(p, x, true); }

 private:
  variable<B, T> turned(pass<B, T>& p, variable<B, T> x, bool in_place) const {
    return p.tape.apply(rotation<B, T>{
        x, p.batch.positions, cosine.get(), sine.get(), head_width, layout, {}, in_place});  // [tokens, width]
  }
  void fill(const device_ptr<B>& device, index_t positions, const std::vector<T>& frequencies, double magnitude) {
    const auto half = static_cast<index_t>(frequencies.size());
    std::vector<T> c, s;
    c.reserve(static_cast<std::size_t>(positions * half)), s.reserve(static_cast<std::size_t>(positions * half));
    for (index_t p = 0; p < positions; ++p)
      for (const T frequency : frequencies) {
        const T angle = static_cast<T>(p) * frequency;
        c.push_back(static_cast<T>(magnitude * std::cos(static_cast<double>(angle))));
        s.push_back(static_cast<T>(magnitude * std::sin(static_cast<double>(angle))));
      }
    cosine = tensor<B, T>(device, {positions, half}, std::span<const T>(c));
    sine = tensor<B, T>(device, {positions, half}, std::span<const T>(s));
  }
};

}  // namespace plumb::inline v0
