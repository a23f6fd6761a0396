// SPDX-License-Identifier: BSL-1.0
// The weights of a model folder: one safetensors file or several with an index, behind one set of names.
// Bodies: weights_impl.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/safetensors.hpp>

namespace plumb::inline v0 {

/// All stored tensors of a model or adapter, by name. Movable, not copyable; the files stay mapped.
class weight_files {
 public:
  /// Opens a `.safetensors` file, an index (`….safetensors.index.json`), or a folder that holds `<stem>.safetensors` or
  /// `<stem>.safetensors.index.json`; for PEFT adapters the stem is "adapter_model".
  ///
  /// Errors: `not_found` when there is nothing to open or a shard is missing; `unsupported` for pickle files;
  /// `bad_file` for a malformed file or index, or an index that lists a tensor which its shard does not have.
  static weight_files open(const std::filesystem::path& folder_or_file, std::string_view stem = "model");

  [[nodiscard]] bool contains(std::string_view name) const { return where_.find(name) != where_.end(); }

  /// Sizes of a tensor, outermost first; `not_found` when there is none of this name.
  [[nodiscard]] const std::vector<index_t>& shape(std::string_view name) const { return info(name).shape; }

  /// Format, shape and size of a tensor; `not_found` when there is none of this name.
  [[nodiscard]] const tensor_info& info(std::string_view name) const { return *at(name).info; }

  /// The stored bytes of a tensor, at any alignment; valid as long as this object lives.
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const;

  /// Reads a tensor as float or double into `out`, whose size must be the tensor's number of elements.
  void read(std::string_view name, std::span<float> out) const { files_[at(name).file].read(name, out); }
  void read(std::string_view name, std::span<double> out) const { files_[at(name).file].read(name, out); }

  /// Reads the numbers of a tensor from number `first` on; `bad_argument` where it has fewer than `out` asks for.
  void read_part(std::string_view name, index_t first, std::span<float> out) const {
    files_[at(name).file].read_part(name, first, out);
  }
  void read_part(std::string_view name, index_t first, std::span<double> out) const {
    files_[at(name).file].read_part(name, first, out);
  }

  /// All names, sorted.
  [[nodiscard]] std::vector<std::string> names() const;

  /// Bytes of all tensors together.
  [[nodiscard]] std::size_t total_bytes() const;

  /// The files that hold the tensors.
  [[nodiscard]] std::span<const safetensors_file> files() const noexcept { return files_; }

 private:
  struct entry {
    std::size_t file;
    const tensor_info* info;  // inside files_[file]; stays put when that object is moved
  };

  [[nodiscard]] const entry& at(std::string_view name) const;

  void add_all(const std::filesystem::path& path);
  void open_index(const std::filesystem::path& path);

  std::vector<safetensors_file> files_;
  std::map<std::string, entry, std::less<>> where_;
};

}  // namespace plumb::inline v0
