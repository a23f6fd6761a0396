// SPDX-License-Identifier: BSL-1.0
// Files of the operating system (POSIX): reading whole, mapping read-only, and writing so that nothing half-done remains.
// Bodies: file_impl.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/core/function_ref.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The error for a refused system call; a missing file is `not_found`, all else is `io`.
error file_error(const std::filesystem::path& path, std::string_view doing, int number);

/// Owns a file descriptor.
class descriptor {
 public:
  explicit descriptor(int number = -1) noexcept : number_(number) {}
  descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return number_; }
  /// Closes now and tells whether the system accepted it; some file systems report a full disk only here.
  int reset() noexcept;

 private:
  int number_;
};

}  // namespace detail

/// The whole content of a regular file; throws `not_found` or `io`.
std::string read_file(const std::filesystem::path& path);

/// A file seen as memory, read-only; pages are loaded when they are first touched and shared between processes.
///
/// Movable, not copyable. The file must not be shortened by another process while it is mapped.
class mapped_file {
 public:
  mapped_file() = default;
  explicit mapped_file(const std::filesystem::path& path);
  mapped_file(mapped_file&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~mapped_file();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Gives the memory of whole pages within these bytes back: they have been read, and are read again when touched. So a
  /// model that becomes numbers of its own is not in memory twice.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Makes a folder to write into, with those above it; one that is there is fine. Throws errc::io.
void make_folder(const std::filesystem::path& folder);

/// What `write_file_atomically` hands to its callback: bytes in order, a full disk is an error.
class writer {
 public:
  writer(int number, const std::filesystem::path& path);
  writer(const writer&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void flush();

 private:
  void send(const char* data, std::size_t size);

  static constexpr std::size_t capacity = 1u << 18;
  int number_;
  const std::filesystem::path& path_;
  std::string buffer_;
};

/// Writes `path` so that at every instant it is absent, the old file, or the complete new one, even after a power cut.
///
/// `f(writer&)` produces the content, into a temporary file of the same folder, which is then synced and renamed.
/// When `f` or the disk fails, the temporary is removed, an older file stays as it was, and the exception passes on.
/// A symbolic link at `path` is replaced by a file. The folder must exist.
void write_file_atomically(const std::filesystem::path& path, function_ref<void(writer&)> f);

}  // namespace plumb::inline v0
