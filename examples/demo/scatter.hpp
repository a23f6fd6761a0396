// SPDX-License-Identifier: BSL-1.0
// A picture of named points: wins against distance. Every name stands beside its point and on no other name.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <plumb/train/chart_axis.hpp>
#include <plumb/train/report_text.hpp>

#include "screen.hpp"

namespace demo {

struct named_point {
  std::string name;
  double x = 0, y = 0;
  int family = 0;  ///< its colour
};

struct scatter_chart {
  std::string title, x_label, y_label;
  std::vector<std::string> families;
  std::vector<named_point> points{};
};

namespace detail {

struct box {
  double x, y, width, height;
  [[nodiscard]] bool meets(const box& b) const {
    return x < b.x + b.width && b.x < x + width && y < b.y + b.height && b.y < y + height;
  }
};

}  // namespace detail

/// The chart as an SVG file.
inline std::string render_scatter(const scatter_chart& chart) {
  constexpr double width = 1000, height = 680, left = 70, right = 24, top = 56, bottom = 56;
  constexpr std::array colours = {"#3567c9", "#d1601f", "#12796d", "#8a4bc2", "#a67c00", "#bd2f69"};
  double low = 1e300, high = -1e300, far = 0;
  for (const named_point& p : chart.points)
    low = std::min(low, p.y), high = std::max(high, p.y), far = std::max(far, p.x);
  const auto x_axis = plumb::make_axis(0, far, plumb::chart_scale::linear, 7);
  const auto y_axis = plumb::make_axis(low, high, plumb::chart_scale::linear, 7);
  const auto x_of = [&](double x) { return left + x_axis.place(x) * (width - left - right); };
  const auto y_of = [&](double y) { return height - bottom - y_axis.place(y) * (height - top - bottom); };
  const auto number = [](double x) { return fixed(x, 1); };
  const auto text = [&](double x, double y, std::string_view anchor, std::string_view words, std::string_view colour) {
    return plumb::join("<text x=\"", number(x), "\" y=\"", number(y), "\" text-anchor=\"", anchor, "\" fill=\"", colour,
                       "\">", plumb::escape_html(words), "</text>\n");
  };
  std::string out = plumb::join("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ", height,
                                "\" role=\"img\" style=\"background:#fff;font:13px system-ui,sans-serif\"><title>",
                                plumb::escape_html(chart.title), "</title>\n");
  for (const auto& tick : y_axis.ticks) {
    out += plumb::join("<path d=\"M", left, " ", number(y_of(tick.value)), "H", width - right,
                       "\" stroke=\"#e6e2da\"/>\n");
    out += text(left - 8, y_of(tick.value) + 4, "end", tick.label, "#6b6862");
  }
  for (const auto& tick : x_axis.ticks)
    out += text(x_of(tick.value), height - bottom + 20, "middle", tick.label, "#6b6862");
  out += text((left + width - right) / 2, height - 12, "middle", chart.x_label, "#1c1b1a");
  out += plumb::join("<text transform=\"translate(18 ", number((top + height - bottom) / 2),
                     ") rotate(-90)\" text-anchor=\"middle\" fill=\"#1c1b1a\">", chart.y_label, "</text>\n");
  double at = left;
  for (std::size_t f = 0; f < chart.families.size(); ++f) {
    out +=
        plumb::join("<circle cx=\"", number(at), "\" cy=\"24\" r=\"5\" fill=\"", colours[f % colours.size()], "\"/>");
    out += text(at + 10, 28, "start", chart.families[f], "#1c1b1a");
    at += 34 + 7.2 * static_cast<double>(width_of(chart.families[f]));
  }

  std::vector<detail::box> taken;
  for (const named_point& p : chart.points) taken.push_back({x_of(p.x) - 5, y_of(p.y) - 5, 10, 10});
  for (const named_point& p : chart.points) {
    const double x = x_of(p.x), y = y_of(p.y), w = 6.9 * static_cast<double>(width_of(p.name)) + 4;
    const auto colour = colours[static_cast<std::size_t>(p.family) % colours.size()];
    out += plumb::join("<circle cx=\"", number(x), "\" cy=\"", number(y), "\" r=\"4.5\" fill=\"", colour, "\"/>\n");
    // The nearest free place on ever wider rings around the point; a thin line leads to one that is not beside it.
    detail::box place{x + 7, y - 8, w, 15};
    bool found = false;
    for (double ring = 9; ring < 200 && !found; ring += 7)
      for (int turn = 0; turn < 24 && !found; ++turn) {
        const double angle = (turn % 2 ? 1 : -1) * (turn + 1) / 2 * 3.14159265358979 / 12;
        const double cx = x + ring * std::cos(angle), cy = y + ring * std::sin(angle);
        const detail::box b{std::cos(angle) < -0.3 ? cx - w : std::cos(angle) > 0.3 ? cx : cx - w / 2, cy - 7.5, w, 15};
        if (b.x < left || b.x + w > width - 2 || b.y < top - 12 || b.y + 15 > height - bottom) continue;
        if (std::any_of(taken.begin(), taken.end(), [&](const detail::box& other) { return b.meets(other); })) continue;
        place = b, found = true;
        if (ring > 14)
          out += plumb::join("<path d=\"M", number(x), " ", number(y), "L", number(cx), " ", number(cy), "\" stroke=\"",
                             colour, "\" stroke-width=\"0.7\" opacity=\"0.6\"/>\n");
      }
    taken.push_back(place);
    out += text(place.x + 2, place.y + 11.5, "start", p.name, colour);
  }
  return out + "</svg>\n";
}

}  // namespace demo
