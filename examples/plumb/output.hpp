// SPDX-License-Identifier: BSL-1.0
// Where results and messages go: rows to standard output or a file, everything else to standard error.
#pragma once

#include "arguments.hpp"

#include <plumb/core/function_ref.hpp>
#include <plumb/io/json.hpp>

#include <string>
#include <string_view>

namespace program {

/// Standard output was closed by its reader, as by `| head`: no more work is wanted, and no message either.
struct output_closed {};
/// The user pressed Ctrl-C.
struct interruption {};

/// Has the user asked to stop? A first SIGINT or SIGTERM sets it; a second one ends the program at once.
bool stop_requested() noexcept;
/// Throws `interruption` when the user has asked to stop.
void check_interruption();
/// Takes SIGINT, SIGTERM and SIGPIPE into own hands, and makes sure that descriptors 0 to 2 are open.
void prepare_process();

/// Rows of results. They reach their reader at `flush`; every write is checked.
class output {
 public:
  explicit output(function_ref<void(std::string_view)> target) : target_(target) {}
  void line(const json::value& row) { text(json::dump(row) + "\n"); }
  void text(std::string_view chars);
  void flush();

 private:
  function_ref<void(std::string_view)> target_;
  std::string waiting_;
};

/// Calls f(output): standard output when `path` is empty or "-", or a file, which appears complete or, when f throws, not at all.
void write_output(const std::string& path, function_ref<void(output&)> f);

/// A line for the user on standard error, which begins with the program's name. Failures to write there are ignored.
void tell(const common_options& common, std::string_view message);
/// The same for lines of a longer text, without the name.
void show(const common_options& common, std::string_view line);

/// Numbers as a JSON list.
template <class Numbers>
json::array list(const Numbers& numbers) {
  json::array out;
  out.reserve(numbers.size());
  for (const auto& x : numbers) out.emplace_back(x);
  return out;
}

}  // namespace program
