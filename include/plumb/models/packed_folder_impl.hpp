// SPDX-License-Identifier: BSL-1.0
// Writing model folders whose maps bitsandbytes packed: part of the bodies of models/model_files.hpp. Collected by
// plumb/impl.hpp.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/bitsandbytes.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/models/model_files_impl.hpp>
#include <plumb/models/read_weight.hpp>
#include <plumb/models/stored_weight.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Tells transformers which maps bitsandbytes has to unpack: all but the head.
inline void mark_as_packed(const std::filesystem::path& folder, const model_config& config, packed_format format) {
  const auto path = folder / "config.json";
  const json::value document = json::parse_file(path);
  json::object o = json::as_object(document, "config.json", path.string());
  const bool bytes = format == packed_format::int8;
  json::object how{{"quant_method", "bitsandbytes"}, {"load_in_8bit", bytes}, {"load_in_4bit", !bytes}};
  if (!bytes) {
    how["bnb_4bit_quant_type"] = "nf4";
    how["bnb_4bit_use_double_quant"] = true;
    how["bnb_4bit_compute_dtype"] = config.dtype;
  }
  const std::string head = written_name(config, std::string(head_name));
  how["llm_int8_skip_modules"] = json::array{json::value(head.substr(0, head.rfind('.')))};
  o["quantization_config"] = std::move(how);
  const std::string text = json::dump(o) + "\n";
  write_file_atomically(path, [&](auto& out) { out.write(std::as_bytes(std::span(text))); });
}

/// A map in this format: as the files hold it where they hold it so, else rounded anew.
inline packed_numbers packed_map(const named_weights& model, const std::string& name, shape extent,
                                 packed_format format) {
  auto stored = model.packed(name);
  const bool fp4 = stored && stored->what.format == packed_format::four_bits && !(stored->what.table[8] > 0);
  if (stored && stored->what.format == format && !fp4) return *std::move(stored);
  std::vector<float> numbers(static_cast<std::size_t>(extent.size()));
  model.read(name, numbers);
  check_read(name, std::span<const float>(numbers));
  return pack(numbers, extent, format);
}

}  // namespace detail

void write_packed_folder(const named_weights& model, const std::filesystem::path& folder, weight_storage storage,
                         dtype rest) {
  const auto format = format_of(storage);
  if (storage != weight_storage::nf4 && storage != weight_storage::int8)
    throw error(errc::unsupported, folder.string(),
                join("folders are written packed as nf4 or int8, not as ", name(storage)));
  detail::check_folder_type(folder, rest);
  const model_config& config = model.config();
  if (config.encodes() || config.experts.count > 0)
    throw error(errc::unsupported, folder.string(),
                join("packed folders are written of decoders without experts, not of ", config.family,
                     "; transformers keeps experts in tables that bitsandbytes does not pack"));
  make_folder(folder);
  detail::folder_tensors out(config, rest);
  std::vector<packed_numbers> packed;
  std::vector<std::unique_ptr<bitsandbytes_tensors>> parts;
  for (const std::string& name : model.names()) {
    const auto sizes = model.shape(name);
    const shape extent{sizes.size() == 2 ? sizes[0] : 1, sizes.back()};
    if (!detail::is_block_map(name, extent)) {
      out.add(model, name);
      continue;
    }
    packed.push_back(detail::packed_map(model, name, extent, *format));
    parts.push_back(as_bitsandbytes(detail::written_name(config, name), packed.back().what));
  }
  std::vector<tensor_data> all = out.tensors();
  for (const auto& each : parts) all.insert(all.end(), each->tensors.begin(), each->tensors.end());
  out.write(folder, all, model);
  detail::mark_as_packed(folder, out.config(), *format);
}

}  // namespace plumb::inline v0
