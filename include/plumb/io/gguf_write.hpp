// SPDX-License-Identifier: BSL-1.0
// Writing GGUF files (version 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/function_ref.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/ggml_type.hpp>
#include <plumb/io/gguf.hpp>

namespace plumb::inline v0 {

/// Metadata of a file to write, in order. A key that is given twice throws `bad_argument`.
class gguf_metadata {
 public:
  gguf_metadata& text(std::string_view key, std::string_view value);
  gguf_metadata& u32(std::string_view key, index_t value);  ///< from 0 to 2^32 − 1
  gguf_metadata& f32(std::string_view key, double value);
  gguf_metadata& boolean(std::string_view key, bool value);
  gguf_metadata& texts(std::string_view key, std::span<const std::string> values);
  gguf_metadata& f32s(std::string_view key, std::span<const float> values);
  gguf_metadata& i32s(std::string_view key, std::span<const std::int32_t> values);

  [[nodiscard]] std::size_t count() const noexcept { return keys_.size(); }
  /// The entries as the file holds them.
  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }

 private:
  void begin(std::string_view key, gguf_kind kind);
  void begin_list(std::string_view key, gguf_kind items, std::size_t count);

  std::string bytes_;
  std::set<std::string, std::less<>> keys_;
};

/// A tensor to write: [outputs, inputs], or [size].
struct gguf_output {
  std::string name;
  ggml_type type = ggml_type::f32;
  std::vector<index_t> shape;
};

/// Writes a GGUF file, atomically. `fill(i, numbers)` gives the numbers of tensor i, one tensor at a time, so that a model
/// of any size takes the memory of its largest tensor. Names must be unique and sizes multiples of a format's block.
void write_gguf(const std::filesystem::path& path, const gguf_metadata& metadata, std::span<const gguf_output> tensors,
                function_ref<void(std::size_t, std::span<float>)> fill);

}  // namespace plumb::inline v0
