// SPDX-License-Identifier: BSL-1.0
// Writing safetensors files, byte for byte as the reference implementation lays them out.
// Bodies: safetensors_write_impl.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/dtype.hpp>
#include <plumb/io/safetensors_header.hpp>

namespace plumb::inline v0 {

/// One tensor to write; `bytes` are little-endian numbers of `type`, row-major, and stay the caller's.
struct tensor_data {
  std::string name;
  dtype type = dtype::f32;
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;
};

/// A `tensor_data` over numbers that lie in memory as they shall be stored.
template <class T>
  requires(std::is_same_v<T, float> || std::is_same_v<T, double>)
tensor_data as_tensor(std::string name, std::vector<index_t> shape, std::span<const T> numbers) {
  return {std::move(name), std::is_same_v<T, float> ? dtype::f32 : dtype::f64, std::move(shape),
          std::as_bytes(numbers)};
}

/// Writes tensors and metadata as a safetensors file, atomically (see `write_file_atomically`).
///
/// Tensors are ordered by alignment, largest first, then by name, so every one is aligned to its own number size.
/// Names must be unique; a size that does not fit the shape throws `bad_argument` before anything is written.
void write_safetensors(const std::filesystem::path& path, std::span<const tensor_data> tensors,
                       const safetensors_metadata& metadata = {});

}  // namespace plumb::inline v0
