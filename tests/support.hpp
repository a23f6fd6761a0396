// SPDX-License-Identifier: BSL-1.0
// What tests share: where the repository and the optional data beside it are, and folders that clean up after
// themselves.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace plumb_test {

/// The root of the repository that the tests were built from; main.cpp alone knows it, so that no other object differs
/// between two checkouts, and a compiler cache can serve both.
std::filesystem::path repository();

/// Models and data sets that are too large for the repository: `../shared/data`, or nothing when it is not there.
///
///     const auto data = plumb_test::shared_data();
///     if (!data) SKIP("no ../shared/data beside the repository");
inline std::optional<std::filesystem::path> shared_data() {
  for (const char* place : {"../shared/data", "shared/data"}) {
    std::error_code failed;
    const auto found = std::filesystem::weakly_canonical(repository() / place, failed);
    if (!failed && std::filesystem::is_directory(found, failed)) return found;
  }
  return std::nullopt;
}

/// One entry of the shared data, or nothing when it is not there: `shared_data("stories260k/hf")`.
inline std::optional<std::filesystem::path> shared_data(std::string_view name) {
  const auto root = shared_data();
  if (!root) return std::nullopt;
  const auto found = *root / name;
  std::error_code failed;
  if (!std::filesystem::exists(found, failed)) return std::nullopt;
  return found;
}

/// An empty folder with a fresh name that disappears, with all it holds, at the end of the test.
class temporary_folder {
 public:
  temporary_folder() {
    std::random_device random;
    for (int attempt = 0; attempt < 100; ++attempt) {
      const auto candidate = std::filesystem::temp_directory_path() /
                             ("plumb-test-" + std::to_string(random()) + "-" + std::to_string(random()));
      if (std::filesystem::create_directory(candidate)) {
        path_ = candidate;
        return;
      }
    }
    throw std::runtime_error("cannot create a temporary folder");
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A whole file as bytes; throws when it cannot be read.
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Writes a whole file, replacing what was there; throws when it cannot.
inline void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace plumb_test
