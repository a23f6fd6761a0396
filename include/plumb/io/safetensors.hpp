// SPDX-License-Identifier: BSL-1.0
// Tensors in safetensors files: a mapped file whose every claim was checked when it was opened.
// Bodies: safetensors_impl.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/io/file.hpp>
#include <plumb/io/safetensors_header.hpp>
#include <plumb/io/safetensors_write.hpp>

namespace plumb::inline v0 {

/// A safetensors file, open for reading. Movable; spans that it hands out live as long as it does.
///
/// The format: 8 bytes of header length, a JSON header, then the bytes of all tensors without gaps. Errors of `open` are
/// `bad_file` and begin with one stable word: HeaderTooSmall, HeaderTooLarge, InvalidHeaderLength, InvalidHeader,
/// InvalidOffset, TensorInvalidInfo, ValidationOverflow, MetadataIncompleteBuffer; an unknown dtype is `unsupported`
/// (InvalidDtype). What the header claims is checked before memory is taken for it.
class safetensors_file {
 public:
  static safetensors_file open(const std::filesystem::path& path) { return safetensors_file(path); }

  /// All tensors, in the order of their bytes.
  [[nodiscard]] std::span<const tensor_info> tensors() const noexcept { return layout_.tensors; }

  /// The tensor of this name, or null.
  [[nodiscard]] const tensor_info* find(std::string_view name) const;

  /// The stored bytes of a tensor of this file; they may lie at any alignment.
  [[nodiscard]] std::span<const std::byte> bytes(const tensor_info& tensor) const;

  [[nodiscard]] const safetensors_metadata& metadata() const noexcept { return layout_.metadata; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Reads a tensor as float or double into `out`, whose size must be the tensor's number of elements.
  void read(std::string_view name, std::span<float> out) const;
  void read(std::string_view name, std::span<double> out) const;
  /// Reads the numbers of a tensor from number `first` on; `bad_argument` where it has fewer than `out` asks for.
  void read_part(std::string_view name, index_t first, std::span<float> out) const;
  void read_part(std::string_view name, index_t first, std::span<double> out) const;

 private:
  explicit safetensors_file(const std::filesystem::path& path);
  [[nodiscard]] const tensor_info& at(std::string_view name) const;
  template <class T>
  void read_as(std::string_view name, std::span<T> out) const;
  template <class T>
  void read_part_as(std::string_view name, index_t first, std::span<T> out) const;

  std::filesystem::path path_;
  mapped_file file_;
  detail::safetensors_layout layout_;
  std::vector<std::size_t> by_name_;
};

}  // namespace plumb::inline v0
