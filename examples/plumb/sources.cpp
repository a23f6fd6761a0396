// SPDX-License-Identifier: BSL-1.0
// "FILE", "FILE:SHARE", "FILE@STAGE", "FILE:SHARE@STAGE" as sources of rows.
#include "sources.hpp"

#include "arguments.hpp"
#include "rows_of_method.hpp"

#include <plumb/data/mixture_stream.hpp>

#include <algorithm>
#include <iterator>
#include <optional>

namespace program {

namespace {

struct named_source {
  data_source source;
  index_t stage = 0;  ///< from 1; 0: none was named
};

/// A file whose name holds ":" or "@" is taken by its whole name where it exists.
named_source parse_source(const std::string& text) {
  named_source out;
  std::string path = text;
  std::error_code failed;
  const auto there = [&] { return std::filesystem::exists(path, failed); };
  if (const auto at = path.rfind('@'); !there() && at != std::string::npos) {
    if (!read_number(std::string_view(path).substr(at + 1), out.stage) || out.stage < 1 || out.stage > 1000)
      throw error(errc::bad_argument, "--data",
                  join("expected FILE@STAGE, a stage from 1 to 1000, found \"", text, "\", and there is no such file"));
    path.resize(at);
  }
  if (const auto at = path.rfind(':'); !there() && at != std::string::npos) {
    if (!read_number(std::string_view(path).substr(at + 1), out.source.share) || !(out.source.share > 0))
      throw error(errc::bad_argument, "--data",
                  join("expected FILE:SHARE, a share above 0, found \"", text, "\", and there is no such file"));
    path.resize(at);
  }
  out.source.path = existing_file(path, "--data");
  return out;
}

std::vector<named_source> sources_of(const run_settings& settings) {
  std::vector<named_source> out;
  for (const std::string& text : settings.data) out.push_back(parse_source(text));
  return out;
}

/// "20000,5000": rows of each stage; the last may be left out.
std::vector<index_t> rows_of_stages(const std::string& text) {
  std::vector<index_t> out;
  if (text.empty()) return out;
  for (const std::string_view part : parts_between_commas(text)) {
    index_t rows = 0;
    if (!read_number(part, rows) || rows < 1)
      throw error(
          errc::bad_argument, "stage_rows",
          join("expected counts of rows with commas between, one per stage (20000,5000), found \"", text, "\""));
    out.push_back(rows);
  }
  return out;
}

std::vector<data_stage> stages_of(const run_settings& settings) {
  const auto sources = sources_of(settings);
  const auto rows = rows_of_stages(settings.stage_rows);
  index_t last = 1;
  for (const auto& each : sources) last = std::max(last, each.stage);
  std::vector<data_stage> out(static_cast<std::size_t>(last));
  for (const auto& each : sources) {
    if (each.stage == 0 && last > 1)
      throw error(errc::bad_argument, "--data",
                  join("\"", each.source.path.string(), "\" has no stage and another file has; write FILE@STAGE"));
    out[static_cast<std::size_t>(std::max<index_t>(each.stage, 1) - 1)].sources.push_back(each.source);
  }
  if (rows.size() > out.size())
    throw error(errc::bad_argument, "stage_rows",
                join("expected at most one number per stage, ", out.size(), ", found ", rows.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i].sources.empty())
      throw error(errc::bad_argument, "--data", join("stage ", i + 1, " of ", out.size(), " has no file"));
    if (i < rows.size()) out[i].rows = rows[i];
  }
  return out;
}

}  // namespace

bool draws_rows(const run_settings& settings) {
  const auto sources = sources_of(settings);
  const bool asked = std::any_of(sources.begin(), sources.end(),
                                 [](const named_source& s) { return s.source.share > 0 || s.stage > 0; }) ||
                     settings.mix.mix_cap > 0 || settings.mix.mix_temperature != 1 || !settings.stage_rows.empty() ||
                     settings.chosen.contains("shuffle_buffer");
  if (asked && !settings.stream && settings.chosen.contains("stream"))
    throw error(
        errc::bad_argument, "stream",
        "expected true, since shares, stages, mix_temperature, mix_cap and shuffle_buffer are for rows that are "
        "drawn from disk; leave it out");
  return asked || settings.stream;
}

std::vector<example> read_sources(const run_settings& settings, const engine& model, left_out* skipped,
                                  const read_options& how) {
  std::vector<example> out;
  for (const auto& each : sources_of(settings)) {
    std::vector<std::string> places;
    auto rows = read_examples(settings.how, each.source.path.string(), "--data", model, skipped ? &places : nullptr,
                              settings.steps, how);
    std::move(rows.begin(), rows.end(), std::back_inserter(out));
    if (!places.empty() && skipped->count == 0) skipped->first = places.front();
    if (skipped) skipped->count += places.size();
  }
  return out;
}

std::unique_ptr<example_stream> open_sources(const run_settings& settings, const engine& model, left_out& skipped,
                                             const read_options& how) {
  check_rows_of(settings.how, model);
  mixture_options mix = settings.mix;
  mix.seed = settings.fit.seed;
  auto parse = [&model, &skipped, how, m = settings.how, steps = settings.steps](
                   const json::value& row, const std::string& place) -> std::optional<example> {
    auto e = read_example(m, row, place, model, true, steps, how);
    if (!e && skipped.count++ == 0) skipped.first = place;
    return e;
  };
  return std::make_unique<mixture_stream<decltype(parse)>>(stages_of(settings), mix, std::move(parse));
}

}  // namespace program
