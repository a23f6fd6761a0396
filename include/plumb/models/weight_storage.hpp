// SPDX-License-Identifier: BSL-1.0
// How a model's maps are kept in memory: as plain numbers, or frozen in fewer bits.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/core/nearest.hpp>
#include <plumb/core/packed_matrix.hpp>

namespace plumb::inline v0 {

/// How a model's weights are kept: the linear maps inside its blocks, and the table of tokens and the head where
/// `word_format_of` says so. Norms, biases and tables of positions are always plain numbers.
enum class weight_storage : std::uint8_t {
  plain,   ///< as the numbers of the computation; all of them can be trained
  stored,  ///< as the files hold them, bit for bit: bf16, f16, bitsandbytes' int8, NF4 and FP4, llama.cpp's blocks
  bf16,
  f16,
  int8,  ///< a byte each, a scale a row; products are those of the rounded weights, activations are not rounded
  nf4,   ///< 4.13 bits each: QLoRA (Dettmers et al. 2023)
  q8_0,
  q4_0
};

inline constexpr std::array<std::string_view, 8> weight_storages{"plain", "stored", "bf16", "f16",
                                                                 "int8",  "nf4",    "q8_0", "q4_0"};

constexpr std::string_view name(weight_storage s) noexcept { return weight_storages[static_cast<std::size_t>(s)]; }

/// The storage of this name. Throws errc::bad_argument, naming the nearest.
inline weight_storage weight_storage_of(std::string_view text) {
  const auto at = std::find(weight_storages.begin(), weight_storages.end(), text);
  if (at == weight_storages.end())
    throw error(errc::bad_argument, "storage", unknown_name("storage of weights", text, weight_storages));
  return static_cast<weight_storage>(at - weight_storages.begin());
}

/// The format that a storage asks for; none for `plain` and `stored`.
constexpr std::optional<packed_format> format_of(weight_storage s) noexcept {
  switch (s) {
    case weight_storage::bf16: return packed_format::bf16;
    case weight_storage::f16: return packed_format::f16;
    case weight_storage::int8: return packed_format::int8;
    case weight_storage::nf4: return packed_format::four_bits;
    case weight_storage::q8_0: return packed_format::q8_0;
    case weight_storage::q4_0: return packed_format::q4_0;
    default: return std::nullopt;
  }
}

/// The format of the table of tokens and of the head, on which every probability hangs: as transformers and llama.cpp keep
/// them, but no coarser than a byte. None, plain numbers, with bitsandbytes' int8 and nf4, as there.
constexpr std::optional<packed_format> word_format_of(weight_storage s) noexcept {
  if (s == weight_storage::int8 || s == weight_storage::nf4) return std::nullopt;
  return s == weight_storage::q4_0 ? packed_format::q8_0 : format_of(s);
}

}  // namespace plumb::inline v0
