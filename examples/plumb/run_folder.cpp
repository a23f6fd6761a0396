// SPDX-License-Identifier: BSL-1.0
// The files of a run.
#include "run_folder.hpp"

#include <plumb/train/checkpoint.hpp>
#include <plumb/train/environment.hpp>
#include <plumb/train/model_card.hpp>
#include <plumb/train/report.hpp>

#include <algorithm>

namespace program {

namespace {

namespace fs = std::filesystem;

bool of_a_run(const std::string& name) {
  constexpr std::string_view names[] = {"adapter_config.json",
                                        "adapter_model.safetensors",
                                        "log.jsonl",
                                        "config.json",
                                        "report.html",
                                        "README.md",
                                        "model"};
  return std::ranges::find(names, name) != std::end(names) || name.starts_with("checkpoint-") ||
         name.starts_with(".unfinished-checkpoint-");
}

/// Two spellings of one path count as the same.
std::string canonical(const json::value* v) {
  if (v == nullptr || !v->is_string()) return "";
  std::error_code failed;
  const fs::path path(std::string(v->get_string().data(), v->get_string().size()));
  const fs::path found = fs::weakly_canonical(path, failed);
  return failed ? path.string() : found.string();
}

/// Throws errc::bad_argument, naming the first key, when the course of the run would be another.
void check_same_run(const fs::path& file, const json::object& now) {
  const json::value document = json::parse_file(file);
  const auto& before = json::as_object(document, "the settings", file.string());
  constexpr std::string_view free[] = {"plumb", "eval_data", "eval_every", "save_every", "log_every", "data"};
  constexpr std::string_view paths[] = {"model", "adapter"};
  for (const auto& member : now) {
    const std::string key(member.key().data(), member.key().size());
    if (std::ranges::find(free, key) != std::end(free)) continue;
    const json::value* const old = json::find(before, key);
    const bool same = std::ranges::find(paths, key) != std::end(paths)
                          ? canonical(old) == canonical(&member.value())
                          : old != nullptr && json::dump(*old) == json::dump(member.value());
    if (!same)
      throw error(errc::bad_argument, file.string(),
                  join("the run in this folder has ", key, " = ", old ? json::dump(*old) : "(nothing)", ", now it is ",
                       json::dump(member.value()), "; resume with the settings of that run, or give another --out"));
  }
}

index_t step_of(const fs::path& checkpoint) {
  const std::string name = checkpoint.filename().string();
  index_t step = -1;
  return read_number(std::string_view(name).substr(std::min(name.size(), name.find('-') + 1)), step) ? step : -1;
}

std::string last_part(const std::string& path) { return fs::path(path).lexically_normal().filename().string(); }

std::vector<std::pair<std::string, std::string>> as_pairs(const json::object& settings) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& member : settings) {
    if (member.value().is_null()) continue;
    const std::string key(member.key().data(), member.key().size());
    const bool is_path = key == "model" || key == "data" || key == "adapter" || key == "eval_data";
    if (const auto* const text =
            member.value().if_string()) {  // a path is nobody else's business but for its last part
      const std::string value(text->data(), text->size());
      out.emplace_back(key, is_path ? last_part(value) : value);
    } else if (is_path && member.value().is_array()) {
      std::string all;
      for (const auto& each : json::as<std::vector<std::string>>(member.value(), key, ""))
        all += join(all.empty() ? "" : ", ", last_part(each));
      out.emplace_back(key, all);
    } else {
      out.emplace_back(key, json::dump(member.value()));
    }
  }
  return out;
}

}  // namespace

bool prepare_folder(const fs::path& folder, const json::object& settings, const folder_rules& rules) {
  std::error_code failed;
  if (fs::exists(folder, failed) && !fs::is_directory(folder, failed))
    throw error(errc::bad_argument, "--out", join("expected a folder, found the file \"", folder.string(), "\""));
  bool run = false, other = false;
  if (fs::exists(folder, failed))
    for (const auto& entry : fs::directory_iterator(folder))
      (of_a_run(entry.path().filename().string()) ? run : other) = true;
  if (run && rules.overwrite && !rules.resume) {
    for (const auto& entry : fs::directory_iterator(folder))
      if (of_a_run(entry.path().filename().string())) fs::remove_all(entry.path());
  } else if (run && rules.resume) {
    const auto config = folder / "config.json";
    if (!fs::exists(config, failed))
      throw error(errc::bad_argument, "--out",
                  join("\"", folder.string(), "\" holds files, but no config.json of a run; give another folder"));
    check_same_run(config, settings);
    if (fs::exists(folder / "README.md", failed)) return true;
    const auto newest = newest_checkpoint(folder);
    truncate_log(folder / "log.jsonl", newest.empty() ? -1 : step_of(newest));
  } else if (run || other) {
    throw error(
        errc::bad_argument, "--out",
        join("\"", folder.string(), "\" is not empty; ",
             run ? "--resume auto goes on with the run in it, --overwrite replaces that run" : "give a new folder"));
  }
  make_folder(folder);
  return false;
}

void write_settings(const fs::path& folder, const json::object& settings) {
  write_file_atomically(folder / "config.json", [&](writer& out) { out.write(json::dump(settings, 2) + "\n"); });
}

void write_documents(const fs::path& folder, const run_settings& settings, const json::object& resolved,
                     const common_options& common, const run_summary& summary) {
  const auto pairs = as_pairs(resolved);
  const std::string name = fs::weakly_canonical(folder).filename().string();
  const std::string base = fs::path(settings.model).lexically_normal().filename().string();
  report page;
  page.title = join(name_of(settings.how), " on ",
                    base.empty() ? fs::path(settings.model).parent_path().filename().string() : base);
  page.subtitle = settings.full ? "All weights" : settings.prompt.count > 0 ? "Virtual tokens" : "LoRA adapter";
  page.log = read_log(folder / "log.jsonl");
  for (const log_entry& entry : page.log)
    for (const std::string& text : entry.warnings) page.warnings.push_back(join("Step ", entry.step, ": ", text));
  page.samples = summary.samples;
  page.configuration = pairs;
  page.machine = describe_environment(common.backend(), summary.threads);
  page.started = summary.started;
  page.finished = utc_time();
  page.seconds = summary.seconds;
  page.tokens = summary.tokens;

  model_card card;
  card.name = name;
  card.base_model = settings.model;
  card.method = settings.objective;
  card.adapter = !settings.full;
  card.low_rank = settings.prompt.count == 0;
  if (says_scores(settings.how)) card.pipeline = "text-classification";
  card.hyper_parameters = pairs;
  log_entry last;
  for (const log_entry& entry : page.log)
    for (const auto& [metric, value] : entry.values)
      if (metric.starts_with("eval_") || metric == "loss" || metric.starts_with("rewards/")) last.set(metric, value);
  card.metrics = last.values;
  card.environment = page.machine.rows();
  write_report(folder / "report.html", page);
  write_model_card((settings.full ? folder / "model" : folder) / "README.md", card);
  if (settings.full) write_model_card(folder / "README.md", card);
}

}  // namespace program
