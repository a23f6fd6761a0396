// SPDX-License-Identifier: BSL-1.0
// The bodies of train/progress.hpp: the line and its numbers. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>

#include <unistd.h>

#include <plumb/core/error.hpp>
#include <plumb/train/progress.hpp>

namespace plumb::inline v0 {

progress_bar::progress_bar(std::FILE* out, index_t every)
    : out_(out), every_(every), terminal_(::isatty(::fileno(out)) == 1) {}

void progress_bar::on_step(const step_info& s) {
  if (first_ < 0) first_ = s.step - 1;  // a resumed run begins in the middle
  const bool last = s.step == s.steps;
  if (!terminal_ && !last && s.step % every_ != 0) return;
  const double share =
      static_cast<double>(s.step - first_) / static_cast<double>(std::max<index_t>(1, s.steps - first_));
  std::string line;
  if (terminal_) {
    constexpr int width = 24;
    line = "\r\x1b[K";
    const double done = static_cast<double>(s.step) / static_cast<double>(std::max<index_t>(1, s.steps));
    for (int i = 0; i < width; ++i) line += static_cast<double>(i) < done * width ? "━" : "╌";
    line += " ";
  }
  line += join("step ", s.step, "/", s.steps, "  loss ", fixed(s.loss, 4), "  ",
               s.seconds > 0 ? static_cast<index_t>(s.tokens / s.seconds) : index_t{0}, " tokens/s  ",
               clock(last ? s.seconds : s.seconds / share - s.seconds), last ? " in all" : " left");
  if (!terminal_ || last) line += "\n";
  std::fwrite(line.data(), 1, line.size(), out_);
  std::fflush(out_);
}

std::string progress_bar::fixed(double x, int digits) {
  char text[400];
  return {text, std::to_chars(text, text + sizeof text, x, std::chars_format::fixed, digits).ptr};
}

std::string progress_bar::clock(double seconds) {
  const auto s = static_cast<index_t>(seconds > 0 && seconds < 1e9 ? seconds + 0.5 : 0);
  return join(s / 60, ":", s % 60 < 10 ? "0" : "", s % 60);
}

}  // namespace plumb::inline v0
