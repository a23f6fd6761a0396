// SPDX-License-Identifier: BSL-1.0
// Rows of a file that is too large for memory: found one after the other, read again by their place.
// Bodies: row_file_impl.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json_fwd.hpp>

namespace plumb::inline v0 {

/// Where a row stands in its file: bytes [offset, offset + size), from line `line` on, counted from 1.
struct row_place {
  std::uint64_t offset = 0, size = 0, line = 1;
  bool operator==(const row_place&) const = default;
};

/// A JSON Lines file, or one JSON array, whose rows are found by reading through it in pieces of 256 KiB. It keeps no
/// row, so its memory does not grow with the file.
///
/// Opening reads the file once, to count its rows and to make a fingerprint of its bytes. Blank lines are no rows.
/// Throws errc::bad_file where the rows of an array do not end, and for rows of more than `largest_row` bytes, which
/// are most likely not the rows that were meant. Malformed rows are found when they are read.
class row_file {
 public:
  static constexpr std::uint64_t largest_row = std::uint64_t{256} << 20;

  explicit row_file(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  /// A number that differs when a byte of the file differs.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }

  /// The next row; nothing after the last.
  std::optional<row_place> next();
  /// Where `next` goes on: an offset and a line; size is not used.
  [[nodiscard]] const row_place& position() const noexcept { return at_; }
  /// Goes on from a position, or from the first row.
  void seek(const row_place& position) noexcept { at_ = position; }
  void rewind() noexcept { at_ = first_; }

  /// The row at that place. Throws errc::bad_file, naming file and line, when it is not JSON.
  [[nodiscard]] json::value read(const row_place& row) const;
  /// "file:line" of a row.
  [[nodiscard]] std::string name(const row_place& row) const;

 private:
  [[nodiscard]] int peek(std::uint64_t offset);
  void load(std::uint64_t offset);
  void skip_blanks(bool lines);
  [[noreturn]] void fail(std::string_view expected, const row_place& where) const;
  std::optional<row_place> next_line();
  std::optional<row_place> next_item();

  std::filesystem::path path_;
  detail::descriptor file_;
  std::uint64_t bytes_ = 0, fingerprint_ = 0;
  index_t rows_ = 0;
  bool array_ = false, counting_ = false;
  row_place first_{}, at_{};
  std::string window_;
  std::uint64_t window_at_ = 0;
};

}  // namespace plumb::inline v0
