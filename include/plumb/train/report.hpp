// SPDX-License-Identifier: BSL-1.0
// report.html: everything about a training run in one file that opens anywhere, offline, in light or dark, on paper.
// Bodies: report_impl.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/train/environment.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/report_sections.hpp>
#include <plumb/train/report_text.hpp>

namespace plumb::inline v0 {

/// What a report tells. Every part may be empty: what is empty is left out. All texts are plain text; they are escaped.
///
///     report r{.title = "DPO on SmolLM2", .log = read_log("out/log.jsonl")};
///     r.machine = describe_environment("cpu");
///     write_report("out/report.html", r);
struct report {
  using table = report_table;
  using sample = report_sample;
  struct highlight {
    std::string label{};
    std::string value{};
    std::string detail{};
  };
  using pairs = std::vector<std::pair<std::string, std::string>>;

  std::string title = "Training report";
  std::string subtitle{};
  std::vector<highlight> highlights{};  ///< the few numbers to see first; empty: chosen from the log
  std::vector<std::string> warnings{};
  std::vector<table> tables{};  ///< results, such as a comparison of models
  std::vector<log_entry> log{};
  std::vector<sample> samples{};
  std::string before_label = "Before training";
  std::string after_label = "After training";
  std::string score_name = "score";
  pairs configuration{};  ///< in the order given; a value may be JSON text
  environment machine{};
  std::string started{}, finished{};  ///< for instance from `utc_time()`
  double seconds = 0;                 ///< duration of the training
  double tokens = 0;                  ///< tokens trained on, for the rate
};

/// The report as one HTML document. It loads nothing: its own policy forbids every request to anywhere.
std::string render_report(const report& r);

/// Writes the report atomically; the folder must exist. Errors: `not_found` and `io` from the system.
void write_report(const std::filesystem::path& path, const report& r);

}  // namespace plumb::inline v0
