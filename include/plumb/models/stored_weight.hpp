// SPDX-License-Identifier: BSL-1.0
// How files hold a weight: under which name, in which shape, which way round.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/view.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

/// Do files hold this weight as [inputs, outputs]? plumb keeps every map as [outputs, inputs]; GPT-2's files do not.
inline bool lies_transposed(const model_config& c, std::string_view name) {
  if (c.family != "gpt2") return false;
  for (const std::string_view end : {"c_attn.weight", "c_proj.weight", "c_fc.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

namespace detail {

inline std::string describe_shape(std::span<const index_t> extents) {
  std::string out = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) out += join(i ? ", " : "", extents[i]);
  return out + "]";
}

/// Norms and biases lie in files as one row of numbers without a second extent.
inline bool is_vector(std::string_view name) {
  for (const std::string_view end : {"norm.weight", ".bias", "ln_1.weight", "ln_2.weight", "ln_f.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

/// The shape in which files hold a weight of this extent.
inline std::vector<index_t> stored_shape(const model_config& c, std::string_view name, shape extent) {
  if (is_vector(name)) return {extent.columns};
  if (lies_transposed(c, name)) return {extent.columns, extent.rows};
  return {extent.rows, extent.columns};
}

/// The name in these files: the first publications of GPT-2 leave "transformer." out.
inline std::string stored_name(const weight_files& files, const std::string& name) {
  constexpr std::string_view prefix = "transformer.";
  if (!files.contains(name) && name.starts_with(prefix) && files.contains(name.substr(prefix.size())))
    return name.substr(prefix.size());
  return name;
}

/// [rows, columns] → [columns, rows].
template <class T>
std::vector<T> transposed(std::span<const T> numbers, index_t rows, index_t columns) {
  std::vector<T> out(numbers.size());
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j)
      out[static_cast<std::size_t>(j * rows + i)] = numbers[static_cast<std::size_t>(i * columns + j)];
  return out;
}

}  // namespace detail

}  // namespace plumb::inline v0
