// SPDX-License-Identifier: BSL-1.0
// The bodies of io/file.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>

namespace plumb::inline v0 {

namespace detail {

error file_error(const std::filesystem::path& path, std::string_view doing, int number) {
  const errc code = number == ENOENT || number == ENOTDIR ? errc::not_found : errc::io;
  return error(code, path.string(), join(doing, " failed: ", std::generic_category().message(number)));
}

int descriptor::reset() noexcept { return number_ < 0 ? 0 : ::close(std::exchange(number_, -1)); }

/// Opens a regular file for reading and returns its size; folders and devices are refused.
inline std::pair<descriptor, std::size_t> open_for_reading(const std::filesystem::path& path) {
  descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // non-blocking: a pipe must not hang us
  if (file.get() < 0) throw file_error(path, "opening for reading", errno);
  struct ::stat status{};
  if (::fstat(file.get(), &status) != 0) throw file_error(path, "reading the size", errno);
  if (!S_ISREG(status.st_mode)) {
    throw error(errc::io, path.string(),
                join("expected a file, found ", S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe"));
  }
  return {std::move(file), static_cast<std::size_t>(status.st_size)};
}

/// A temporary file beside its target; removed on destruction unless it was renamed into place.
class temporary_file {
 public:
  explicit temporary_file(const std::filesystem::path& target) : target_(target) {
    for (int attempt = 0; file_.get() < 0; ++attempt) {
      path_ = target;
      path_.replace_filename(join(".", target.filename().string(), ".", static_cast<long>(::getpid()), "-",
                                  reinterpret_cast<std::uintptr_t>(this) / 16, "-", attempt, ".tmp"));
      file_ = descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file_.get() < 0 && (errno != EEXIST || attempt == 100)) throw file_error(target, "creating", errno);
    }
  }
  temporary_file(const temporary_file&) = delete;
  ~temporary_file() {
    if (!committed_) ::unlink(path_.c_str());
  }

  [[nodiscard]] int number() const noexcept { return file_.get(); }

  void commit() {
    if (::fsync(file_.get()) != 0) throw file_error(target_, "writing to disk", errno);
    if (file_.reset() != 0) throw file_error(target_, "closing", errno);
    if (::rename(path_.c_str(), target_.c_str()) != 0) throw file_error(target_, "putting in place", errno);
    committed_ = true;
    const auto folder = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    const descriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some file systems cannot sync a folder (EINVAL); there the rename is as durable as it gets.
    if (parent.get() >= 0 && ::fsync(parent.get()) != 0 && errno != EINVAL) {
      throw file_error(target_, "writing the folder to disk", errno);
    }
  }

 private:
  std::filesystem::path target_, path_;
  descriptor file_;
  bool committed_ = false;
};

}  // namespace detail

std::string read_file(const std::filesystem::path& path) {
  auto [file, size] = detail::open_for_reading(path);
  std::string content(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ::ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw detail::file_error(path, "reading", errno);
    if (got == 0) throw error(errc::io, path.string(), "the file became shorter while it was read");
    done += static_cast<std::size_t>(got);
  }
  return content;
}

mapped_file::mapped_file(const std::filesystem::path& path) {
  auto [file, size] = detail::open_for_reading(path);
  if (size == 0) return;  // an empty range cannot be mapped, and need not be
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (at == MAP_FAILED) throw detail::file_error(path, "mapping", errno);
  data_ = static_cast<const std::byte*>(at);
  size_ = size;
}

mapped_file::~mapped_file() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void mapped_file::release(std::span<const std::byte> part) const noexcept {
  const long asked = ::sysconf(_SC_PAGESIZE);
  const auto page = static_cast<std::size_t>(asked > 0 ? asked : 4096);
  if (part.size() < 16 * page) return;  // not worth a call
  const auto begin = static_cast<std::size_t>(part.data() - data_), end = begin + part.size();
  const std::size_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

writer::writer(int number, const std::filesystem::path& path) : number_(number), path_(path) {
  buffer_.reserve(capacity);
}

void writer::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (buffer_.size() + bytes.size() > capacity) flush();
  if (bytes.size() >= capacity) {
    send(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
}

void writer::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void writer::flush() {
  send(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void writer::send(const char* data, std::size_t size) {
  while (size > 0) {
    const ::ssize_t sent = ::write(number_, data, size);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) throw detail::file_error(path_, "writing", errno);
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw error(errc::io, folder.string(), join("creating the folder failed: ", failed.message()));
}

void write_file_atomically(const std::filesystem::path& path, function_ref<void(writer&)> f) {
  if (path.filename().empty()) throw error(errc::bad_argument, path.string(), "expected the name of a file to write");
  detail::temporary_file file(path);
  {
    writer out(file.number(), path);
    f(out);
    out.flush();
  }
  file.commit();
}

}  // namespace plumb::inline v0
