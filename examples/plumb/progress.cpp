// SPDX-License-Identifier: BSL-1.0
// Drawing progress.
#include "progress.hpp"

#include <plumb/core/error.hpp>
#include <plumb/train/report_text.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

namespace program {

namespace {

using plumb::detail::fixed;

std::string clock(double seconds) {
  const auto s = static_cast<index_t>(seconds > 0 && seconds < 1e9 ? seconds + 0.5 : 0);
  const auto two = [](index_t x) { return join(x < 10 ? "0" : "", x); };
  return s >= 3600 ? join(s / 3600, ":", two(s / 60 % 60), ":", two(s % 60)) : join(s / 60, ":", two(s % 60));
}

/// The numbers that say most, as text: loss, then accuracy and margin of preferences, or accuracy of tokens.
/// `find(name)` gives a number, or NaN.
template <class Find>
std::string summary(Find&& find) {
  std::string out;
  const auto add = [&](std::string_view name, std::string_view label, bool share) {
    const double value = find(name);
    if (!std::isfinite(value)) return false;
    out += join(out.empty() ? "" : "  ", label, " ", share ? fixed(100 * value, 1) + " %" : fixed(value, 4));
    return true;
  };
  add("loss", "loss", false);
  if (add("rewards/accuracies", "pairs right", true))
    add("rewards/margins", "margin", false);
  else
    add("mean_token_accuracy", "tokens right", true);
  return out;
}

constexpr index_t most_lines = 20;  // where there is no terminal, evaluations aside

}  // namespace

progress::progress(bool quiet) : quiet_(quiet) {
  const auto set = [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && *value != '\0' ? std::string_view(value) : std::string_view();
  };
  terminal_ = ::isatty(STDERR_FILENO) == 1 && set("TERM") != "dumb";
  colour_ = terminal_ && set("NO_COLOR").empty();
}

progress::~progress() { erase_bar(); }

void progress::put(std::string_view text) const {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void progress::erase_bar() {
  if (drawn_) put("\r\x1b[K");
  drawn_ = false;
}

void progress::wait(std::string_view text) {
  if (quiet_ || !terminal_) return;
  erase_bar();
  put(join(text, " …"));
  drawn_ = true;
}

void progress::note(std::string_view text) {
  if (quiet_) return;
  erase_bar();
  put(join(text, "\n"));
}

void progress::log(const log_entry& entry) {
  if (entry.find("eval_loss"))
    return note(join("held out, after step ", entry.step, ":  ", summary([&](std::string_view name) {
                       return entry.find(join("eval_", name)).value_or(missing);
                     })));
  for (const auto& [name, value] : entry.values) recent_.add(name, value);
}

void progress::step(const step_info& info) {
  if (quiet_) return;
  if (!first_) {
    first_ = info;
    first_->seconds = 0;
    first_->step = info.step - 1;
  }
  bar(info);
}

void progress::bar(const step_info& s) {
  const bool last = s.step == s.steps;
  const bool due =
      terminal_ ? s.seconds - last_drawn_ >= 0.1 : s.step == first_->step + 1 || s.step * most_lines / s.steps > lines_;
  if (!last && !due) return;
  last_drawn_ = s.seconds;
  lines_ = s.step * most_lines / s.steps;
  const double done = static_cast<double>(s.step - first_->step), rest = static_cast<double>(s.steps - s.step);
  const std::string time =
      last ? join(clock(s.seconds), " in all") : join(clock(done > 0 ? s.seconds / done * rest : 0), " left");
  const std::string numbers = recent_.size() == 0 ? join("loss ", fixed(s.loss, 4))
                                                  : summary([&](std::string_view name) { return recent_.value(name); });
  const std::string rate = s.seconds > 0 ? join(static_cast<index_t>(s.tokens / s.seconds), " tokens/s  ") : "";
  ::winsize size{};
  const index_t columns = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  const auto write = [&](std::string_view middle) {
    return join("step ", s.step, "/", s.steps, "  ", numbers, "  ", middle, time);
  };
  std::string text = write(rate);
  if (terminal_ && static_cast<index_t>(text.size()) >= columns) text = write("");
  if (!terminal_) {
    recent_.clear();
    return put(text + "\n");
  }
  if (s.step % std::max<index_t>(1, s.steps / most_lines) == 0) recent_.clear();
  const auto room = columns - 1 - static_cast<index_t>(text.size());  // a line that wraps cannot be redrawn
  const index_t width = std::clamp<index_t>(room - 1, 0, 20);
  const index_t filled = s.steps > 0 ? s.step * width / s.steps : width;
  std::string line = "\r\x1b[K";
  if (colour_) line += "\x1b[36m";
  for (index_t i = 0; i < width; ++i) line += i < filled ? "━" : "╌";
  if (colour_) line += "\x1b[0m";
  if (width > 0) line += ' ';
  put(join(line, std::string_view(text).substr(0, static_cast<std::size_t>(columns - 1)), last ? "\n" : ""));
  drawn_ = !last;
}

}  // namespace program
