// SPDX-License-Identifier: BSL-1.0
// The bodies of io/safetensors.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/io/dtype.hpp>
#include <plumb/io/safetensors.hpp>

namespace plumb::inline v0 {

safetensors_file::safetensors_file(const std::filesystem::path& path)
    : path_(path), file_(path), layout_(detail::read_safetensors_layout(file_.bytes(), path.string())) {
  by_name_.resize(layout_.tensors.size());
  for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = i;
  std::sort(by_name_.begin(), by_name_.end(),
            [&](std::size_t a, std::size_t b) { return layout_.tensors[a].name < layout_.tensors[b].name; });
}

const tensor_info* safetensors_file::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](std::size_t i, std::string_view wanted) {
    return layout_.tensors[i].name < wanted;
  });
  if (at == by_name_.end() || layout_.tensors[*at].name != name) return nullptr;
  return &layout_.tensors[*at];
}

std::span<const std::byte> safetensors_file::bytes(const tensor_info& tensor) const {
  return file_.bytes().subspan(layout_.data + tensor.begin, tensor.bytes());
}

const tensor_info& safetensors_file::at(std::string_view name) const {
  const tensor_info* const tensor = find(name);
  if (tensor == nullptr)
    throw error(errc::not_found, path_.string(), join("TensorNotFound: the file has no tensor \"", name, "\""));
  return *tensor;
}

template <class T>
void safetensors_file::read_as(std::string_view name, std::span<T> out) const {
  const tensor_info& tensor = at(name);
  if (static_cast<std::size_t>(tensor.elements) != out.size())
    throw error(errc::bad_argument, path_.string(),
                join("tensor \"", name, "\" has ", tensor.elements, " numbers, expected ", out.size()));
  read_part_as(name, 0, out);
}

template <class T>
void safetensors_file::read_part_as(std::string_view name, index_t first, std::span<T> out) const {
  const tensor_info& tensor = at(name);
  const auto count = static_cast<index_t>(out.size());
  if (first < 0 || count > tensor.elements || first > tensor.elements - count)
    throw error(errc::bad_argument, path_.string(),
                join("tensor \"", name, "\" has ", tensor.elements, " numbers, expected ", count, " from number ",
                     first, " on"));
  const std::size_t size = size_of(tensor.type);
  const auto stored = bytes(tensor).subspan(static_cast<std::size_t>(first) * size, out.size() * size);
  convert(tensor.type, stored, out);
  file_.release(stored);
}

void safetensors_file::read(std::string_view name, std::span<float> out) const { read_as(name, out); }
void safetensors_file::read(std::string_view name, std::span<double> out) const { read_as(name, out); }
void safetensors_file::read_part(std::string_view name, index_t first, std::span<float> out) const {
  read_part_as(name, first, out);
}
void safetensors_file::read_part(std::string_view name, index_t first, std::span<double> out) const {
  read_part_as(name, first, out);
}

}  // namespace plumb::inline v0
