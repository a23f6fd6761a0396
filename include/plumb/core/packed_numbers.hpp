// SPDX-License-Identifier: BSL-1.0
// A packed matrix in host memory: sizes, packing and unpacking. Bodies: packed_numbers_impl.hpp.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/core/packed_matrix.hpp>

namespace plumb::inline v0 {

/// The name of a format as options write it: "bf16", "int8", "nf4", "q4_k".
std::string_view name(packed_format format) noexcept;

/// Sizes of the parts of a packed matrix, and where they begin in one piece of memory.
struct packed_parts {
  index_t codes = 0, scales = 0, scale_codes = 0;  ///< bytes, numbers, bytes
  bool tables = false;                             ///< 16 numbers, and with scale_codes 256
  std::size_t scales_at = 0, table_at = 0, scale_codes_at = 0, scale_table_at = 0, total = 0;
};

/// `m.codes` and so on are not read: format, sizes and blocks are; `nested`: the scales of four_bits are packed, too.
/// Throws errc::bad_argument for rows that end inside a block of the format, negative sizes and overflow.
packed_parts parts_of_packed(const packed_matrix& m, bool nested);

/// A packed matrix with its memory, all in one piece, which may be copied to any device.
struct packed_numbers {
  packed_matrix what;               ///< points into `bytes`
  std::vector<std::uint8_t> bytes;  ///< codes, scales, tables

  packed_numbers() = default;
  /// Memory of zeros for a matrix like `like`, whose pointers are not read.
  packed_numbers(const packed_matrix& like, bool nested);
  packed_numbers(packed_numbers&&) noexcept = default;  // what a vector holds stays where it is
  packed_numbers& operator=(packed_numbers&&) noexcept = default;

  /// Where the parts lie, for writing.
  [[nodiscard]] std::uint8_t* codes() noexcept { return bytes.data(); }
  [[nodiscard]] float* scales() noexcept { return const_cast<float*>(what.scales); }
  [[nodiscard]] float* table() noexcept { return const_cast<float*>(what.table); }
  [[nodiscard]] std::uint8_t* scale_codes() noexcept { return const_cast<std::uint8_t*>(what.scale_codes); }
  [[nodiscard]] float* scale_table() noexcept { return const_cast<float*>(what.scale_table); }
};

/// The same matrix in a copy of its memory that begins at `to`.
packed_matrix moved_to(const packed_numbers& from, const std::uint8_t* to) noexcept;

/// Packs a matrix of finite numbers, row by row.
///
/// bf16, f16: nearest, ties to even. int8: q = x · (127 / max|row|) to nearest, ties to even. four_bits: NF4 in blocks of 64
/// with second quantisation in blocks of 256, the nearest entry for each (the lower of equals): bitsandbytes' CUDA and
/// reference operators to the bit, but for the mean of the blocks' magnitudes, summed here in double.
/// q8_0: d = max|x| / 127, q = x / d half away from zero; q4_0: d = the largest number by magnitude / −8, as llama.cpp.
/// Throws errc::unsupported for the formats that plumb only reads (q4_1, q5_0, q5_1, q4_k, q5_k, q6_k), errc::bad_argument
/// for other numbers than extent.size() or rows that end inside a block, errc::not_finite for numbers beyond the format.
packed_numbers pack(std::span<const float> numbers, shape extent, packed_format format);

/// Are all numbers finite? Looks at scales and short floats, not at every number.
bool all_finite(const packed_matrix& m) noexcept;

/// All numbers, row by row. `to` has m.rows · m.columns places.
void unpack(const packed_matrix& m, std::span<float> to);

/// The 256 numbers of bitsandbytes' signed dynamic map (Dettmers 2016), ascending, and the 16 of NF4.
std::span<const float> dynamic_map() noexcept;
std::span<const float> nf4_map() noexcept;

}  // namespace plumb::inline v0
