// SPDX-License-Identifier: BSL-1.0
// Tensors in safetensors files: a mapped file whose every claim was checked when it was opened.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/dtype.hpp>
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
  [[nodiscard]] const tensor_info* find(std::string_view name) const {
    const auto at =
        std::lower_bound(by_name_.begin(), by_name_.end(), name,
                         [&](std::size_t i, std::string_view wanted) { return layout_.tensors[i].name < wanted; });
    if (at == by_name_.end() || layout_.tensors[*at].name != name) return nullptr;
    return &layout_.tensors[*at];
  }

  /// The stored bytes of a tensor of this file; they may lie at any alignment.
  [[nodiscard]] std::span<const std::byte> bytes(const tensor_info& tensor) const {
    return file_.bytes().subspan(layout_.data + tensor.begin, tensor.bytes());
  }

  [[nodiscard]] const safetensors_metadata& metadata() const noexcept { return layout_.metadata; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Reads a tensor as float or double into `out`, whose size must be the tensor's number of elements.
  template <class T>
  void read(std::string_view name, std::span<T> out) const {
    const tensor_info* const tensor = find(name);
    if (tensor == nullptr) {
      throw error(errc::not_found, path_.string(), join("TensorNotFound: the file has no tensor \"", name, "\""));
    }
    if (static_cast<std::size_t>(tensor->elements) != out.size()) {
      throw error(errc::bad_argument, path_.string(),
                  join("tensor \"", name, "\" has ", tensor->elements, " numbers, expected ", out.size()));
    }
    convert(tensor->type, bytes(*tensor), out);
  }

 private:
  explicit safetensors_file(const std::filesystem::path& path)
      : path_(path), file_(path), layout_(detail::read_safetensors_layout(file_.bytes(), path.string())) {
    by_name_.resize(layout_.tensors.size());
    for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = i;
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::size_t a, std::size_t b) { return layout_.tensors[a].name < layout_.tensors[b].name; });
  }

  std::filesystem::path path_;
  mapped_file file_;
  detail::safetensors_layout layout_;
  std::vector<std::size_t> by_name_;
};

}  // namespace plumb::inline v0
