// SPDX-License-Identifier: BSL-1.0
// Writing results, and the process around it: signals and closed streams.
#include "output.hpp"

#include <plumb/io/file.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

namespace program {

namespace {

volatile std::sig_atomic_t stop = 0;

extern "C" void on_signal(int) {
  if (stop) ::_exit(130);
  stop = 1;
}

void write_all(int file, std::string_view chars) {
  while (!chars.empty()) {
    const auto sent = ::write(file, chars.data(), chars.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EPIPE) throw output_closed();
    if (sent < 0) throw plumb::detail::file_error("standard output", "writing", errno);
    chars.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace

bool stop_requested() noexcept { return stop != 0; }

void check_interruption() {
  if (stop_requested()) throw interruption();
}

void prepare_process() {
  for (int file = 0; file < 3; ++file)  // otherwise a file opened later would become standard output
    if (::fcntl(file, F_GETFD) < 0) ::open("/dev/null", file == 0 ? O_WRONLY : O_RDONLY);
  struct ::sigaction action{};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
}

void output::text(std::string_view chars) {
  waiting_ += chars;
  if (waiting_.size() > (std::size_t{1} << 16)) flush();
}

void output::flush() {
  target_(waiting_);
  waiting_.clear();
}

void write_output(const std::string& path, function_ref<void(output&)> f) {
  if (path.empty() || path == "-") {
    const auto target = [](std::string_view chars) { write_all(STDOUT_FILENO, chars); };
    output out(target);
    f(out);
    out.flush();
    return;
  }
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed))
    throw error(errc::bad_argument, "--out", join("expected a file, found the folder \"", path, "\""));
  if (const auto folder = std::filesystem::path(path).parent_path();
      !folder.empty() && !std::filesystem::is_directory(folder, failed))
    throw error(errc::not_found, "--out", join("there is no folder \"", folder.string(), "\" to write into"));
  if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed)) {  // a pipe or a device
    const plumb::detail::descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0) throw plumb::detail::file_error(path, "opening for writing", errno);
    const auto target = [&](std::string_view chars) { write_all(file.get(), chars); };
    output out(target);
    f(out);
    out.flush();
    return;
  }
  write_file_atomically(path, [&](writer& file) {
    const auto target = [&](std::string_view chars) { file.write(chars); };
    output out(target);
    f(out);
    out.flush();
  });
}

void tell(const common_options& common, std::string_view message) { show(common, join("plumb: ", message)); }

void show(const common_options& common, std::string_view line) {
  if (common.quiet) return;
  const std::string text = join(line, "\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace program
