// SPDX-License-Identifier: BSL-1.0
// Where a run happened: compiler, processor, memory and system, for reports and model cards.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/train/report_text.hpp>
#include <plumb/version.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

namespace plumb::inline v0 {

/// Where and with what a program runs. Everything is a fact about the process or its machine; what cannot be found out
/// stays empty or zero. It holds no user name, no host name and no path, so that a report can be shown to anybody.
struct environment {
  std::string plumb_version{};  ///< of the headers this program was compiled with
  std::string backend{};        ///< as the caller names it: "cpu", "cuda", "reference"
  std::string compiler{};       ///< name and version
  std::string standard{};       ///< "C++20"
  std::string build{};          ///< optimised or not, assertions of the host on or off, sanitizer
  std::string instructions{};   ///< vector instructions that the compiler was allowed to use
  std::string system{};         ///< operating system and release
  std::string processor{};      ///< model name
  index_t cores = 0;            ///< hardware threads that the system offers
  index_t threads = 0;          ///< threads that plumb used; 0 when the caller did not say
  double memory = 0;            ///< physical memory in bytes

  /// The non-empty facts as label and text, in the order of a report.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> rows() const {
    std::vector<std::pair<std::string, std::string>> out;
    const auto add = [&](std::string_view label, std::string text) {
      if (!text.empty()) out.emplace_back(std::string(label), std::move(text));
    };
    add("plumb", plumb_version);
    add("backend", backend);
    add("processor", processor);
    if (cores > 0) add("hardware threads", join(cores));
    if (threads > 0) add("threads used", join(threads));
    if (memory > 0) add("memory", human_bytes(memory));
    add("system", system);
    add("compiler", compiler);
    add("standard", standard);
    add("build", build);
    add("instructions", instructions);
    return out;
  }
};

namespace detail {

/// The beginning (up to 256 KiB) of one of the system's small text files; empty when it cannot be read.
inline std::string read_system_text(const char* path) {
  struct close_file {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, close_file> file(std::fopen(path, "rb"));
  if (!file) return {};
  std::string text(std::size_t{256} << 10, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  return text;
}

/// The text after `key` and one of ':' or '=' on the first line that begins with `key`; blanks and quotes are trimmed.
inline std::string value_of_line(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : text.size());
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    const std::size_t mark = line.find_first_not_of(" \t");
    if (mark == std::string_view::npos || (line[mark] != ':' && line[mark] != '=')) continue;
    line.remove_prefix(mark + 1);
    constexpr std::string_view blank = " \t\r\"";
    const std::size_t begin = line.find_first_not_of(blank);
    if (begin == std::string_view::npos) return {};
    return std::string(line.substr(begin, line.find_last_not_of(blank) - begin + 1));
  }
  return {};
}

/// A line of /proc/self/status or /proc/meminfo in bytes ("VmHWM:   1234 kB" → 1263616); 0 when it is not there.
inline double kilobytes_of_line(std::string_view text, std::string_view key) {
  const std::string value = value_of_line(text, key);
  double kilobytes = 0;
  std::from_chars(value.data(), value.data() + value.size(), kilobytes);
  return kilobytes * 1024;
}

inline std::string describe_compiler() {
#if defined(__clang__)
  return join("clang ", __clang_major__, ".", __clang_minor__, ".", __clang_patchlevel__);
#elif defined(__GNUC__)
  return join("g++ ", __GNUC__, ".", __GNUC_MINOR__, ".", __GNUC_PATCHLEVEL__);
#elif defined(_MSC_VER)
  return join("MSVC ", _MSC_VER);
#else
  return "unknown";
#endif
}

inline std::string describe_build() {
  std::string out =
#if defined(__OPTIMIZE__)
      "optimised";
#else
      "not optimised";
#endif
#if defined(NDEBUG)
  out += ", NDEBUG";
#endif
#if defined(__FAST_MATH__)
  out += ", fast math";
#endif
#if defined(__SANITIZE_ADDRESS__)
  out += ", address sanitizer";
#endif
  return out;
}

inline std::string describe_instructions() {
  std::string out;
  const auto add = [&](std::string_view name) { out += out.empty() ? "" : " ", out += name; };
#if defined(__AVX512F__)
  add("AVX-512");
#endif
#if defined(__AVX512BF16__)
  add("AVX-512-BF16");
#endif
#if defined(__AVX2__)
  add("AVX2");
#endif
#if defined(__FMA__)
  add("FMA");
#endif
#if defined(__SSE4_2__)
  add("SSE4.2");
#elif defined(__SSE2__)
  add("SSE2");
#endif
#if defined(__ARM_NEON)
  add("NEON");
#endif
  if (out.empty()) add("baseline");
  return out;
}

}  // namespace detail

