// SPDX-License-Identifier: BSL-1.0
// log.jsonl: one JSON object a line for every step that reported something; written, read back, and cut for a resume. Bodies: metrics_log_impl.hpp.
#pragma once

#include <cerrno>
#include <filesystem>
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

namespace plumb::inline v0 {

/// One entry as a line of log.jsonl, without its newline: `{"step": 3, "epoch": 0.25, "loss": 0.61}`.
/// JSON has no NaN and no infinity: both become null, and are read back as NaN. Whole numbers are written without a
/// point. Names must differ from each other and from `step` and `epoch`: `bad_argument` otherwise.
std::string to_json_line(const log_entry& entry);

/// The entry that a parsed line of log.jsonl holds; `place` is for errors (`bad_file`).
log_entry to_log_entry(const json::value& line, const std::string& place);

namespace detail {

/// Calls `f(entry, line)` for each line; returns how many bytes of `text` are whole lines. A last line that lacks its
/// newline and is no JSON is what a killed process leaves behind: it is not an error and does not count as whole.
template <class F>
std::size_t for_each_log_line(std::string_view text, const std::string& file, F&& f) {
  std::size_t at = 0;
  for (std::size_t number = 1; at < text.size(); ++number) {
    const std::size_t end = text.find('\n', at);
    const std::string_view line = text.substr(at, end == std::string_view::npos ? end : end - at);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      json::value value;
      try {
        value = json::parse(line, file, {.first_line = number});
      } catch (const error&) {
        if (end == std::string_view::npos) return at;
        throw;
      }
      f(to_log_entry(value, join(file, ":", number)), line);
    }
    at = end == std::string_view::npos ? text.size() : end + 1;
  }
  return at;
}

}  // namespace detail

/// Every entry of a log, in the order written. A torn last line (see `jsonl_log`) is left out; any other line that is not
/// an object with a whole `step` and numbers is `bad_file` at `file:line`; a missing file is `not_found`.
std::vector<log_entry> read_log(const std::filesystem::path& path);

/// Drops every entry after `last_step`, so that a run resumed from the checkpoint of that step logs each step once.
/// The lines that stay keep their bytes; the file is replaced atomically, and only when something is dropped.
/// Returns the number of dropped entries; a file that does not exist has none.
index_t truncate_log(const std::filesystem::path& path, index_t last_step);

/// Appends entries to a log.jsonl. Each entry reaches the operating system as one write before `append` returns, so
/// another program can follow the file, and a crash of this one loses nothing; a power cut or a kill in the middle of a
/// write can tear the last line, which the next `jsonl_log` of that path mends and `read_log` leaves out.
class jsonl_log {
 public:
  /// Opens or creates the file; what it holds stays (`truncate_log` first to resume). The folder must exist.
  explicit jsonl_log(std::filesystem::path path) : path_(std::move(path)) {
    mend();
    file_ = detail::descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (file_.get() < 0) throw detail::file_error(path_, "opening for appending", errno);
  }

  void append(const log_entry& entry) {
    const std::string line = to_json_line(entry) + '\n';
    for (std::string_view rest = line; !rest.empty();) {
      const auto sent = ::write(file_.get(), rest.data(), rest.size());
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) throw detail::file_error(path_, "writing", errno);
      rest.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  /// Makes the file end with a whole line, since appending to half a line would spoil both.
  void mend() const {
    if (!std::filesystem::exists(path_)) return;
    std::string text = read_file(path_);
    if (text.empty() || text.back() == '\n') return;
    text.resize(detail::for_each_log_line(text, path_.string(), [](const log_entry&, std::string_view) {}));
    if (!text.empty() && text.back() != '\n') text += '\n';
    write_file_atomically(path_, [&](writer& out) { out.write(text); });
  }

  std::filesystem::path path_;
  detail::descriptor file_;
};

}  // namespace plumb::inline v0
