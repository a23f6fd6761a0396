// SPDX-License-Identifier: BSL-1.0
// Number formats of tensors in GGUF files: plain numbers, and blocks of quantised ones; blocks back to floats, exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace plumb::inline v0 {

/// How the numbers of a GGUF tensor are stored. The values are those of the file format; 4 and 5 are retired.
enum class ggml_type : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39
};

/// What is fixed for a format: its name, how many numbers share a block, and the block's size.
struct ggml_layout {
  ggml_type type;
  std::string_view name;    ///< as llama.cpp writes it: "Q4_K"
  std::size_t numbers = 1;  ///< numbers in a block; 1 for plain numbers
  std::size_t bytes = 4;    ///< bytes of a block
  bool readable = false;    ///< `dequantize` knows it
};

/// The layout of a format by its number in the file; none for a number that is no format.
const ggml_layout* layout_of(std::uint32_t type) noexcept;
inline const ggml_layout& layout_of(ggml_type type) noexcept { return *layout_of(static_cast<std::uint32_t>(type)); }
inline std::string_view name(ggml_type type) noexcept { return layout_of(type).name; }

/// The format of a name, in any case ("f16", "Q8_0"), if there is one.
std::optional<ggml_type> ggml_type_of(std::string_view text) noexcept;

/// Stored numbers to floats: `out[i]` = number i of `from`, which may lie at any alignment.
///
/// Block formats, with d, m the block's half-precision scale and offset, s, o a sub-block's integers, q the code:
///   Q8_0: d q (q from −128 to 127) · Q4_0: d (q − 8) · Q5_0: d (q − 16) · Q4_1, Q5_1: d q + m
///   Q4_K: (d s) q − (m o), 8 sub-blocks of 32 · Q6_K: (d s) (q − 32), 16 sub-blocks of 16
/// Every product fits a float's 24 bits, so results are exact to the bit however a compiler contracts them.
///
/// `from` must have exactly the blocks of `out.size()` numbers (`bad_argument`). Other formats throw `unsupported`.
void dequantize(ggml_type type, std::span<const std::byte> from, std::span<float> out);

/// Floats to stored numbers of the formats that plumb writes: F32, F16, BF16 and Q8_0 (others: `unsupported`).
///
/// Q8_0: in each block of 32, d = max|x| / 127 (stored in half precision), q = x / d rounded half away from zero, as
/// llama.cpp does. `to` must have exactly the blocks of `from.size()` numbers.
void quantize(std::span<const float> from, ggml_type type, std::span<std::byte> to);

}  // namespace plumb::inline v0
