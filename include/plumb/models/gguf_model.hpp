// SPDX-License-Identifier: BSL-1.0
// Language models in GGUF files: configuration from the metadata, tensors under the hub's names and in the hub's order.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/packed_numbers.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/gguf_names.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// A model file, open for reading: what a model folder has, from one file. Movable; the file stays mapped.
///
/// Families: those of plumb that llama.cpp computes, by its own names (docs/files.md). Quantised tensors are dequantised
/// as they are read. What llama.cpp stores otherwise than the hub is put back: the rows of Llama's query and key maps and
/// of fused maps, Gemma's norms, whose offset is inside; and the experts of a layer, which lie in one tensor, are weights
/// of their own. Errors: those of `gguf_file`, `unsupported` for other families, `bad_model` for numbers that do not fit together.
class gguf_model {
 public:
  static gguf_model open(const std::filesystem::path& path);

  [[nodiscard]] const model_config& config() const noexcept { return config_; }
  [[nodiscard]] const gguf_file& file() const noexcept { return file_; }
  /// The tokenizer in the file, with bos, eos and pad; none when the file has none.
  [[nodiscard]] std::optional<plumb::tokenizer> tokenizer() const;

  /// Names as on the hub, sorted.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(std::string_view name) const { return where_.find(name) != where_.end(); }
  /// Sizes of a tensor, [outputs, inputs] or [size]; `not_found` when there is none of this name.
  [[nodiscard]] const std::vector<index_t>& shape(std::string_view name) const { return at(name).shape; }
  /// Reads a tensor as floats into `out`, whose size must be the tensor's number of elements.
  void read(std::string_view name, std::span<float> out) const;
  /// The format of a tensor whose blocks can be kept as they are; none for whole floats and formats that plumb does not read.
  [[nodiscard]] std::optional<packed_format> packed_format_of(std::string_view name) const;
  /// The blocks of such a tensor, not one bit changed; rows are put back into the hub's order. Errors: `unsupported` for
  /// other tensors, `not_finite` for scales that are no numbers.
  [[nodiscard]] packed_numbers read_packed(std::string_view name) const;

 private:
  struct entry {
    const gguf_tensor* tensor = nullptr;
    std::vector<index_t> shape;
    index_t first = 0, elements = 0;  ///< the part of the tensor: all of it, or an expert's
  };
  explicit gguf_model(gguf_file file);
  [[nodiscard]] const entry& at(std::string_view name) const;

  gguf_file file_;
  model_config config_;
  std::map<std::string, entry, std::less<>> where_;  // by the hub's name
};

}  // namespace plumb::inline v0
