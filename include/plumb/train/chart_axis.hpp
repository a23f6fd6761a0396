// SPDX-License-Identifier: BSL-1.0
// One axis of a chart: limits that contain the data, ticks at round numbers, and where a value lies.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/train/report_text.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// How values become lengths along an axis.
enum class chart_scale { linear, logarithmic };

/// An axis with its ticks; made by `make_axis`.
struct chart_axis {
  struct tick {
    double value = 0;
    std::string label{};
  };

  double low = 0;
  double high = 1;
  chart_scale scale = chart_scale::linear;
  std::vector<tick> ticks{};
  std::string factor{};  ///< what every label is to be multiplied with: "×10⁻⁵"; mostly empty

  /// Where a finite value lies: 0 at `low`, 1 at `high`. On a logarithmic axis the value must be positive.
  [[nodiscard]] double place(double value) const {
    if (scale == chart_scale::logarithmic) {
      return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
    }
    // Halves first: the distance between two huge values of opposite sign would overflow.
    return (value * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5);
  }
};

namespace detail {

/// Labels of a linear axis: plain, in thousands ("12k", "3M"), or with a power of ten set apart.
inline void label_ticks(chart_axis& axis, double step) {
  const double size = std::max(std::abs(axis.low), std::abs(axis.high));
  std::string_view suffix;
  double unit = 1;
  if (size >= 1e4 && size < 1e15) {
    constexpr std::array<std::string_view, 4> names = {"k", "M", "G", "T"};
    for (std::size_t i = 0; i < names.size() && size >= unit * 1e3; ++i) {
      unit *= 1e3;
      suffix = names[i];
    }
  } else if (size < 1e-2 || size >= 1e15) {
    const int exponent = static_cast<int>(std::floor(std::log10(size)));
    unit = std::pow(10.0, exponent);
    axis.factor = join("×", power_of_ten(exponent));
  }
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step / unit) - 1e-9)), 0, 12);
  for (auto& tick : axis.ticks) {
    const std::string digits = fixed(tick.value / unit, decimals);
    const bool zero = tick.value == 0;
    tick.label = zero ? "0" : with_minus(group_digits(suffix.empty() ? digits : trim_zeros(digits))).append(suffix);
  }
}

inline chart_axis make_linear_axis(double low, double high, int count) {
  chart_axis axis;
  // A flat line still needs an axis; below a millionth of the size the labels would be all digits and no message.
  const double size = std::max({std::abs(low), std::abs(high), 1e-290});
  if (high * 0.5 - low * 0.5 < size * 5e-7) {
    const double pad = size <= 1e-290 ? 1 : size * 0.25;
    low = std::max(low - pad, std::numeric_limits<double>::lowest());
    high = std::min(high + pad, std::numeric_limits<double>::max());
  }
  const double rough = std::max((high * 0.5 - low * 0.5) / count * 2, 1e-295);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double ratio = rough / power;
  const double step = power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  axis.low = std::isfinite(first * step) ? std::min(first * step, low) : low;
  axis.high = std::isfinite(last * step) ? std::max(last * step, high) : high;
  for (double i = first; i <= last; ++i) {
    const double value = i == 0 ? 0 : i * step;
    if (std::isfinite(value) && value >= axis.low && value <= axis.high) axis.ticks.push_back({value, {}});
  }
  label_ticks(axis, step);
  return axis;
}

inline chart_axis make_log_axis(double low, double high) {
  chart_axis axis;
  axis.scale = chart_scale::logarithmic;
  axis.low = low;
  axis.high = high;
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  const int every = std::max(1, (last - first + 5) / 6);  // at most about seven decades carry a label
  const bool plain = first >= -3 && last <= 5;
  for (int exponent = first; exponent <= last; ++exponent) {
    for (const int digit : {1, 2, 5}) {
      const double value = digit * std::pow(10.0, exponent);
      const bool wanted = digit == 1 ? (exponent - first) % every == 0 : last - first <= 2;
      if (!wanted || value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      const std::string power = power_of_ten(exponent);
      axis.ticks.push_back({value, plain ? human_number(value, 1) : digit == 1 ? power : join(digit, "×", power)});
    }
  }
  return axis;
}

/// The next number below (or above) a positive `value` of the form 1, 2 or 5 times a power of ten.
inline double round_to_125(double value, bool up) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  if (power == 0 || !std::isfinite(power * 10)) return value;
  const double digit = value / power;
  constexpr std::array<double, 4> steps = {1, 2, 5, 10};
  double best = up ? 10 : 1;
  for (const double step : steps) {
    if (up && step >= digit * (1 - 1e-9)) best = std::min(best, step);
    if (!up && step <= digit * (1 + 1e-9)) best = std::max(best, step);
  }
  return best * power;
}

}  // namespace detail

/// An axis that shows [low, high], both finite, with about `count` ticks. Limits move outwards to round numbers, and
/// apart when they are equal. A logarithmic axis needs 0 < low and high ≥ 4·low; otherwise a linear one is made.
inline chart_axis make_axis(double low, double high, chart_scale scale = chart_scale::linear, int count = 5) {
  if (high < low) std::swap(low, high);
  if (scale == chart_scale::logarithmic && low > 0 && high / low >= 4) {
    return detail::make_log_axis(detail::round_to_125(low, false), detail::round_to_125(high, true));
  }
  return detail::make_linear_axis(low, high, std::max(count, 1));
}

}  // namespace plumb::inline v0
