// SPDX-License-Identifier: BSL-1.0
// The building blocks of report.html: tables, label-and-value lists, samples, indented JSON.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/train/report_curves.hpp>
#include <plumb/train/report_text.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

/// A table of texts: a caption, a header, and rows. A row that is too short is filled up with empty cells.
struct report_table {
  std::string caption{};
  std::vector<std::string> header{};
  std::vector<std::vector<std::string>> rows{};
};

/// A prompt with the model's reply before and after training, and what a judge thought of them.
struct report_sample {
  std::string prompt{};
  std::string before{};
  std::string after{};
  std::optional<double> score_before{};
  std::optional<double> score_after{};
};

namespace detail {

/// Lays out compact JSON for reading: a line for each member, lists of plain values on one line. The text need not be
/// valid JSON; characters are only ever separated by blanks, never changed.
inline std::string indent_json(std::string_view text) {
  std::string out;
  std::string closers;  // one character for each open bracket: ' ' for a list on one line
  const auto new_line = [&] {
    out += '\n';
    out.append(2 * static_cast<std::size_t>(std::count(closers.begin(), closers.end(), 'n')), ' ');
  };
  const auto is_flat = [&](std::size_t at) {  // a list up to 200 characters long without brackets inside
    const std::size_t end = text.find_first_of("[]{}", at + 1);
    return end != std::string_view::npos && text[end] == ']' && end - at < 200;
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      std::size_t end = at + 1;
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, text.size());
      out += text.substr(at, end - at);
      at = end - 1;
    } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      continue;
    } else if (c == '{' || c == '[') {
      out += c;
      const std::size_t next = text.find_first_not_of(" \n\t\r", at + 1);
      const bool empty = next != std::string_view::npos && (text[next] == '}' || text[next] == ']');
      closers += empty || (c == '[' && is_flat(at)) ? ' ' : 'n';
      if (closers.back() == 'n') new_line();
    } else if (c == '}' || c == ']') {
      const bool broken = !closers.empty() && closers.back() == 'n';
      if (!closers.empty()) closers.pop_back();
      if (broken) new_line();
      out += c;
    } else if (c == ',') {
      out += c;
      if (!closers.empty() && closers.back() == 'n') {
        new_line();
      } else {
        out += ' ';
      }
    } else {
      out += c;
      if (c == ':') out += ' ';
    }
  }
  return out;
}

/// True for a text that a reader compares by size: "0.81", "−3", "1,024", "62 %", "2.5×10⁻⁵", or nothing.
inline bool is_number_like(std::string_view text) {
  if (text.empty() || text == "–" || text == "—") return true;
  const std::size_t sign = text.starts_with("−") ? std::string_view("−").size() : text.find_first_not_of("+-");
  if (sign == std::string_view::npos || sign > 3 || sign >= text.size()) return text == "NaN";
  const char first = text[sign];
  if ((first < '0' || first > '9') && first != '.') return text == "NaN" || text == "nan";
  return text.find_first_not_of("0123456789.,+- %eE", sign) == std::string_view::npos || contains(text, "×10");
}

/// A table in a box that scrolls sideways by itself. Columns whose cells are all numbers are set to the right.
inline std::string render_table(const report_table& table) {
  std::size_t columns = table.header.size();
  for (const auto& row : table.rows) columns = std::max(columns, row.size());
  std::vector<bool> numeric(columns, !table.rows.empty());
  for (const auto& row : table.rows)
    for (std::size_t i = 0; i < row.size(); ++i) numeric[i] = numeric[i] && is_number_like(row[i]);
  const auto attribute = [&](std::size_t i) { return numeric[i] ? " class=\"number\"" : ""; };

  std::string out = join("<div class=\"scroll card\" tabindex=\"0\" role=\"region\" aria-label=\"",
                         escape_html(table.caption.empty() ? "table" : table.caption), "\"><table>");
  if (!table.caption.empty()) out += join("<caption>", escape_html(table.caption), "</caption>");
  if (!table.header.empty()) {
    out += "<thead><tr>";
    for (std::size_t i = 0; i < columns; ++i)
      out += join("<th scope=\"col\"", attribute(i), ">", i < table.header.size() ? escape_html(table.header[i]) : "",
                  "</th>");
    out += "</tr></thead>";
  }
  out += "<tbody>";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < columns; ++i)
      out += join("<td", attribute(i), ">", i < row.size() ? escape_html(row[i]) : "", "</td>");
    out += "</tr>";
  }
  return out + "</tbody></table></div>\n";
}

/// Labels and values under each other; a value that looks like JSON is laid out for reading.
inline std::string render_pairs(std::span<const std::pair<std::string, std::string>> pairs) {
  std::string out = "<div class=\"card scroll\"><table class=\"pairs\"><tbody>";
  for (const auto& [label, value] : pairs) {
    const bool nested = value.size() > 2 && (value.front() == '{' || value.front() == '[');
    const std::string laid_out = nested ? indent_json(value) : value;
    const bool block = nested && laid_out.find('\n') != std::string::npos;
    out += join("<tr><th scope=\"row\">", escape_html(label), "</th><td>", block ? "<pre>" : "", escape_html(laid_out),
                block ? "</pre>" : "", "</td></tr>");
  }
  return out + "</tbody></table></div>\n";
}

/// One sample: the prompt above, the two replies side by side, their scores in the corners.
inline std::string render_sample(const report_sample& sample, std::string_view before, std::string_view after,
                                 std::string_view score_name) {
  const auto reply = [&](std::string_view label, std::string_view text, std::optional<double> score,
                         std::string_view trend) {
    std::string out = join("<div class=\"reply\"><div class=\"label\"><span>", escape_html(label), "</span>");
    if (score)
      out +=
          join("<span>", escape_html(score_name), " <b class=\"", trend, "\">", human_number(*score, 3), "</b></span>");
    return out + join("</div><div class=\"text\" dir=\"auto\">", escape_html(text), "</div></div>");
  };
  std::string_view trend;
  if (sample.score_before && sample.score_after && *sample.score_after != *sample.score_before)
    trend = *sample.score_after > *sample.score_before ? "up" : "down";
  return join("<article class=\"sample card\"><div class=\"prompt\"><div class=\"label\"><span>Prompt</span></div>",
              "<div class=\"text\" dir=\"auto\">", escape_html(sample.prompt), "</div></div><div class=\"replies\">",
              reply(before, sample.before, sample.score_before, ""),
              reply(after, sample.after, sample.score_after, trend), "</div></article>\n");
}

/// First, last, lowest and highest value of each metric, and the steps where they were.
inline report_table summarise_metrics(std::span<const log_entry> log) {
  report_table table{.caption = "All metrics",
                     .header = {"metric", "first", "last", "lowest", "at step", "highest", "at step", "values"}};
  for (const std::string& name : metric_names(log)) {
    const auto points = points_of(log, name);
    const chart_point *low = nullptr, *high = nullptr;
    for (const auto& point : points) {
      if (!std::isfinite(point.y)) continue;
      if (!low || point.y < low->y) low = &point;
      if (!high || point.y > high->y) high = &point;
    }
    const auto value = [](const chart_point* point) { return point ? human_number(point->y) : std::string("–"); };
    const auto step = [](const chart_point* point) { return point ? human_number(point->x) : std::string("–"); };
    table.rows.push_back({name, human_number(points.front().y), human_number(points.back().y), value(low), step(low),
                          value(high), step(high), join(points.size())});
  }
  return table;
}

}  // namespace detail

}  // namespace plumb::inline v0
