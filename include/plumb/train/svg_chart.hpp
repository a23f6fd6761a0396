// SPDX-License-Identifier: BSL-1.0
// Line charts as self-contained SVG: no script and no style sheet needed, legible to screen readers too.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/train/chart_axis.hpp>
#include <plumb/train/chart_data.hpp>
#include <plumb/train/report_text.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// A chart of one or several lines over a common x axis.
///
///     line_chart chart{.title = "Loss"};
///     chart.series.push_back({.name = "loss", .points = {{1, 0.69}, {2, 0.61}}});
///     std::string svg = render_svg(chart, "loss");
struct line_chart {
  std::string title{};
  std::string x_label = "step";
  std::vector<chart_series> series{};
  chart_scale scale = chart_scale::linear;  ///< of y; a logarithmic one leaves out values that are not positive
  double smoothing = 0;         ///< width of the smooth line over the raw one, as a part of the points; 0: none
  std::optional<double> low{};  ///< y limits that must be shown even where no data reach them
  std::optional<double> high{};
  std::optional<double> mark{};  ///< a horizontal line to compare with, such as 0.5 for an accuracy
  std::string mark_label{};
  std::string background{};  ///< a CSS colour, for a file of its own; empty: what lies behind the chart
};

namespace detail {

/// The eight colours of the lines, apart also for the colour-blind; a page overrides them with --chart-1 … --chart-8.
inline std::string chart_colour(std::size_t index) {
  constexpr std::array<std::string_view, 8> fallback = {"#3567c9", "#d1601f", "#12796d", "#8a4bc2",
                                                        "#a67c00", "#bd2f69", "#566879", "#4a8530"};
  return join("var(--chart-", index % 8 + 1, ",", fallback[index % 8], ")");
}

/// A coordinate: hundredths of a pixel are more than enough.
inline std::string pixel(double value) { return trim_zeros(fixed(value, 2)); }

/// Draws one chart; the members are what its parts share.
class chart_painter {
 public:
  chart_painter(const line_chart& chart, std::string_view id) : chart_(chart), id_(escape_html(id)) {}

  std::string paint() {
    measure();
    const bool any = drawn_ > 0;
    out_ = join("<svg class=\"plumb-chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ",
                pixel(bottom_ + 42), "\" role=\"img\" aria-labelledby=\"", id_, "-title ", id_, "-desc\" data-frame=\"",
                left, " ", pixel(top_), " ", width - left - right, " ", pixel(bottom_ - top_), "\" data-x=\"", x_.low,
                " ", x_.high, "\" data-y=\"", y_.low, " ", y_.high, "\" data-log=\"",
                y_.scale == chart_scale::logarithmic ? 1 : 0, "\" style=\"",
                chart_.background.empty() ? "" : join("background:", escape_html(chart_.background), ";"),
                "font:13px ui-sans-serif,system-ui,-apple-system,'Segoe UI',sans-serif\">");
    out_ += join("<title id=\"", id_, "-title\">", escape_html(chart_.title), "</title><desc id=\"", id_, "-desc\">",
                 escape_html(describe()), "</desc>");
    paint_legend();
    paint_grid(any);
    if (any) {
      for (std::size_t i = 0; i < chart_.series.size(); ++i) paint_series(i);
    } else {
      out_ += join("<text x=\"", (left + width - right) / 2, "\" y=\"", pixel((top_ + bottom_) / 2),
                   "\" text-anchor=\"middle\" style=\"fill:var(--muted,#6b6862)\">", describe_nothing(), "</text>");
    }
    return std::move(out_ += "</svg>\n");
  }

 private:
  static constexpr int width = 600, left = 62, right = 16;

  [[nodiscard]] bool shown(const chart_point& point) const {
    return std::isfinite(point.x) && std::isfinite(point.y) &&
           (chart_.scale != chart_scale::logarithmic || point.y > 0);
  }
  [[nodiscard]] double x_of(double value) const { return left + x_.place(value) * (width - left - right); }
  [[nodiscard]] double y_of(double value) const { return bottom_ - y_.place(value) * (bottom_ - top_); }
  [[nodiscard]] std::size_t colour(std::size_t i) const {
    return chart_.series[i].colour >= 0 ? static_cast<std::size_t>(chart_.series[i].colour) : i;
  }

  void measure() {
    double x_low = 0, x_high = 0, y_low = 0, y_high = 0;
    drawn_ = 0;
    const auto include_y = [&](double y) {
      y_low = drawn_ == 0 ? y : std::min(y_low, y);
      y_high = drawn_ == 0 ? y : std::max(y_high, y);
    };
    for (const auto& series : chart_.series)
      for (const auto& point : series.points) {
        if (!shown(point)) continue;
        include_y(point.y);
        x_low = drawn_ == 0 ? point.x : std::min(x_low, point.x);
        x_high = drawn_ == 0 ? point.x : std::max(x_high, point.x);
        ++drawn_;
      }
    for (const auto& limit : {chart_.low, chart_.high, chart_.mark})
      if (limit && drawn_ > 0 && shown({0, *limit})) include_y(*limit);
    y_ = make_axis(y_low, drawn_ > 0 ? y_high : 1, chart_.scale, 5);
    x_ = make_axis(x_low, drawn_ > 0 ? x_high : 1, chart_scale::linear, 6);
    if (x_low < x_high) {  // lines reach both edges; round numbers matter for the ticks only
      x_.low = x_low;
      x_.high = x_high;
      std::erase_if(x_.ticks, [&](const auto& tick) { return tick.value < x_low || tick.value > x_high; });
    }
    top_ = 16 + 22.0 * static_cast<double>(legend_rows().size()) + (y_.factor.empty() ? 0 : 16);
    bottom_ = top_ + 230;
  }

