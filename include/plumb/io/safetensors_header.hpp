// SPDX-License-Identifier: BSL-1.0
// The header of a safetensors file, read strictly: nothing in it is believed before it is checked.
// Bodies: safetensors_header_impl.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/dtype.hpp>

namespace plumb::inline v0 {

/// What a safetensors file says about one tensor.
struct tensor_info {
  std::string name;
  dtype type = dtype::f32;
  std::vector<index_t> shape;  ///< outermost first; empty for a single number
  index_t elements = 1;        ///< product of the shape
  std::size_t begin = 0;       ///< first byte, counted from the start of the data
  std::size_t end = 0;         ///< one past the last byte

  [[nodiscard]] std::size_t bytes() const noexcept { return end - begin; }
};

/// Free text that a safetensors file carries beside its tensors.
using safetensors_metadata = std::map<std::string, std::string, std::less<>>;

namespace detail {

/// The longest header that the format allows, in bytes.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

struct safetensors_layout {
  std::vector<tensor_info> tensors;  // in the order of their bytes
  safetensors_metadata metadata;
  std::size_t data = 0;  // offset in the file at which tensor bytes begin
};

/// Checks a whole file and returns what its header says; the data must be covered without holes or overlaps.
safetensors_layout read_safetensors_layout(std::span<const std::byte> file, const std::string& place);

}  // namespace detail

}  // namespace plumb::inline v0
