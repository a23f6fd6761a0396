// SPDX-License-Identifier: BSL-1.0
// The folder of a training run: made ready, checked against an earlier run, and filled with what people read.
#pragma once

#include "engine.hpp"
#include "settings.hpp"

#include <plumb/train/metrics_log.hpp>
#include <plumb/train/report_sections.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace program {

/// What the user wants done with a folder that holds something.
struct folder_rules {
  bool resume = false;     ///< --resume auto
  bool overwrite = false;  ///< --overwrite
};

/// Makes the folder ready: creates it; refuses one with other content; with `overwrite` removes an earlier run's files; with
/// `resume` checks that the earlier run had the same settings and cuts its log to the newest checkpoint.
/// True when an earlier run of the same settings is complete, so that nothing is left to do.
bool prepare_folder(const std::filesystem::path& folder, const json::object& settings, const folder_rules& rules);

/// Writes config.json, the resolved settings.
void write_settings(const std::filesystem::path& folder, const json::object& settings);

/// What the report and the card tell beside the log.
struct run_summary {
  std::string started;
  double seconds = 0, tokens = 0;
  index_t threads = 0;
  std::vector<report_sample> samples;
};

/// Writes report.html and then README.md, whose presence says that the run is complete.
void write_documents(const std::filesystem::path& folder, const run_settings& settings, const json::object& resolved,
                     const common_options& common, const run_summary& summary);

}  // namespace program
