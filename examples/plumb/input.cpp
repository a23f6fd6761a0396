// SPDX-License-Identifier: BSL-1.0
// Reading rows, from files and from streams.
#include "input.hpp"

#include "output.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/io/file.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace program {

namespace {

using row_function = function_ref<void(const json::object&, const std::string&)>;

/// Lines of a pipe, a terminal or the like.
void read_stream(int file, const std::string& name, row_function row, function_ref<void()> pause) {
  std::string text;
  std::size_t number = 0, begin = 0, searched = 0;
  const auto take = [&](std::string_view line) {
    ++number;
    if (line.find_first_not_of(" \t\r\n") == std::string_view::npos) return;
    const std::string place = join(name, ":", number);
    const json::value value = json::parse(line, name, {.first_line = number});
    row(json::as_object(value, "a row", place), place);
  };
  for (;;) {
    for (std::size_t end; (end = text.find('\n', std::max(searched, begin))) != std::string::npos; begin = end + 1)
      take(std::string_view(text).substr(begin, end - begin));
    text.erase(0, begin);
    begin = 0;
    searched = text.size();
    ::pollfd ready{file, POLLIN, 0};
    if (::poll(&ready, 1, 0) == 0) pause();
    check_interruption();
    char chunk[1 << 16];
    ::ssize_t got = 0;
    do {  // a signal ends the wait
      ready.revents = 0;
      const int status = ::poll(&ready, 1, 200);
      check_interruption();
      if (status == 0) continue;
      got = ::read(file, chunk, sizeof chunk);
    } while ((got < 0 && errno == EINTR) || (ready.revents == 0));
    if (got < 0) throw plumb::detail::file_error(name, "reading", errno);
    if (got == 0) break;
    text.append(chunk, static_cast<std::size_t>(got));
  }
  take(text);
}

}  // namespace

void read_rows(const arguments& given, row_function row, function_ref<void()> pause) {
  std::string path = given.text("--in");
  if (path.empty() && ::isatty(STDIN_FILENO) == 1)
    throw error(errc::bad_argument, "--in",
                "is missing: give a file of JSON Lines, or --in - and type them, ending with Ctrl-D");
  if (path.empty()) path = "-";
  bool any = false;
  const auto each = [&](const json::object& object, const std::string& place) {
    check_interruption();
    any = true;
    row(object, place);
  };
  if (path == "-") {
    read_stream(STDIN_FILENO, "standard input", each, pause);
  } else if (existing_file(path, "--in"); !std::filesystem::is_regular_file(path)) {
    const plumb::detail::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) throw plumb::detail::file_error(path, "opening for reading", errno);
    read_stream(file.get(), path, each, pause);
  } else {
    json::for_each_row(path, [&](json::value&& value, const std::string& place) {
      each(json::as_object(value, "a row", place), place);
    });
  }
  if (!any)
    throw error(errc::bad_file, path == "-" ? "standard input" : path,
                "expected rows (one JSON object a line), found none");
  pause();
}

void check_keys(const json::object& row, std::initializer_list<std::string_view> known, const std::string& place) {
  for (const auto& member : row) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::ranges::find(known, key) == known.end())
      throw error(errc::bad_data, place,
                  unknown_name("key", key, std::span<const std::string_view>(known.begin(), known.size())));
  }
}

}  // namespace program
