// SPDX-License-Identifier: BSL-1.0
// The bodies of io/safetensors_write.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json_write.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/io/utf8.hpp>

namespace plumb::inline v0 {

namespace detail {

void check_tensor(const tensor_data& tensor) {
  const auto fail = [&](std::string_view message) { throw error(errc::bad_argument, tensor.name, message); };
  if (tensor.name == "__metadata__") fail("a tensor cannot have this name: safetensors uses it for its metadata");
  if (first_invalid_utf8(tensor.name) != tensor.name.size()) fail("the name of a tensor must be UTF-8");
  std::uint64_t need = size_of(tensor.type);
  for (const index_t size : tensor.shape) {
    if (size < 0) fail(join("a size of the shape is negative: ", size));
    if (size > 0 && need > (std::uint64_t{1} << 62) / static_cast<std::uint64_t>(size)) fail("the shape is too large");
    need *= static_cast<std::uint64_t>(size);
  }
  if (need != tensor.bytes.size()) {
    fail(join("the shape needs ", need, " bytes of ", name(tensor.type), ", found ", tensor.bytes.size()));
  }
}

/// The JSON header for tensors that are in their final order, padded with blanks to a multiple of 8 bytes.
std::string safetensors_header(const std::vector<const tensor_data*>& tensors, const safetensors_metadata& metadata) {
  std::string out = "{";
  const auto quoted = [&](std::string_view text) { json::detail::write_string(out, text); };
  if (!metadata.empty()) {
    out += "\"__metadata__\":{";
    for (bool first = true; const auto& [key, text] : metadata) {
      if (!first) out += ',';
      first = false;
      quoted(key);
      out += ':';
      quoted(text);
    }
    out += '}';
  }
  std::size_t at = 0;
  for (const tensor_data* const tensor : tensors) {
    if (out.size() > 1) out += ',';
    quoted(tensor->name);
    out += join(":{\"dtype\":\"", name(tensor->type), "\",\"shape\":[");
    for (std::size_t i = 0; i < tensor->shape.size(); ++i) out += join(i == 0 ? "" : ",", tensor->shape[i]);
    out += join("],\"data_offsets\":[", at, ",", at + tensor->bytes.size(), "]}");
    at += tensor->bytes.size();
  }
  out += '}';
  out.append((8 - out.size() % 8) % 8, ' ');
  if (out.size() > safetensors_header_limit) {
    throw error(errc::bad_argument, "safetensors", "HeaderTooLarge: names and metadata exceed the format's 100 MB");
  }
  return out;
}

}  // namespace detail

void write_safetensors(const std::filesystem::path& path, std::span<const tensor_data> tensors,
                       const safetensors_metadata& metadata) {
  std::vector<const tensor_data*> order;
  for (const tensor_data& tensor : tensors) {
    detail::check_tensor(tensor);
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const tensor_data* a, const tensor_data* b) {
    return a->type != b->type ? a->type > b->type : a->name < b->name;
  });
  std::vector<std::string_view> names;
  for (const tensor_data* const tensor : order) names.push_back(tensor->name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    throw error(errc::bad_argument, std::string(*twice), "two tensors have this name");
  }
  const std::string header = detail::safetensors_header(order, metadata);
  write_file_atomically(path, [&](writer& out) {
    const std::uint64_t length = header.size();
    out.write(std::as_bytes(std::span(&length, 1)));
    out.write(header);
    for (const tensor_data* const tensor : order) out.write(tensor->bytes);
  });
}

}  // namespace plumb::inline v0
