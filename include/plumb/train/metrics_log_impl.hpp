// SPDX-License-Identifier: BSL-1.0
// The bodies of train/metrics_log.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/train/log_entry.hpp>
#include <plumb/train/metrics_log.hpp>

namespace plumb::inline v0 {

std::string to_json_line(const log_entry& entry) {
  constexpr double exact = 9007199254740992.0;  // 2^53: whole numbers up to here are the same as double and integer
  const auto number = [](double value) -> json::value {
    if (!std::isfinite(value)) return nullptr;
    if (value == std::trunc(value) && std::abs(value) <= exact && !(value == 0 && std::signbit(value)))
      return static_cast<std::int64_t>(value);
    return value;
  };
  json::object line;
  line["step"] = static_cast<std::int64_t>(entry.step);
  line["epoch"] = number(entry.epoch);
  for (const auto& [name, value] : entry.values)
    if (!line.emplace(name, number(value)).second)
      throw error(
          errc::bad_argument, "log entry",
          join("the name \"", name, "\" occurs twice (step and epoch are taken); give each value its own name"));
  if (!entry.warnings.empty()) {
    json::array texts;
    for (const std::string& text : entry.warnings) texts.emplace_back(text);
    if (!line.emplace("warnings", std::move(texts)).second)
      throw error(errc::bad_argument, "log entry", "the name \"warnings\" is taken; give the value another name");
  }
  return json::dump(json::value(std::move(line)));
}

log_entry to_log_entry(const json::value& line, const std::string& place) {
  const json::object& members = json::as_object(line, "a line of the log", place);
  const auto number = [&](const json::value& value, std::string_view name) {
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    return json::as<double>(value, join("\"", name, "\""), place);
  };
  log_entry entry;
  entry.step = json::get<index_t>(members, "step", place);
  for (const auto& member : members) {
    const std::string name(member.key().data(), member.key().size());
    if (name == "epoch") entry.epoch = number(member.value(), name);
    if (name == "warnings")
      entry.warnings = json::as<std::vector<std::string>>(member.value(), "\"warnings\"", place);
    else if (name != "epoch" && name != "step")
      entry.values.emplace_back(name, number(member.value(), name));
  }
  return entry;
}

std::vector<log_entry> read_log(const std::filesystem::path& path) {
  std::vector<log_entry> entries;
  const std::string text = read_file(path);
  detail::for_each_log_line(text, path.string(),
                            [&](log_entry entry, std::string_view) { entries.push_back(std::move(entry)); });
  return entries;
}

index_t truncate_log(const std::filesystem::path& path, index_t last_step) {
  if (!std::filesystem::exists(path)) return 0;
  const std::string text = read_file(path);
  std::string kept;
  kept.reserve(text.size());
  index_t dropped = 0;
  detail::for_each_log_line(text, path.string(), [&](const log_entry& entry, std::string_view line) {
    if (entry.step > last_step) {
      ++dropped;
    } else {
      kept.append(line).push_back('\n');
    }
  });
  if (kept != text) write_file_atomically(path, [&](writer& out) { out.write(kept); });
  return dropped;
}

}  // namespace plumb::inline v0
