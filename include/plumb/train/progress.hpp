// SPDX-License-Identifier: BSL-1.0
// A progress line for terminals: the one part of the library that writes to the screen, and only where it is told to.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>

#include <unistd.h>

#include <plumb/core/error.hpp>
#include <plumb/train/callbacks.hpp>

namespace plumb::inline v0 {

/// A callback of `fit` that draws "step 12/200  loss 0.5312  1832 tokens/s  0:05 left". On a terminal the line is
/// rewritten; elsewhere a plain line appears every `every` steps.
class progress_bar {
 public:
  explicit progress_bar(std::FILE* out = stderr, index_t every = 10)
      : out_(out), every_(every), terminal_(::isatty(::fileno(out)) == 1) {}

  void on_step(const step_info& s) {
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

 private:
  static std::string fixed(double x, int digits) {
    char text[400];
    return {text, std::to_chars(text, text + sizeof text, x, std::chars_format::fixed, digits).ptr};
  }
  static std::string clock(double seconds) {
    const auto s = static_cast<index_t>(seconds > 0 && seconds < 1e9 ? seconds + 0.5 : 0);
    return join(s / 60, ":", s % 60 < 10 ? "0" : "", s % 60);
  }

  std::FILE* out_;
  index_t every_;
  index_t first_ = -1;  ///< steps done before the first call
  bool terminal_;
};

}  // namespace plumb::inline v0
