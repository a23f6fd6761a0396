// SPDX-License-Identifier: BSL-1.0
// The bodies of train/report.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/train/environment.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/report.hpp>
#include <plumb/train/report_curves.hpp>
#include <plumb/train/report_sections.hpp>
#include <plumb/train/report_style.hpp>
#include <plumb/train/report_text.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Lets a page be built in order while its navigation collects the names of the sections.
struct report_page {
  std::string body{};
  std::string links{};

  void open(std::string_view id, std::string_view title) {
    links += join("<a href=\"#", id, "\">", title, "</a>");
    body += join("<section id=\"", id, "\"><h2>", title, "</h2>\n");
  }
  void close() { body += "</section>\n"; }
};

/// The numbers to see first, from what the log and the clock say.
std::vector<report::highlight> choose_highlights(const report& r) {
  std::vector<report::highlight> out;
  const auto metric = [&](std::string_view name, std::string_view label, bool lower_is_better, bool percent) {
    const auto points = points_of(r.log, name);
    if (points.empty()) return false;
    const auto text = [&](double value) {
      return percent && std::isfinite(value) ? join(trim_zeros(fixed(100 * value, 1)), " %") : human_number(value, 3);
    };
    std::string detail;
    if (points.size() > 1) {
      const auto* best = &points.front();
      for (const auto& point : points)
        if (std::isfinite(point.y) &&
            (!std::isfinite(best->y) || (lower_is_better ? point.y < best->y : point.y > best->y)))
          best = &point;
      if (!name.starts_with("eval_")) {
        detail = join("from ", text(points.front().y));
      } else if (best->y == points.back().y) {
        detail = join("from ", text(points.front().y), "; the best yet");
      } else {
        detail = join("best ", text(best->y), " at step ", human_number(best->x));
      }
    }
    out.push_back({std::string(label), text(points.back().y), std::move(detail)});
    return true;
  };
  metric("loss", "Training loss", true, false);
  metric("eval_loss", "Evaluation loss", true, false);
  if (!metric("eval_rewards/accuracies", "Held-out accuracy", false, true) &&
      !metric("rewards/accuracies", "Pair accuracy", false, true) &&
      !metric("eval_mean_token_accuracy", "Held-out token accuracy", false, true))
    metric("mean_token_accuracy", "Token accuracy", false, true);
  if (!metric("eval_rewards/margins", "Held-out margin", false, false))
    metric("rewards/margins", "Reward margin", false, false);
  index_t steps = 0;
  double epoch = 0;
  for (const auto& entry : r.log) {
    steps = std::max(steps, entry.step);
    if (std::isfinite(entry.epoch)) epoch = std::max(epoch, entry.epoch);
  }
  if (!r.log.empty())
    out.push_back({"Steps", human_number(static_cast<double>(steps)),
                   epoch > 0 ? join(human_number(epoch, 3), epoch == 1 ? " epoch" : " epochs") : ""});
  if (r.seconds > 0)
    out.push_back({"Training time", human_duration(r.seconds),
                   r.tokens > 0 ? join(human_number(std::round(r.tokens / r.seconds)), " tokens per second") : ""});
  return out;
}

void add_curves(report_page& page, const report& r) {
  const auto curves = group_curves(r.log);
  if (r.log.empty()) return;
  page.open("curves", "Curves");
  page.body += "<div class=\"charts\">\n";
  bool smoothed = false;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const auto& [chart, explanation] = curves[i];
    for (const auto& series : chart.series) smoothed = smoothed || (chart.smoothing > 0 && series.points.size() >= 25);
    page.body +=
        join("<figure class=\"chart card\"><figcaption><h3>", escape_html(chart.title),
             chart.scale == chart_scale::logarithmic ? " <span class=\"note\">(logarithmic)</span>" : "", "</h3><p>",
             escape_html(explanation), "</p></figcaption>", render_svg(chart, join("chart-", i + 1)), "</figure>\n");
  }
  page.body += "</div>\n";
  if (smoothed)
    page.body +=
        "<p class=\"note\">Strong lines are smoothed (a centred Gaussian over 3 % of the steps); faint lines are the "
        "raw values.</p>\n";
  page.body += join("<details><summary>All metrics in numbers</summary>", render_table(summarise_metrics(r.log)),
                    "</details>\n");
  page.close();
}

