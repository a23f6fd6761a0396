// SPDX-License-Identifier: BSL-1.0
// A progress line for terminals: the one part of the library that writes to the screen, and only where it is told to.
#pragma once

#include <cstdio>
#include <string>

#include <plumb/train/callbacks.hpp>

namespace plumb::inline v0 {

/// A callback of `fit` that draws "step 12/200  loss 0.5312  1832 tokens/s  0:05 left". On a terminal the line is
/// rewritten; elsewhere a plain line appears every `every` steps.
class progress_bar {
 public:
  explicit progress_bar(std::FILE* out = stderr, index_t every = 10);

  void on_step(const step_info& s);

 private:
  static std::string fixed(double x, int digits);
  static std::string clock(double seconds);

  std::FILE* out_;
  index_t every_;
  index_t first_ = -1;  ///< steps done before the first call
  bool terminal_;
};

}  // namespace plumb::inline v0
