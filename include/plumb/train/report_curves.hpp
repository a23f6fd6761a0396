// SPDX-License-Identifier: BSL-1.0
// From a training log to charts: which metrics share a chart, in which order, on which scale.
#pragma once

#include <plumb/core/types.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/svg_chart.hpp>

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

/// A chart and the sentence that tells a newcomer how to read it.
struct report_curve {
  line_chart chart{};
  std::string explanation{};
};

namespace detail {

/// A metric without the prefix that tells where it was measured: "eval_loss" → "loss".
constexpr std::string_view base_metric(std::string_view name) {
  return name.starts_with("eval_") ? name.substr(5) : name;
}

struct curve_group {
  std::string_view title;
  std::string_view explanation;
  bool (*holds)(std::string_view base);
};

constexpr bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// The known groups, in the order of a report. The first that holds a metric takes it.
inline constexpr std::array<curve_group, 14> curve_groups{{
    {"Loss", "The objective itself. Training loss is a batch’s; evaluation loss is of rows that training never saw.",
     [](std::string_view m) { return m == "loss"; }},
    {"Loss terms", "Parts that the objective adds up, each before its weight.",
     [](std::string_view m) { return m.ends_with("_loss") || m.starts_with("loss/"); }},
    {"Accuracy", "Share of cases decided rightly. For pairs: the chosen reply has the strictly higher reward.",
     [](std::string_view m) { return contains(m, "accurac"); }},
    {"Reward margin", "Reward of the chosen reply minus that of the rejected one.",
     [](std::string_view m) { return m == "rewards/margins" || m == "margin" || m == "margins"; }},
    {"Rewards", "Implicit rewards: β times the log-ratio of policy to reference. Chosen should end above rejected.",
     [](std::string_view m) { return m.starts_with("rewards/") || m == "reward" || m.ends_with("_reward"); }},
    {"Log-probabilities", "Sums over a reply’s tokens, in nats. Both may fall while the gap between them grows.",
     [](std::string_view m) { return m.starts_with("logps/"); }},
    {"KL divergence", "How far the policy has moved away from the reference, in nats.",
     [](std::string_view m) { return m == "kl" || m.ends_with("/kl") || contains(m, "approxkl"); }},
    {"Entropy", "How undecided the policy is about its next token, in nats.",
     [](std::string_view m) { return contains(m, "entropy"); }},
    {"Logits", "Mean raw scores. Useful to spot a drift that probabilities hide.",
     [](std::string_view m) { return m.starts_with("logits/"); }},
    {"Gradient norm", "Euclidean length of the gradient over all trained parameters.",
     [](std::string_view m) { return m == "grad_norm"; }},
    {"Learning rate", "The step size that the schedule gave to the optimiser.",
     [](std::string_view m) { return m == "learning_rate" || m == "lr"; }},
    {"Length", "Tokens per reply.", [](std::string_view m) { return contains(m, "length"); }},
    {"Throughput", "Work done per second.", [](std::string_view m) { return m.ends_with("_per_second"); }},
    {"Memory", "Resident memory of the process.", [](std::string_view m) { return contains(m, "memory"); }},
}};

/// Counters that only ever grow tell nothing as a curve; the table of all metrics still has them.
constexpr bool is_counter(std::string_view base) {
  return base == "num_tokens" || base == "epoch" || base == "step" || base == "total_flos" || base.ends_with("runtime");
}

/// The line colour that a name suggests: the same role has the same colour in every chart.
constexpr int role_colour(std::string_view name, int otherwise) {
  if (contains(name, "chosen")) return 2;    // teal
  if (contains(name, "rejected")) return 1;  // orange
  return otherwise;
}

/// Ratio of the largest to the smallest value when all are positive, else 1.
inline double spread(const line_chart& chart) {
  double low = INFINITY, high = 0;
  for (const auto& series : chart.series)
    for (const auto& point : series.points) {
      if (!std::isfinite(point.y)) continue;
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  return low > 0 && high > 0 ? high / low : 1;
}

}  // namespace detail

/// The points of one metric in ascending step; an entry without it has none.
inline std::vector<chart_point> points_of(std::span<const log_entry> log, std::string_view name) {
  std::vector<chart_point> points;
  for (const auto& entry : log) {
    const auto value = entry.find(name);
    if (!value) continue;
    const auto step = static_cast<double>(entry.step);
    const auto after = [](double x, const chart_point& point) { return x < point.x; };
    points.insert(std::upper_bound(points.begin(), points.end(), step, after), {step, *value});  // mostly the end
  }
  return points;
}

/// Every name that occurs in a log, in the order of first use.
inline std::vector<std::string> metric_names(std::span<const log_entry> log) {
  std::vector<std::string> names;
  for (const auto& entry : log)
    for (const auto& [name, value] : entry.values)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

/// The charts of a log: the known groups in their order, then one for every other family of metrics (what comes before
/// the slash). A metric and its evaluation share a chart, the evaluation dashed. Noisy lines get a smooth one on top;
/// gradient norms and losses that span orders of magnitude a logarithmic axis.
inline std::vector<report_curve> group_curves(std::span<const log_entry> log) {
  struct slot {
    std::size_t order, first_use;
    report_curve curve;
  };
  std::vector<slot> slots;
  for (const std::string& name : metric_names(log)) {
    const std::string_view base = detail::base_metric(name);
    if (detail::is_counter(base)) continue;
    const auto group = std::find_if(detail::curve_groups.begin(), detail::curve_groups.end(),
                                    [&](const auto& g) { return g.holds(base); });
    const bool known = group != detail::curve_groups.end();
    const std::string title(known ? group->title : base.substr(0, base.find('/')));
    auto place = std::find_if(slots.begin(), slots.end(), [&](const slot& s) { return s.curve.chart.title == title; });
    if (place == slots.end()) {
      const auto order = static_cast<std::size_t>(group - detail::curve_groups.begin());
      slots.push_back({order, slots.size(), {{.title = title}, std::string(known ? group->explanation : "")}});
      place = slots.end() - 1;
    }
    auto& chart = place->curve.chart;
    const bool evaluation = base.size() != name.size();
    chart.series.push_back({.name = name,
                            .points = points_of(log, name),
                            .colour = detail::role_colour(base, static_cast<int>(chart.series.size())),
                            .dashed = evaluation});
  }
  std::sort(slots.begin(), slots.end(), [](const slot& a, const slot& b) {
    return a.order != b.order ? a.order < b.order : a.first_use < b.first_use;
  });
  std::vector<report_curve> curves;
  for (auto& [order, first_use, curve] : slots) {
    auto& chart = curve.chart;
    const double spread = detail::spread(chart);
    if (chart.title == "Accuracy") {
      chart.low = 0;
      chart.high = 1;
      const auto of_pairs = [](const auto& series) { return detail::contains(series.name, "rewards/"); };
      if (std::any_of(chart.series.begin(), chart.series.end(), of_pairs)) {
        chart.mark = 0.5;
        chart.mark_label = "chance";
      }
    }
    if (chart.title == "Learning rate" || chart.title == "KL divergence") chart.low = 0;
    if ((chart.title == "Gradient norm" && spread > 50) || (chart.title == "Loss" && spread > 500))
      chart.scale = chart_scale::logarithmic;
    if (chart.title != "Learning rate") chart.smoothing = 0.03;
    curves.push_back(std::move(curve));
  }
  return curves;
}

}  // namespace plumb::inline v0
