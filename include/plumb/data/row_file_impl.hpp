// SPDX-License-Identifier: BSL-1.0
// The bodies of data/row_file.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/data/row_file.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Reads up to `size` bytes from `offset`; fewer at the end of the file.
std::string read_bytes(const descriptor& file, const std::filesystem::path& path, std::uint64_t offset,
                       std::size_t size) {
  std::string out(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const auto count = ::pread(file.get(), out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw file_error(path, "read", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  out.resize(done);
  return out;
}

/// Mixes bytes into a hash, eight at a time.
std::uint64_t mix_bytes(std::uint64_t hash, std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min(sizeof word, bytes.size() - i));
    hash = derive_key(hash ^ word, 0);
  }
  return hash;
}

}  // namespace detail

row_file::row_file(std::filesystem::path path) : path_(std::move(path)) {
  file_ = detail::descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file_.get() < 0) throw detail::file_error(path_, "open", errno);
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) throw detail::file_error(path_, "open", errno);
  if (!S_ISREG(status.st_mode))
    throw error(errc::io, path_.string(), "expected a regular file, whose rows can be read again; save a pipe to disk");
  bytes_ = static_cast<std::uint64_t>(status.st_size);
  fingerprint_ = derive_key(bytes_, 0);
  counting_ = true;
  load(0);
  if (window_.starts_with("\xEF\xBB\xBF")) at_.offset = 3;  // a byte order mark
  const row_place start = at_;
  skip_blanks(true);
  array_ = peek(at_.offset) == '[';
  if (array_)
    ++at_.offset;
  else
    at_ = start;
  first_ = at_;
  while (next()) ++rows_;
  counting_ = false;
  rewind();
}

/// While rows are counted the pieces come in order, each once, and all bytes go into the fingerprint.
void row_file::load(std::uint64_t offset) {
  constexpr std::size_t piece = std::size_t{256} << 10;
  if (offset >= bytes_) return;
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(piece, bytes_ - offset));
  window_ = detail::read_bytes(file_, path_, offset, size);
  window_at_ = offset;
  if (window_.size() < size)
    throw error(errc::io, path_.string(), join("the file became shorter while it was read, at byte ", offset));
  if (counting_) fingerprint_ = detail::mix_bytes(fingerprint_, window_);
}

/// The byte at `offset`, or -1 at the end.
int row_file::peek(std::uint64_t offset) {
  if (offset >= bytes_) return -1;
  if (offset < window_at_ || offset - window_at_ >= window_.size()) load(offset);
  return static_cast<unsigned char>(window_[static_cast<std::size_t>(offset - window_at_)]);
}

/// Spaces, and line ends where `lines` says so.
void row_file::skip_blanks(bool lines) {
  for (int c = peek(at_.offset); c == ' ' || c == '\t' || c == '\r' || (lines && c == '\n'); c = peek(at_.offset)) {
    if (c == '\n') ++at_.line;
    ++at_.offset;
  }
}

void row_file::fail(std::string_view expected, const row_place& where) const {
  throw error(errc::bad_file, name(where), join("expected ", expected));
}

std::optional<row_place> row_file::next() {
  auto row = array_ ? next_item() : next_line();
  if (row && row->size > largest_row)
    throw error(errc::bad_file, name(*row),
                join("expected a row of at most ", largest_row, " bytes, found one of ", row->size,
                     "; write each row on a line of its own (JSON Lines)"));
  return row;
}

std::optional<row_place> row_file::next_line() {
  skip_blanks(true);
  if (peek(at_.offset) < 0) return std::nullopt;
  row_place row = at_;
  for (;;) {  // whole pieces at once
    if (peek(at_.offset) < 0) break;
    const auto rest = std::string_view(window_).substr(static_cast<std::size_t>(at_.offset - window_at_));
    const auto end = rest.find('\n');
    at_.offset += end == std::string_view::npos ? rest.size() : end;
    if (end != std::string_view::npos) break;
  }
  row.size = at_.offset - row.offset;
  return row;
}

/// Between rows the position is that of the "," or "]" after a row. Brackets are counted and strings skipped; whether the
/// item is JSON shows when it is read.
std::optional<row_place> row_file::next_item() {
  const bool first = at_.offset == first_.offset;
  if (first) skip_blanks(true);
  if (peek(at_.offset) == ']') {
    const row_place end = at_;  // where a further call finds the same
    ++at_.offset;
    skip_blanks(true);
    if (peek(at_.offset) >= 0) fail("the end of the file after the array", at_);
    at_ = end;
    return std::nullopt;
  }
  if (!first) {
    ++at_.offset;
    skip_blanks(true);
  }
  row_place row = at_;
  std::uint64_t depth = 0;
  bool text = false;
  for (;; ++at_.offset) {
    const int c = peek(at_.offset);
    if (c < 0) fail("\",\" or \"]\" after a row of the array, found the end of the file", row);
    if (c == '\n') ++at_.line;
    if (text && c == '\\') {
      if (peek(++at_.offset) == '\n') ++at_.line;
    } else if (text) {
      text = c != '"';
    } else if (depth == 0 && (c == ',' || c == ']' || c == '}')) {
      row.size = at_.offset - row.offset;
      if (row.size == 0 || c == '}') fail("a JSON value, and \",\" or \"]\" after it", at_);
      return row;
    } else {
      text = c == '"';
      if (c == '[' || c == '{') ++depth;
      if (c == ']' || c == '}') --depth;
    }
  }
}

json::value row_file::read(const row_place& row) const {
  if (row.size > largest_row || row.offset > bytes_ || row.size > bytes_ - row.offset)
    throw error(errc::bad_file, name(row), join("the file has no row of ", row.size, " bytes at byte ", row.offset));
  const std::string text = detail::read_bytes(file_, path_, row.offset, static_cast<std::size_t>(row.size));
  if (text.size() < row.size)
    throw error(errc::io, path_.string(), join("the file became shorter while it was read, at byte ", row.offset));
  return json::parse(text, path_.string(), {.first_line = static_cast<std::size_t>(row.line)});
}

std::string row_file::name(const row_place& row) const { return join(path_.string(), ":", row.line); }

}  // namespace plumb::inline v0
