// SPDX-License-Identifier: BSL-1.0
// Number formats of stored tensors: names, sizes, and conversion of raw bytes to float or double.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <plumb/core/error.hpp>
#include <plumb/core/half.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

static_assert(std::endian::native == std::endian::little, "plumb maps little-endian files; this machine is big-endian");

/// How the numbers of a stored tensor are encoded, all little-endian; in the order in which safetensors sorts them.
enum class dtype : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64
};

namespace detail {
struct dtype_row {
  dtype type;
  std::string_view name;
  std::size_t size;
};
inline constexpr std::array<dtype_row, 16> dtypes{{{dtype::boolean, "BOOL", 1},
                                                   {dtype::u8, "U8", 1},
                                                   {dtype::i8, "I8", 1},
                                                   {dtype::f8_e5m2, "F8_E5M2", 1},
                                                   {dtype::f8_e4m3, "F8_E4M3", 1},
                                                   {dtype::f8_e8m0, "F8_E8M0", 1},
                                                   {dtype::i16, "I16", 2},
                                                   {dtype::u16, "U16", 2},
                                                   {dtype::f16, "F16", 2},
                                                   {dtype::bf16, "BF16", 2},
                                                   {dtype::i32, "I32", 4},
                                                   {dtype::u32, "U32", 4},
                                                   {dtype::f32, "F32", 4},
                                                   {dtype::f64, "F64", 8},
                                                   {dtype::i64, "I64", 8},
                                                   {dtype::u64, "U64", 8}}};
}  // namespace detail

/// Bytes of one number.
constexpr std::size_t size_of(dtype type) noexcept { return detail::dtypes[static_cast<std::size_t>(type)].size; }

/// The name in a safetensors header: "F32", "BF16", "BOOL", …
constexpr std::string_view name(dtype type) noexcept { return detail::dtypes[static_cast<std::size_t>(type)].name; }

/// The format of a name, if plumb knows it.
constexpr std::optional<dtype> dtype_of(std::string_view text) noexcept {
  for (const auto& row : detail::dtypes) {
    if (row.name == text) return row.type;
  }
  return std::nullopt;
}

namespace detail {

/// Converts numbers stored as `Stored`, at any alignment; `widen` maps one stored number to what it means.
template <class Stored, class T, class Widen>
void convert_each(const std::byte* from, std::span<T> to, Widen widen) {
  for (T& out : to) {
    Stored stored;
    std::memcpy(&stored, from, sizeof stored);
    from += sizeof stored;
    out = static_cast<T>(widen(stored));
  }
}

}  // namespace detail

/// Converts stored numbers to float or double: `to[i]` = number i of `from`, which may lie at any alignment.
///
/// `from` must have exactly `to.size() * size_of(type)` bytes (`bad_argument`). Widening is exact; f64 and 64-bit
/// integers round to the nearest when T cannot hold them; booleans give 0 and 1. The 8-bit floats throw `unsupported`.
template <class T>
  requires(std::is_same_v<T, float> || std::is_same_v<T, double>)
void convert(dtype type, std::span<const std::byte> from, std::span<T> to) {
  if (from.size() / size_of(type) != to.size() || from.size() % size_of(type) != 0) {
    throw error(errc::bad_argument, "convert",
                join("expected ", to.size(), " numbers of ", name(type), ", found ", from.size(), " bytes"));
  }
  if (to.empty()) return;
  const auto same = [](auto x) { return x; };
  switch (type) {
    case dtype::f32:
      if constexpr (std::is_same_v<T, float>)
        std::memcpy(to.data(), from.data(), from.size());
      else
        detail::convert_each<float>(from.data(), to, same);
      return;
    case dtype::f64:
      if constexpr (std::is_same_v<T, double>)
        std::memcpy(to.data(), from.data(), from.size());
      else
        detail::convert_each<double>(from.data(), to, same);
      return;
    case dtype::f16: return detail::convert_each<std::uint16_t>(from.data(), to, f16_to_f32);
    case dtype::bf16: return detail::convert_each<std::uint16_t>(from.data(), to, bf16_to_f32);
    case dtype::i64: return detail::convert_each<std::int64_t>(from.data(), to, same);
    case dtype::i32: return detail::convert_each<std::int32_t>(from.data(), to, same);
    case dtype::i16: return detail::convert_each<std::int16_t>(from.data(), to, same);
    case dtype::i8: return detail::convert_each<std::int8_t>(from.data(), to, same);
    case dtype::u64: return detail::convert_each<std::uint64_t>(from.data(), to, same);
    case dtype::u32: return detail::convert_each<std::uint32_t>(from.data(), to, same);
    case dtype::u16: return detail::convert_each<std::uint16_t>(from.data(), to, same);
    case dtype::u8: return detail::convert_each<std::uint8_t>(from.data(), to, same);
    case dtype::boolean:
      return detail::convert_each<std::uint8_t>(from.data(), to, [](std::uint8_t b) { return b != 0; });
    case dtype::f8_e4m3:
    case dtype::f8_e5m2:
    case dtype::f8_e8m0: break;
  }
  throw error(errc::unsupported, "convert",
              join("numbers of ", name(type), " are not read yet; save the weights as BF16, F16 or F32"));
}

/// Converts float or double to f32, f64, f16 or bf16 bytes (round to nearest even); other targets throw `unsupported`.
template <class T>
  requires(std::is_same_v<T, float> || std::is_same_v<T, double>)
void convert(std::span<const T> from, dtype type, std::span<std::byte> to) {
  if (to.size() / size_of(type) != from.size() || to.size() % size_of(type) != 0) {
    throw error(errc::bad_argument, "convert",
                join("expected room for ", from.size(), " numbers of ", name(type), ", found ", to.size(), " bytes"));
  }
  std::byte* at = to.data();
  const auto put = [&](auto narrow) {
    for (const T x : from) {
      const auto stored = narrow(x);
      std::memcpy(at, &stored, sizeof stored);
      at += sizeof stored;
    }
  };
  switch (type) {
    case dtype::f32: return put([](T x) { return static_cast<float>(x); });
    case dtype::f64: return put([](T x) { return static_cast<double>(x); });
    case dtype::f16: return put([](T x) { return f32_to_f16(static_cast<float>(x)); });
    case dtype::bf16: return put([](T x) { return f32_to_bf16(static_cast<float>(x)); });
    default: break;
  }
  throw error(errc::unsupported, "convert", join("weights are written as F32, F64, F16 or BF16, not as ", name(type)));
}

}  // namespace plumb::inline v0
