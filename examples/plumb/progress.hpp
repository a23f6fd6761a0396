// SPDX-License-Identifier: BSL-1.0
// What a person sees of a run: a bar on a terminal, plain lines elsewhere, nothing with --quiet.
#pragma once

#include <plumb/objective/metrics.hpp>
#include <plumb/train/callbacks.hpp>

#include <optional>
#include <string_view>

namespace program {

using namespace plumb;

/// Draws on standard error. Failures to write there are ignored.
class progress {
 public:
  explicit progress(bool quiet);
  ~progress();
  progress(const progress&) = delete;

  void step(const step_info& info);
  void log(const log_entry& entry);
  /// Says what the user waits for, on a terminal, until something else is shown.
  void wait(std::string_view text);
  /// A line of its own, above the bar.
  void note(std::string_view text);

 private:
  void bar(const step_info& info);
  void put(std::string_view text) const;
  void erase_bar();

  bool quiet_ = false, terminal_ = false, colour_ = false, drawn_ = false;
  double last_drawn_ = -1;          ///< seconds
  std::optional<step_info> first_;  ///< a resumed run begins in the middle
  metric_list recent_;              ///< means since the last line
  index_t lines_ = 0;               ///< plain lines so far
};

}  // namespace program