  [[nodiscard]] static const chart_point* last_of(const chart_series& series) {
    for (std::size_t i = series.points.size(); i-- > 0;)
      if (std::isfinite(series.points[i].y)) return &series.points[i];
    return nullptr;
  }

  /// The number of characters, which is what the width of a text is guessed from.
  [[nodiscard]] static double letters(std::string_view text) {
    return static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }

  struct legend_item {
    std::size_t series = 0;
    double x = 0;
  };
  /// Entries of the legend in rows that fit the width; a letter is taken to be 7.2 pixels wide, which is generous.
  [[nodiscard]] std::vector<std::vector<legend_item>> legend_rows() const {
    std::vector<std::vector<legend_item>> rows;
    double x = 1e9;
    for (std::size_t i = 0; i < chart_.series.size(); ++i) {
      const auto* last = last_of(chart_.series[i]);
      const double count = letters(chart_.series[i].name) + (last ? letters(human_number(last->y, 3)) + 1 : 0);
      const double needed = 24 + count * 7.2 + 14;
      if (x + needed > width) {
        rows.emplace_back();
        x = 10;
      }
      rows.back().push_back({i, x});
      x += needed;
    }
    return rows;
  }

  void paint_legend() {
    double y = 20;
    for (const auto& row : legend_rows()) {
      for (const auto& item : row) {
        const auto& series = chart_.series[item.series];
        const auto* last = last_of(series);
        out_ += join("<line x1=\"", pixel(item.x), "\" x2=\"", pixel(item.x + 16), "\" y1=\"", pixel(y - 4.5),
                     "\" y2=\"", pixel(y - 4.5), "\" style=\"stroke:", chart_colour(colour(item.series)),
                     ";stroke-width:3;stroke-linecap:round", series.dashed ? ";stroke-dasharray:5 5" : "", "\"/>");
        out_ += join("<text x=\"", pixel(item.x + 23), "\" y=\"", pixel(y), "\" style=\"fill:var(--ink,#1c1b1a)\">",
                     escape_html(series.name));
        if (last)
          out_ += join("<tspan class=\"value\" dx=\"6\" style=\"fill:var(--muted,#6b6862)\">", human_number(last->y, 3),
                       "</tspan>");
        out_ += "</text>";
      }
      y += 22;
    }
  }

  void paint_grid(bool any) {
    const auto line = [&](double x1, double y1, double x2, double y2, std::string_view style) {
      out_ += join("<line x1=\"", pixel(x1), "\" y1=\"", pixel(y1), "\" x2=\"", pixel(x2), "\" y2=\"", pixel(y2),
                   "\" style=\"", style, "\"/>");
    };
    const auto text = [&](double x, double y, std::string_view anchor, std::string_view content) {
      out_ += join("<text x=\"", pixel(x), "\" y=\"", pixel(y), "\" text-anchor=\"", anchor,
                   "\" style=\"fill:var(--muted,#6b6862);font-size:.92em;font-variant-numeric:tabular-nums\">", content,
                   "</text>");
    };
    const bool crosses_zero = y_.scale == chart_scale::linear && y_.low < 0 && y_.high > 0;
    if (any) {
      for (const auto& tick : y_.ticks) {
        const bool strong = crosses_zero && tick.value == 0;
        line(left, y_of(tick.value), width - right, y_of(tick.value),
             strong ? "stroke:var(--muted,#6b6862);stroke-width:1;opacity:.6"
                    : "stroke:var(--line,#e6e2da);stroke-width:1");
        text(left - 9, y_of(tick.value) + 4, "end", tick.label);
      }
      for (const auto& tick : x_.ticks) {
        line(x_of(tick.value), bottom_, x_of(tick.value), bottom_ + 5, "stroke:var(--muted,#6b6862);stroke-width:1");
        text(x_of(tick.value), bottom_ + 20, "middle", tick.label);
      }
      if (!y_.factor.empty()) text(left - 9, top_ - 10, "middle", y_.factor);
    }
    line(left, bottom_, width - right, bottom_, "stroke:var(--muted,#6b6862);stroke-width:1");
    text((left + width - right) / 2.0, bottom_ + 38, "middle",
         join(escape_html(chart_.x_label), x_.factor.empty() ? "" : " ", x_.factor));
    if (any && chart_.mark && shown({0, *chart_.mark})) {
      const double y = y_of(*chart_.mark);
      line(left, y, width - right, y, "stroke:var(--muted,#6b6862);stroke-width:1;stroke-dasharray:2 4");
      text(width - right - 2, y - 5, "end", escape_html(chart_.mark_label));
    }
  }