/// Describes the running program and its machine. `backend` and `threads` are what the caller trains with.
inline environment describe_environment(std::string_view backend, index_t threads = 0) {
  environment out;
  out.plumb_version = version;
  out.backend = backend;
  out.compiler = detail::describe_compiler();
#if defined(_MSVC_LANG)
  out.standard = join("C++", (_MSVC_LANG / 100) % 100);
#else
  out.standard = join("C++", (__cplusplus / 100) % 100);
#endif
  out.build = detail::describe_build();
  out.instructions = detail::describe_instructions();
  out.system = detail::value_of_line(detail::read_system_text("/etc/os-release"), "PRETTY_NAME");
  const std::string release = detail::read_system_text("/proc/sys/kernel/osrelease");
  if (!release.empty())
    out.system += join(out.system.empty() ? "Linux " : ", Linux ", release.substr(0, release.find('\n')));
  out.processor = detail::value_of_line(detail::read_system_text("/proc/cpuinfo"), "model name");
  out.cores = static_cast<index_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  out.threads = threads;
  out.memory = detail::kilobytes_of_line(detail::read_system_text("/proc/meminfo"), "MemTotal");
  return out;
}

/// The most resident memory this process ever had, in bytes; 0 where the system does not tell.
inline index_t peak_memory_bytes() {
  return static_cast<index_t>(detail::kilobytes_of_line(detail::read_system_text("/proc/self/status"), "VmHWM"));
}

/// The resident memory of this process now, in bytes; 0 where the system does not tell.
inline index_t current_memory_bytes() {
  return static_cast<index_t>(detail::kilobytes_of_line(detail::read_system_text("/proc/self/status"), "VmRSS"));
}

/// A moment, in seconds since 1970, as "2026-01-31 17:05:09 UTC". Reads no time zone and no locale.
inline std::string utc_time(std::int64_t seconds = static_cast<std::int64_t>(std::time(nullptr))) {
  const std::int64_t second = (seconds % 86400 + 86400) % 86400;
  // Days are counted from 1 March of the year 0, so that a leap day is the last of its year and 400 years are a cycle.
  const std::int64_t days = (seconds - second) / 86400 + 719468;
  const std::int64_t cycle = (days >= 0 ? days : days - 146096) / 146097;
  const std::int64_t in_cycle = days - cycle * 146097;
  const std::int64_t year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
  const std::int64_t in_year = in_cycle - (365 * year + year / 4 - year / 100);
  const std::int64_t month = (5 * in_year + 2) / 153;  // 0 is March
  const std::int64_t day = in_year - (153 * month + 2) / 5 + 1;
  const auto two = [](std::int64_t number) { return number < 10 ? join("0", number) : join(number); };
  return join(year + cycle * 400 + (month >= 10 ? 1 : 0), "-", two(month < 10 ? month + 3 : month - 9), "-", two(day),
              " ", two(second / 3600), ":", two(second % 3600 / 60), ":", two(second % 60), " UTC");
}

}  // namespace plumb::inline v0
