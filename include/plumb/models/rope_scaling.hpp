// SPDX-License-Identifier: BSL-1.0
// How rotary frequencies are stretched so that a model reads further than it was first trained for.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// A rule that changes the plain frequencies f_i = θ^(−2i/width), i < width/2; L are the first training's positions.
///
///   linear   f_i / factor                                          (Chen et al. 2023, arXiv:2306.15595)
///   dynamic  θ' = θ (factor n/L − factor + 1)^(width/(width−2)) in place of θ where the longest path n exceeds L
///            (bloc97 2023, "dynamically scaled RoPE")
///   llama3   f_i where 2π/f_i < L/high, f_i / factor where 2π/f_i > L/low, between them a mean of both with weight
///            (L f_i/2π − low)/(high − low) on the first            (Llama 3.1's release)
///   yarn     a ramp over i between f_i (fast turns) and f_i / factor (slow ones); cosines and sines are also
///            multiplied by `magnitude`                             (Peng et al. 2023, arXiv:2309.00071, section 3)
///   longrope f_i / short_i, or f_i / long_i where the longest path n exceeds L; cosines and sines are also multiplied by
///            `magnitude`                                         (Ding et al. 2024, arXiv:2402.13753; Phi-3)
struct rope_scaling {
  enum class kind { none, linear, llama3, yarn, dynamic, longrope };

  kind how = kind::none;
  double factor = 1;
  double low_frequency = 1, high_frequency = 4;  ///< llama3
  double fast_turns = 32, slow_turns = 1;        ///< yarn: turns within L at which the ramp begins and ends
  bool whole_ends = true;                        ///< yarn: the ramp's ends are rounded to whole i
  double magnitude = 0;   ///< 0: for yarn 0.1 log(factor) + 1, for longrope √(1 + log(factor) / log(L))
  index_t positions = 0;  ///< L
  std::vector<double> short_factors{}, long_factors{};  ///< longrope, [width / 2]

  friend bool operator==(const rope_scaling&, const rope_scaling&) = default;
};

/// As config.json writes it.
constexpr const char* name(rope_scaling::kind k) {
  constexpr const char* words[] = {"default", "linear", "llama3", "yarn", "dynamic", "longrope"};
  return words[static_cast<int>(k)];
}

/// Frequencies [width / 2] and what cosines and sines are multiplied by.
struct rope_frequencies {
  std::vector<double> values;
  double magnitude = 1;
};

/// `longest`: n, the longest path that the model is prepared for; `dynamic` and `longrope` ask for it. One table serves all
/// paths, so that training, scoring and sampling through a cache agree to the bit.
inline rope_frequencies make_rope_frequencies(index_t width, double theta, const rope_scaling& s = {},
                                              index_t longest = 0) {
  using kind = rope_scaling::kind;
  rope_frequencies out;
  const double full = 2 * std::numbers::pi, length = static_cast<double>(s.positions),
               size = static_cast<double>(width);
  double low = 0, high = 0;
  if (s.how == kind::dynamic && longest > s.positions)
    theta *= std::pow(s.factor * static_cast<double>(longest) / length - s.factor + 1, size / (size - 2));
  if (s.how == kind::yarn) {
    const auto place = [&](double turns) { return size * std::log(length / (turns * full)) / (2 * std::log(theta)); };
    low = place(s.fast_turns), high = place(s.slow_turns);
    if (s.whole_ends) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, size - 1);
    if (low == high) high += 0.001;
    out.magnitude = s.magnitude > 0 ? s.magnitude : s.factor > 1 ? 0.1 * std::log(s.factor) + 1 : 1;
  }
  if (s.how == kind::longrope)
    out.magnitude = s.magnitude > 0 ? s.magnitude
                    : s.factor > 1  ? std::sqrt(1 + std::log(s.factor) / std::log(length))
                                    : 1;
  const auto& each = longest > s.positions ? s.long_factors : s.short_factors;
  for (index_t i = 0; i < width / 2; ++i) {
    const double plain = std::pow(theta, -2 * static_cast<double>(i) / size);
    const double slow = plain / s.factor;
    double f = plain;
    if (s.how == kind::linear) f = slow;
    if (s.how == kind::longrope) f = plain / each[static_cast<std::size_t>(i)];
    if (s.how == kind::llama3) {
      const double turns = length * plain / full;
      const double share = std::clamp((turns - s.low_frequency) / (s.high_frequency - s.low_frequency), 0.0, 1.0);
      f = share * plain + (1 - share) * slow;
    }
    if (s.how == kind::yarn) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      f = ramp * slow + (1 - ramp) * plain;
    }
    out.values.push_back(f);
  }
  return out;
}

}  // namespace plumb::inline v0
