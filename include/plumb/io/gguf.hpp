// SPDX-License-Identifier: BSL-1.0
// Tensors and metadata in GGUF files (versions 2 and 3): a mapped file whose every claim was checked when it was opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/ggml_type.hpp>

namespace plumb::inline v0 {

/// Types of metadata values; the numbers are those of the file format.
enum class gguf_kind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

/// The name of a kind: "u32", "text", "array".
std::string_view name(gguf_kind kind) noexcept;

/// One metadata value, seen in the mapped file; it lives as long as the file does.
struct gguf_value {
  gguf_kind kind = gguf_kind::u8;
  gguf_kind items = gguf_kind::u8;   ///< of an array: the kind of its items
  std::size_t count = 1;             ///< of an array: how many
  std::span<const std::byte> bytes;  ///< the stored value: of text its bytes, of an array all its items

  [[nodiscard]] bool is_text() const noexcept { return kind == gguf_kind::text; }
  [[nodiscard]] bool is_array() const noexcept { return kind == gguf_kind::array; }
  [[nodiscard]] bool is_number() const noexcept { return !is_text() && !is_array(); }
  /// Text as stored (tokens need not be UTF-8); empty for other kinds.
  [[nodiscard]] std::string_view text() const noexcept;
  /// A number or boolean; 0 for other kinds. 64-bit integers beyond 2^53 round; `integer` does not.
  [[nodiscard]] double number() const noexcept;
  /// An integer or boolean; none for other kinds and for what 63 bits cannot hold.
  [[nodiscard]] std::optional<std::int64_t> integer() const noexcept;
  /// The items of an array, in order.
  [[nodiscard]] std::vector<gguf_value> list() const;
};

/// What a GGUF file says about one tensor.
struct gguf_tensor {
  std::string_view name;
  ggml_type type = ggml_type::f32;
  std::vector<index_t> shape;  ///< outermost first, as everywhere in plumb (the file has it the other way round)
  index_t elements = 1;        ///< product of the shape
  std::size_t begin = 0;       ///< first byte, counted from the start of the file
  std::size_t bytes = 0;       ///< stored bytes
};

/// A GGUF file, open for reading. Movable; spans and views that it hands out live as long as it does.
///
/// The format: "GGUF", version, counts, metadata, tensor descriptions, then at a multiple of `general.alignment` the
/// tensors' bytes. Errors of `open` are `bad_file` and begin with one stable word: NotGguf, Truncated, InvalidCount,
/// InvalidKey, DuplicateKey, InvalidValue, InvalidAlignment, InvalidTensor, DuplicateTensor, InvalidShape,
/// InvalidOffset; other versions, big-endian files and unknown formats are `unsupported`. What a file claims is checked
/// against its size before memory is taken for it.
class gguf_file {
 public:
  static gguf_file open(const std::filesystem::path& path);

  /// All tensors, in the order of their bytes.
  [[nodiscard]] std::span<const gguf_tensor> tensors() const noexcept { return tensors_; }
  /// The tensor of this name, or null.
  [[nodiscard]] const gguf_tensor* find_tensor(std::string_view name) const;
  /// The stored bytes of a tensor of this file.
  [[nodiscard]] std::span<const std::byte> bytes(const gguf_tensor& tensor) const {
    return file_.bytes().subspan(tensor.begin, tensor.bytes);
  }
  /// Reads a tensor as floats into `out`, whose size must be the tensor's number of elements.
  void read(const gguf_tensor& tensor, std::span<float> out) const;
  /// The stored bytes of `count` numbers of a tensor, from number `first` on; both must be whole blocks of its format.
  [[nodiscard]] std::span<const std::byte> bytes_of_part(const gguf_tensor& tensor, index_t first, index_t count) const;
  /// Reads as many numbers of a tensor as `out` has, from number `first` on.
  void read_part(const gguf_tensor& tensor, index_t first, std::span<float> out) const;

  struct entry {
    std::string_view key;
    gguf_value value;
  };
  /// All metadata, in the order of the file.
  [[nodiscard]] std::span<const entry> metadata() const noexcept { return metadata_; }
  /// The value of a key, or null.
  [[nodiscard]] const gguf_value* find(std::string_view key) const;

  /// A key's value, checked: `bad_file` when it is missing or of another kind.
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] double number(std::string_view key) const;
  /// The same, with what to take when the key is missing.
  [[nodiscard]] std::string text_or(std::string_view key, std::string_view otherwise) const;
  [[nodiscard]] std::int64_t integer_or(std::string_view key, std::int64_t otherwise) const;
  [[nodiscard]] double number_or(std::string_view key, double otherwise) const;
  [[nodiscard]] bool flag_or(std::string_view key, bool otherwise) const;

  [[nodiscard]] int version() const noexcept { return version_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::size_t size() const noexcept { return file_.size(); }

 private:
  explicit gguf_file(const std::filesystem::path& path);

  std::filesystem::path path_;
  mapped_file file_;
  int version_ = 3;
  std::vector<entry> metadata_;
  std::vector<gguf_tensor> tensors_;
  std::vector<std::size_t> keys_by_name_, tensors_by_name_;
};

/// Does the file begin as a GGUF file does? False for folders and for what cannot be read.
bool is_gguf(const std::filesystem::path& path) noexcept;

}  // namespace plumb::inline v0
