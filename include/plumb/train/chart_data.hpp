// SPDX-License-Identifier: BSL-1.0
// The data behind a chart: thinning a long series without losing its spikes, and smoothing it for the eye.
#pragma once

#include <plumb/core/types.hpp>
#include <plumb/train/chart_axis.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// A point of a chart. A y that is not finite is a gap in the line, and is marked at the foot of the chart.
struct chart_point {
  double x = 0;
  double y = 0;
};

/// One line of a chart: its name in the legend and its points in ascending x.
struct chart_series {
  std::string name{};
  std::vector<chart_point> points{};
  int colour = -1;      ///< one of the palette's eight (0 to 7); −1: by the order of the series
  bool dashed = false;  ///< for lines that accompany another one, such as an evaluation
};

namespace detail {

/// At most `limit` points that look the same when drawn: of each run of neighbours the lowest, the highest, and the first
/// that is not finite stay, in their order. A series that is short enough is returned as it is.
inline std::vector<chart_point> thin_out(std::span<const chart_point> points, std::size_t limit = 600) {
  if (points.size() <= limit || limit < 3) return {points.begin(), points.end()};
  const std::size_t runs = limit / 3;
  std::vector<chart_point> out;
  for (std::size_t run = 0; run < runs; ++run) {
    const std::size_t begin = points.size() * run / runs, end = points.size() * (run + 1) / runs;
    const std::size_t none = points.size();
    std::size_t low = none, high = none, broken = none;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(points[i].y)) {
        if (broken == none) broken = i;
        continue;
      }
      if (low == none || points[i].y < points[low].y) low = i;
      if (high == none || points[i].y > points[high].y) high = i;
    }
    std::size_t kept[] = {low, high, broken};
    std::sort(std::begin(kept), std::end(kept));
    for (std::size_t i = 0; i < 3; ++i)
      if (kept[i] != none && (i == 0 || kept[i] != kept[i - 1])) out.push_back(points[kept[i]]);
  }
  return out;
}

/// Means over runs of neighbours, at most `limit` of them; a run without a finite value stays as a gap.
inline std::vector<chart_point> run_means(std::span<const chart_point> points, std::size_t limit) {
  const std::size_t runs = std::min(points.size(), limit);
  std::vector<chart_point> out(runs);
  for (std::size_t run = 0; run < runs; ++run) {
    const std::size_t begin = points.size() * run / runs, end = points.size() * (run + 1) / runs;
    std::size_t count = 0;
    double x = 0, y = 0;  // running means, which cannot overflow
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(points[i].y)) continue;
      const double weight = 1 / static_cast<double>(++count);
      x += points[i].x * weight - x * weight;
      y += points[i].y * weight - y * weight;
    }
    out[run] = count > 0 ? chart_point{x, y} : chart_point{points[begin].x, std::numeric_limits<double>::quiet_NaN()};
  }
  return out;
}

/// Each point becomes the mean of its neighbourhood with Gaussian weights, y'ᵢ = Σⱼ wᵢⱼ yⱼ / Σⱼ wᵢⱼ,
/// wᵢⱼ = exp(−(i−j)² / 2σ²), σ = `width` · n points. Centred, so it does not lag behind as an exponential mean does;
/// gaps stay gaps and weigh nothing. At the two ends only the inner neighbours are left. For a logarithmic axis the
/// means are geometric, so that one spike does not become a hill.
inline std::vector<chart_point> smooth(std::span<const chart_point> points, double width,
                                       chart_scale scale = chart_scale::linear) {
  const bool geometric = scale == chart_scale::logarithmic;
  std::vector<chart_point> values(points.begin(), points.end());
  if (geometric)
    for (auto& point : values) point.y = std::log(point.y);  // not finite where y is not positive: a gap
  const std::vector<chart_point> rough = run_means(values, 400);
  std::vector<chart_point> out = rough;
  const auto n = static_cast<index_t>(rough.size());
  const double sigma = width * static_cast<double>(n);
  const auto reach = sigma > 0 ? static_cast<index_t>(std::min(std::ceil(3 * sigma), static_cast<double>(n))) : 0;
  for (index_t i = 0; i < n; ++i) {
    auto& point = out[static_cast<std::size_t>(i)];
    if (!std::isfinite(point.y)) continue;
    double total = 1, mean = point.y;
    for (index_t j = std::max<index_t>(0, i - reach); j <= std::min(n - 1, i + reach); ++j) {
      const double y = rough[static_cast<std::size_t>(j)].y;
      if (j == i || !std::isfinite(y)) continue;
      const double distance = static_cast<double>(i - j) / sigma;
      const double weight = std::exp(-0.5 * distance * distance);
      total += weight;
      mean += y * (weight / total) - mean * (weight / total);
    }
    point.y = geometric ? std::exp(mean) : mean;
  }
  return out;
}

}  // namespace detail

}  // namespace plumb::inline v0
