// SPDX-License-Identifier: BSL-1.0
// One weight of a model from its files: found, checked, turned round, kept plain or packed. One at a time is in host memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <plumb/io/bitsandbytes.hpp>
#include <plumb/models/stored_weight.hpp>
#include <plumb/models/weight_storage.hpp>
#include <plumb/nn/parts.hpp>

namespace plumb::inline v0::detail {

/// Is this the weight of a linear map inside a block? Tables, norms, biases and the head are not.
bool is_block_map(const std::string& name, shape extent);

/// The format that a storage asks for in a weight of this name; none: plain numbers, or what the files hold (`stored`).
inline std::optional<packed_format> wanted_format(const std::string& name, shape extent, weight_storage storage) {
  if (is_word_map(name)) return word_format_of(storage);
  return is_block_map(name, extent) ? format_of(storage) : std::nullopt;
}

/// A weight of numbers from a file, which must be finite.
template <class B, class T>
weight_ptr<B, T> finite_weight(const device_ptr<B>& device, const std::string& name, shape extent,
                               const std::vector<T>& host) {
  check_read(name, std::span<const T>(host));
  auto out = std::make_shared<weight_tensor<B, T>>();
  out->value = tensor<B, T>(device, extent, std::span<const T>(host));
  return out;
}
template <class B, class T>
weight_ptr<B, T> packed_weight(const device_ptr<B>& device, const packed_numbers& numbers) {
  auto out = std::make_shared<weight_tensor<B, T>>();
  out->packed = std::make_shared<const packed_tensor<B>>(device, numbers);
  return out;
}

/// The numbers of a weight, [outputs, inputs], after checking that the file holds what the configuration says; nothing is
/// allocated before.
template <class T>
std::vector<T> read_numbers(const weight_files& files, const model_config& config, const std::string& wanted,
                            shape extent) {
  if (const std::string name = stored_name(config, files, wanted); bitsandbytes_format(files, name)) {
    const packed_numbers packed = read_bitsandbytes(files, name, extent);
    std::vector<float> numbers(static_cast<std::size_t>(extent.size()));
    unpack(packed.what, numbers);
    return std::vector<T>(numbers.begin(), numbers.end());
  }
  const std::string name = find_stored(files, config, wanted, extent);
  std::vector<T> host(static_cast<std::size_t>(extent.size()));
  if (const auto place = find_in_stack(config, hub_stacks(config), wanted)) {
    files.read_part(name, place->first, std::span<T>(host));
    return place->transposed ? transposed(std::span<const T>(host), extent.columns, extent.rows) : host;
  }
  files.read(name, std::span<T>(host));
  if (lies_transposed(config, name)) host = transposed(std::span<const T>(host), extent.columns, extent.rows);
  return host;
}
/// The same from a GGUF file, which holds every map as [outputs, inputs].
template <class T>
std::vector<T> read_numbers(const gguf_model& files, const model_config& config, const std::string& name,
                            shape extent) {
  find_stored(files, config, name, extent);
  std::vector<float> host(static_cast<std::size_t>(extent.size()));
  files.read(name, host);
  if constexpr (std::is_same_v<T, float>)
    return host;
  else
    return {host.begin(), host.end()};
}

/// The format in which the files hold a weight; none: plain numbers, or a format that cannot be kept.
std::optional<packed_format> stored_format(const weight_files& files, const model_config& config,
                                           const std::string& wanted);
std::optional<packed_format> stored_format(const gguf_model& files, const model_config&, const std::string& name);

/// The weight as the files hold it, its bits unchanged; plain short floats become the packed matrix of the same bits.
packed_numbers read_packed(const weight_files& files, const model_config& config, const std::string& wanted,
                           shape extent, packed_format format);
packed_numbers read_packed(const gguf_model& files, const model_config& config, const std::string& name, shape extent,
                           packed_format);

/// Does the cpu backend read codes of this format in the order of products? Others are unpacked for each token, which is
/// too slow for the largest map of all, the head.
constexpr bool is_read_in_order(packed_format f) noexcept {
  return f <= packed_format::four_bits || f == packed_format::q8_0 || f == packed_format::q4_0;
}

/// The format in which a storage keeps this weight; none: plain numbers. Throws errc::bad_argument where its rows end inside
/// a block.
template <class Files>
std::optional<packed_format> kept_format(const Files& files, const model_config& config, const std::string& name,
                                         shape extent, weight_storage storage) {
  if (storage == weight_storage::stored && (is_word_map(name) || is_block_map(name, extent))) {
    const auto format = stored_format(files, config, name);
    return is_word_map(name) && format && !is_read_in_order(*format) ? std::nullopt : format;
  }
  const auto wanted = wanted_format(name, extent, storage);
  if (!wanted) return std::nullopt;
  if (*wanted != packed_format::four_bits && extent.columns % block_numbers(*wanted) != 0)
    throw error(errc::bad_argument, name,
                join("its rows of ", extent.columns, " numbers do not end with a block of ", block_numbers(*wanted),
                     "; ", plumb::name(storage), " cannot keep them, nf4, int8 and bf16 can"));
  return wanted;
}

/// Reads one weight; with a storage other than plain most maps are packed.
template <class B, class T, class Files>
weight_ptr<B, T> read_weight(const device_ptr<B>& device, const Files& files, const model_config& config,
                             const std::string& name, shape extent, weight_storage storage = weight_storage::plain) {
  const auto wanted = kept_format(files, config, name, extent, storage);
  if (!wanted) return finite_weight<B, T>(device, name, extent, read_numbers<T>(files, config, name, extent));
  if (stored_format(files, config, name) == wanted)
    return packed_weight<B, T>(device, read_packed(files, config, name, extent, *wanted));
  return packed_weight<B, T>(device, pack(read_numbers<float>(files, config, name, extent), extent, *wanted));
}

}  // namespace plumb::inline v0::detail
