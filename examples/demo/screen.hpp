// SPDX-License-Identifier: BSL-1.0
// What the demo shows in the terminal: headings, notes, a table, texts side by side. Colours only where they work.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <plumb/core/error.hpp>

namespace demo {

/// A number with so many digits behind the point.
inline std::string fixed(double value, int digits) {
  char text[400];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits).ptr};
}

/// A whole number with its digits in threes: 17,000.
inline std::string grouped(plumb::index_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

/// Columns that a UTF-8 text takes; every character of this program takes one.
inline std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// A text and blanks after it, one at least, up to `width` columns.
inline std::string filled(std::string_view text, std::size_t width) {
  return std::string(text).append(width - std::min(width - 1, width_of(text)), ' ');
}

/// A text broken at blanks into lines of at most `width` columns.
inline std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (!lines.back().empty() && width_of(lines.back()) + 1 + width_of(word) > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

/// Standard output, line by line. Colours and weights only on a terminal, and never where NO_COLOR is set.
class screen {
 public:
  screen() {
    const char* plain = std::getenv("NO_COLOR");
    styled_ = ::isatty(::fileno(stdout)) == 1 && !(plain && *plain);
  }

  void line(std::string_view text = "") const {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
    std::fflush(stdout);
  }
  void heading(std::string_view title, std::string_view about) const {
    line(plumb::join("\n", bold(title), "  ", dim(about)));
  }
  void note(std::string_view text) const {
    for (const std::string& each : wrap(text, 96)) line("  " + each);
  }

  /// Columns as wide as their widest cell; the first to the left, the others to the right. The last row stands out.
  void table(const std::vector<std::vector<std::string>>& header,
             const std::vector<std::vector<std::string>>& rows) const {
    std::vector<std::size_t> widths(rows.front().size(), 0);
    for (const auto* part : {&header, &rows})
      for (const auto& row : *part)
        for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
    const auto lay_out = [&](const std::vector<std::string>& row) {
      std::string out = " ";
      for (std::size_t c = 0; c < row.size(); ++c) {
        const std::string space(widths[c] - width_of(row[c]), ' ');
        out += c == 0 ? " " + row[c] + space : "   " + space + row[c];
      }
      return out;
    };
    std::size_t total = 2;
    for (const std::size_t w : widths) total += w + 3;
    std::string rule = "  ";
    for (std::size_t i = 5; i < total; ++i) rule += "─";
    for (const auto& row : header) line(dim(lay_out(row)));
    line(dim(rule));
    for (std::size_t r = 0; r < rows.size(); ++r)
      line(r + 1 == rows.size() ? bold(lay_out(rows[r])) : lay_out(rows[r]));
  }

  /// Two texts in two columns.
  void side_by_side(std::string_view left, std::string_view right) const {
    constexpr std::size_t width = 46;
    const auto a = wrap(left, width), b = wrap(right, width);
    for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      std::string text = "  " + (i < a.size() ? a[i] : "");
      if (i < b.size()) text = filled(text, 4 + width) + b[i];
      line(text);
    }
  }

  [[nodiscard]] std::string bold(std::string_view text) const { return styled("1", text); }
  [[nodiscard]] std::string dim(std::string_view text) const { return styled("2", text); }
  [[nodiscard]] std::string good(std::string_view text) const { return styled("32", text); }

 private:
  [[nodiscard]] std::string styled(std::string_view code, std::string_view text) const {
    return styled_ ? plumb::join("\x1b[", code, "m", text, "\x1b[0m") : std::string(text);
  }
  bool styled_ = false;
};

}  // namespace demo
