// SPDX-License-Identifier: BSL-1.0
// Weights as bitsandbytes stores them in safetensors files: NF4 and FP4 with or without second quantisation, and LLM.int8.
// Bodies: bitsandbytes_impl.hpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/packed_numbers.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/io/weights.hpp>

namespace plumb::inline v0 {

/// The format in which these files hold the weight `name` ("….weight") the way bitsandbytes does; none: as plain numbers.
std::optional<packed_format> bitsandbytes_format(const weight_files& files, const std::string& name);

/// [rows, columns] of such a weight. Errors as of `read_bitsandbytes`.
shape bitsandbytes_shape(const weight_files& files, const std::string& name);

/// Is this tensor a part of such a weight beside its codes: scales, tables, state?
bool is_bitsandbytes_part(std::string_view name) noexcept;

/// Reads such a weight of the shape `extent` without changing a bit of it. A map of floats beside it follows from the file,
/// so FP4 is four_bits with another table.
///
/// Errors: `not_found` without the weight; `bad_model` where a part is missing or the sizes of its parts do not fit the shape;
/// `unsupported` for blocks that are no power of two from 32 to 4096, or another layout of rows; `not_finite` for scales.
packed_numbers read_bitsandbytes(const weight_files& files, const std::string& name, shape extent);

/// The tensors of one weight as bitsandbytes reads them: `….weight` and what stands beside it.
struct bitsandbytes_tensors {
  std::vector<tensor_data> tensors;  ///< their bytes lie in the matrix and in `text`
  std::string text;                  ///< the quantisation's state, JSON
  std::uint8_t row_layout = 0;       ///< LLM.int8's mark for plain rows
};
/// `m` must lie in host memory and outlive what is returned. Throws errc::unsupported for other formats than four_bits and int8.
std::unique_ptr<bitsandbytes_tensors> as_bitsandbytes(const std::string& name, const packed_matrix& m);

}  // namespace plumb::inline v0