void add_samples(report_page& page, const report& r) {
  if (r.samples.empty()) return;
  constexpr std::size_t open_ones = 8;
  page.open("samples", "Samples");
  for (std::size_t i = 0; i < r.samples.size(); ++i) {
    if (i == open_ones) page.body += join("<details><summary>Show ", r.samples.size() - i, " more</summary>\n");
    page.body += render_sample(r.samples[i], r.before_label, r.after_label, r.score_name);
  }
  if (r.samples.size() > open_ones) page.body += "</details>\n";
  page.close();
}

void add_facts(report_page& page, const report& r) {
  if (!r.configuration.empty()) {
    page.open("configuration", "Configuration");
    page.body += render_pairs(r.configuration);
    page.close();
  }
  report::pairs run;
  const auto add = [&](std::string_view label, std::string text) {
    if (!text.empty()) run.emplace_back(std::string(label), std::move(text));
  };
  add("started", r.started);
  add("finished", r.finished);
  if (r.seconds > 0) add("duration", human_duration(r.seconds));
  if (r.tokens > 0) add("tokens", human_number(r.tokens));
  if (r.tokens > 0 && r.seconds > 0) add("tokens per second", human_number(std::round(r.tokens / r.seconds)));
  const auto machine = r.machine.rows();
  if (run.empty() && machine.empty()) return;
  page.open("environment", "Environment");
  page.body += "<div class=\"facts\">\n";
  if (!machine.empty()) page.body += render_pairs(machine);
  if (!run.empty()) page.body += render_pairs(run);
  page.body += "</div>\n";
  page.close();
}

}  // namespace detail

std::string render_report(const report& r) {
  detail::report_page page;
  if (!r.tables.empty()) {
    page.open("results", "Results");
    page.body += "<div class=\"tables\">\n";
    for (const auto& table : r.tables) page.body += detail::render_table(table);
    page.body += "</div>\n";
    page.close();
  }
  detail::add_curves(page, r);
  detail::add_samples(page, r);
  detail::add_facts(page, r);

  const std::string title = escape_html(r.title);
  std::string out = join(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src "
      "'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
      "<meta name=\"generator\" content=\"plumb ",
      version, "\">\n<title>", title, "</title>\n<style>", detail::report_css,
      "</style>\n</head>\n<body>\n<div class=\"page\">\n<header><div class=\"brand\">", detail::report_mark,
      "<span>plumb</span></div><h1>", title, "</h1>");
  if (!r.subtitle.empty()) out += join("<p class=\"subtitle\">", escape_html(r.subtitle), "</p>");
  if (!r.finished.empty()) out += join("<p class=\"when\">Finished ", escape_html(r.finished), "</p>");
  out += "</header>\n";
  if (!r.warnings.empty()) {
    out += "<aside class=\"warnings\" role=\"note\"><h2>Warnings</h2><ul>";
    for (const auto& warning : r.warnings) out += join("<li>", escape_html(warning), "</li>");
    out += "</ul></aside>\n";
  }
  const auto highlights = r.highlights.empty() ? detail::choose_highlights(r) : r.highlights;
  if (!highlights.empty()) {
    out += "<dl class=\"tiles\">";
    for (const auto& [label, value, detail] : highlights)
      out += join("<div class=\"tile card\"><dt>", escape_html(label), "</dt><dd class=\"value\">", escape_html(value),
                  "</dd><dd class=\"detail\">", escape_html(detail), "</dd></div>");
    out += "</dl>\n";
  }
  if (!page.links.empty()) out += join("<nav aria-label=\"Sections\">", page.links, "</nav>\n");
  out += join("<main>\n", page.body, "</main>\n<footer>Written by plumb ", version,
              ". This file is complete in itself and loads nothing.</footer>\n</div>\n<script>", detail::report_script,
              "</script>\n</body>\n</html>\n");
  return out;
}

void write_report(const std::filesystem::path& path, const report& r) {
  const std::string page = render_report(r);
  write_file_atomically(path, [&](writer& out) { out.write(page); });
}

}  // namespace plumb::inline v0