  void paint_series(std::size_t i) {
    const auto& series = chart_.series[i];
    const std::vector<chart_point> points = thin_out(series.points);
    const bool smooth_it = chart_.smoothing > 0 && points.size() >= 25;
    std::string xs, ys;
    for (const auto& point : points) {
      if (!shown(point)) continue;
      xs += join(xs.empty() ? "" : " ", point.x);
      ys += join(ys.empty() ? "" : " ", point.y);
    }
    out_ += join("<g class=\"series\" data-name=\"", escape_html(series.name), "\" data-x=\"", xs, "\" data-y=\"", ys,
                 "\" style=\"--series:", chart_colour(colour(i)), ";stroke:var(--series);fill:none\">");
    const std::string_view dash = series.dashed ? ";stroke-dasharray:6 5" : "";
    constexpr std::string_view round = "stroke-linejoin:round;stroke-linecap:round;stroke-width:";
    paint_line(points, join(round, smooth_it ? "1;opacity:.32" : "2", smooth_it ? "" : dash), points.size() <= 40);
    if (smooth_it) paint_line(smooth(series.points, chart_.smoothing, chart_.scale), join(round, "2.4", dash), false);
    for (const auto& point : points) {  // a cross at the foot: here the value was NaN or infinite
      if (!std::isfinite(point.x) || std::isfinite(point.y) || point.x < x_.low || point.x > x_.high) continue;
      const double x = x_of(point.x);
      out_ += join("<path d=\"M", pixel(x - 4), " ", pixel(bottom_ - 9),
                   "l8 8m0-8l-8 8\" style=\"stroke:var(--alarm,#b3261e);stroke-width:2\"/>");
    }
    out_ += "</g>";
  }

  /// A polyline that breaks at gaps. With `dots` each point gets a circle; a point without neighbours always does.
  void paint_line(std::span<const chart_point> points, std::string_view style, bool dots) {
    std::string path, circles;
    bool open = false;
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (!shown(points[i])) {
        open = false;
        continue;
      }
      const std::string x = pixel(x_of(points[i].x)), y = pixel(y_of(points[i].y));
      const bool alone = !open && (i + 1 == points.size() || !shown(points[i + 1]));
      if (dots || alone)
        circles += join("<circle cx=\"", x, "\" cy=\"", y, "\" r=\"", alone ? "4" : "2.6",
                        "\" style=\"fill:var(--series);stroke:none\"/>");
      if (!alone) path += join(open ? "L" : "M", x, " ", y);
      open = true;
    }
    if (!path.empty()) out_ += join("<path d=\"", path, "\" style=\"", style, "\"/>");
    out_ += circles;
  }

  [[nodiscard]] std::string_view describe_nothing() const {
    const auto filled = [](const chart_series& series) { return !series.points.empty(); };
    if (std::none_of(chart_.series.begin(), chart_.series.end(), filled)) return "no values";
    return chart_.scale == chart_scale::logarithmic ? "no finite positive values" : "no finite values";
  }

  /// The chart in words, for those who cannot see it.
  [[nodiscard]] std::string describe() const {
    std::string text;
    for (const auto& series : chart_.series) {
      const chart_point *first = nullptr, *last = nullptr, *low = nullptr, *high = nullptr;
      index_t broken = 0;
      for (const auto& point : series.points) {
        if (!std::isfinite(point.y)) ++broken;
        if (!shown(point)) continue;
        if (!first) first = low = high = &point;
        last = &point;
        if (point.y < low->y) low = &point;
        if (point.y > high->y) high = &point;
      }
      text += join(text.empty() ? "" : " ", series.name, ": ");
      if (!first) {
        text += "no values";
      } else {
        text += join(human_number(first->y), " at ", chart_.x_label, " ", human_number(first->x), ", ",
                     human_number(last->y), " at ", human_number(last->x), "; lowest ", human_number(low->y), " at ",
                     human_number(low->x), ", highest ", human_number(high->y), " at ", human_number(high->x));
      }
      if (broken > 0) text += join("; ", broken, broken == 1 ? " value is" : " values are", " not finite");
      text += ".";
    }
    return text.empty() ? "No values." : text;
  }

  const line_chart& chart_;
  std::string id_;
  std::string out_{};
  chart_axis x_{}, y_{};
  double top_ = 0, bottom_ = 0;
  std::size_t drawn_ = 0;
};

}  // namespace detail

/// The chart as one `<svg>` element, for a page or (alone) a file. `id` must be unique in its page. Colours come from the
/// custom properties --ink, --muted, --line, --alarm and --chart-1 … --chart-8 of the page, with light fallbacks.
inline std::string render_svg(const line_chart& chart, std::string_view id) {
  return detail::chart_painter(chart, id).paint();
}

}  // namespace plumb::inline v0
