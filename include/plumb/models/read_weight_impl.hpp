// SPDX-License-Identifier: BSL-1.0
// The bodies of models/read_weight.hpp: the format that files hold a weight in. Collected by plumb/impl.hpp.
#pragma once

#include <optional>
#include <string>

#include <plumb/models/read_weight.hpp>

namespace plumb::inline v0 {

namespace detail {

bool is_block_map(const std::string& name, shape extent) {
  return extent.rows > 1 && !is_vector(name) && !is_table(name) && name != head_name;
}

std::optional<packed_format> stored_format(const weight_files& files, const model_config& config,
                                           const std::string& wanted) {
  const auto place = find_in_stack(config, hub_stacks(config), wanted);
  const std::string name = place ? place->name : stored_name(config, files, wanted);
  if (!files.contains(name)) return std::nullopt;
  if (const auto format = bitsandbytes_format(files, name)) return format;
  const dtype type = files.info(name).type;
  if (type == dtype::bf16) return packed_format::bf16;
  return type == dtype::f16 ? std::optional(packed_format::f16) : std::nullopt;
}

std::optional<packed_format> stored_format(const gguf_model& files, const model_config&, const std::string& name) {
  return files.contains(name) ? files.packed_format_of(name) : std::nullopt;
}

packed_numbers read_packed(const weight_files& files, const model_config& config, const std::string& wanted,
                           shape extent, packed_format format) {
  const std::string name = stored_name(config, files, wanted);
  if (bitsandbytes_format(files, name)) return read_bitsandbytes(files, name, extent);
  return pack(read_numbers<float>(files, config, wanted, extent), extent, format);
}

packed_numbers read_packed(const gguf_model& files, const model_config& config, const std::string& name, shape extent,
                           packed_format) {
  find_stored(files, config, name, extent);
  return files.read_packed(name);
}

}  // namespace detail

}  // namespace plumb::inline v0
