// SPDX-License-Identifier: BSL-1.0
// Function bodies of io/ggml_type.hpp; compiled once per program.
#pragma once

#include <array>
#include <cmath>
#include <cstring>

#include <plumb/core/error.hpp>
#include <plumb/core/half.hpp>
#include <plumb/io/dtype.hpp>
#include <plumb/io/ggml_type.hpp>

namespace plumb::inline v0 {

namespace detail {

inline constexpr std::array<ggml_layout, 32> ggml_layouts{{
    {ggml_type::f32, "F32", 1, 4, true},       {ggml_type::f16, "F16", 1, 2, true},
    {ggml_type::q4_0, "Q4_0", 32, 18, true},   {ggml_type::q4_1, "Q4_1", 32, 20, true},
    {ggml_type::q5_0, "Q5_0", 32, 22, true},   {ggml_type::q5_1, "Q5_1", 32, 24, true},
    {ggml_type::q8_0, "Q8_0", 32, 34, true},   {ggml_type::q8_1, "Q8_1", 32, 36},
    {ggml_type::q2_k, "Q2_K", 256, 84},        {ggml_type::q3_k, "Q3_K", 256, 110},
    {ggml_type::q4_k, "Q4_K", 256, 144, true}, {ggml_type::q5_k, "Q5_K", 256, 176, true},
    {ggml_type::q6_k, "Q6_K", 256, 210, true}, {ggml_type::q8_k, "Q8_K", 256, 292},
    {ggml_type::iq2_xxs, "IQ2_XXS", 256, 66},  {ggml_type::iq2_xs, "IQ2_XS", 256, 74},
    {ggml_type::iq3_xxs, "IQ3_XXS", 256, 98},  {ggml_type::iq1_s, "IQ1_S", 256, 50},
    {ggml_type::iq4_nl, "IQ4_NL", 32, 18},     {ggml_type::iq3_s, "IQ3_S", 256, 110},
    {ggml_type::iq2_s, "IQ2_S", 256, 82},      {ggml_type::iq4_xs, "IQ4_XS", 256, 136},
    {ggml_type::i8, "I8", 1, 1, true},         {ggml_type::i16, "I16", 1, 2, true},
    {ggml_type::i32, "I32", 1, 4, true},       {ggml_type::i64, "I64", 1, 8, true},
    {ggml_type::f64, "F64", 1, 8, true},       {ggml_type::iq1_m, "IQ1_M", 256, 56},
    {ggml_type::bf16, "BF16", 1, 2, true},     {ggml_type::tq1_0, "TQ1_0", 256, 54},
    {ggml_type::tq2_0, "TQ2_0", 256, 66},      {ggml_type::mxfp4, "MXFP4", 32, 17},
}};

/// One block's bytes: small readers, because blocks lie at any alignment.
struct ggml_block {
  const std::byte* at;

  [[nodiscard]] int u8(std::size_t i) const noexcept { return std::to_integer<int>(at[i]); }
  [[nodiscard]] int i8(std::size_t i) const noexcept { return static_cast<std::int8_t>(u8(i)); }
  [[nodiscard]] float half(std::size_t i) const noexcept {
    return f16_to_f32(static_cast<std::uint16_t>(u8(i) | (u8(i + 1) << 8)));
  }
  /// Bit `i` of 32 that begin at byte `from`.
  [[nodiscard]] int bit(std::size_t from, std::size_t i) const noexcept { return (u8(from + i / 8) >> (i % 8)) & 1; }
  /// Code `i` of 32 with 4 bits: the low halves of 16 bytes come first, then the high halves.
  [[nodiscard]] int nibble(std::size_t from, std::size_t i) const noexcept {
    return (u8(from + i % 16) >> (i < 16 ? 0 : 4)) & 15;
  }
};

/// Scale and offset of sub-block j of 8 in Q4_K and Q5_K: 6 bits each, packed into 12 bytes.
inline std::pair<int, int> scale_and_offset(const ggml_block& b, std::size_t from, std::size_t j) noexcept {
  if (j < 4) return {b.u8(from + j) & 63, b.u8(from + j + 4) & 63};
  return {(b.u8(from + j + 4) & 15) | ((b.u8(from + j - 4) >> 6) << 4),
          (b.u8(from + j + 4) >> 4) | ((b.u8(from + j) >> 6) << 4)};
}

inline void dequantize_block(ggml_type type, const ggml_block& b, float* out) noexcept {
  const float d = b.half(type == ggml_type::q6_k ? 208 : 0);
  const auto put = [&](std::size_t count, auto number) {
    for (std::size_t i = 0; i < count; ++i) out[i] = number(i);
  };
  const auto f = [](int q) { return static_cast<float>(q); };
  switch (type) {
    case ggml_type::q8_0: return put(32, [&](std::size_t i) { return d * f(b.i8(2 + i)); });
    case ggml_type::q4_0: return put(32, [&](std::size_t i) { return d * f(b.nibble(2, i) - 8); });
    case ggml_type::q4_1: return put(32, [&](std::size_t i) { return d * f(b.nibble(4, i)) + b.half(2); });
    case ggml_type::q5_0:
      return put(32, [&](std::size_t i) { return d * f((b.nibble(6, i) | (b.bit(2, i) << 4)) - 16); });
    case ggml_type::q5_1:
      return put(32, [&](std::size_t i) { return d * f(b.nibble(8, i) | (b.bit(4, i) << 4)) + b.half(2); });
    case ggml_type::q4_k:
    case ggml_type::q5_k: {
      const bool five = type == ggml_type::q5_k;  // a fifth bit of each code lies in 32 bytes of its own
      const float m = b.half(2);
      for (std::size_t j = 0; j < 8; ++j) {
        const auto [scale, offset] = scale_and_offset(b, 4, j);
        const float ds = d * f(scale), mo = m * f(offset);
        for (std::size_t i = 0; i < 32; ++i) {
          int q = (b.u8((five ? 48 : 16) + 32 * (j / 2) + i) >> (4 * (j % 2))) & 15;
          if (five) q |= ((b.u8(16 + i) >> j) & 1) << 4;
          out[32 * j + i] = ds * f(q) - mo;
        }
      }
      return;
    }
    case ggml_type::q6_k:
      for (std::size_t i = 0; i < 256; ++i) {
        const std::size_t part = i / 128, in = i % 128, quarter = in / 32, column = in % 32;
        const int low = (b.u8(64 * part + 32 * (quarter % 2) + column) >> (4 * (quarter / 2))) & 15;
        const int high = (b.u8(128 + 32 * part + column) >> (2 * quarter)) & 3;
        out[i] = d * f(b.i8(192 + i / 16)) * f((low | (high << 4)) - 32);
      }
      return;
    default: return;
  }
}

inline std::optional<dtype> plain_type(ggml_type type) noexcept {
  switch (type) {
    case ggml_type::f32: return dtype::f32;
    case ggml_type::f16: return dtype::f16;
    case ggml_type::bf16: return dtype::bf16;
    case ggml_type::f64: return dtype::f64;
    case ggml_type::i8: return dtype::i8;
    case ggml_type::i16: return dtype::i16;
    case ggml_type::i32: return dtype::i32;
    case ggml_type::i64: return dtype::i64;
    default: return std::nullopt;
  }
}

inline void check_blocks(const ggml_layout& layout, std::size_t numbers, std::size_t bytes, std::string_view place) {
  if (numbers % layout.numbers == 0 && bytes % layout.bytes == 0 && bytes / layout.bytes == numbers / layout.numbers)
    return;
  throw error(errc::bad_argument, std::string(place),
              join("expected ", numbers, " numbers of ", layout.name, " in blocks of ", layout.numbers, " (",
                   layout.bytes, " bytes each), found ", bytes, " bytes"));
}

}  // namespace detail

const ggml_layout* layout_of(std::uint32_t type) noexcept {
  for (const ggml_layout& row : detail::ggml_layouts)
    if (static_cast<std::uint32_t>(row.type) == type) return &row;
  return nullptr;
}

std::optional<ggml_type> ggml_type_of(std::string_view text) noexcept {
  const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; };
  for (const ggml_layout& row : detail::ggml_layouts) {
    bool same = row.name.size() == text.size();
    for (std::size_t i = 0; same && i < text.size(); ++i) same = upper(text[i]) == row.name[i];
    if (same) return row.type;
  }
  return std::nullopt;
}

void dequantize(ggml_type type, std::span<const std::byte> from, std::span<float> out) {
  const ggml_layout& layout = layout_of(type);
  if (!layout.readable)
    throw error(errc::unsupported, "dequantize",
                join("numbers of ", layout.name,
                     " are not read; plumb reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K"));
  detail::check_blocks(layout, out.size(), from.size(), "dequantize");
  if (const auto plain = detail::plain_type(type)) return convert(*plain, from, out);
  for (std::size_t i = 0, blocks = out.size() / layout.numbers; i < blocks; ++i)
    detail::dequantize_block(type, {from.data() + i * layout.bytes}, out.data() + i * layout.numbers);
}

void quantize(std::span<const float> from, ggml_type type, std::span<std::byte> to) {
  const ggml_layout& layout = layout_of(type);
  if (type != ggml_type::f32 && type != ggml_type::f16 && type != ggml_type::bf16 && type != ggml_type::q8_0)
    throw error(errc::unsupported, "quantize", join("plumb writes F32, F16, BF16 and Q8_0, not ", layout.name));
  detail::check_blocks(layout, from.size(), to.size(), "quantize");
  if (const auto plain = detail::plain_type(type)) return convert(from, *plain, to);
  std::byte* at = to.data();
  for (std::size_t block = 0; block < from.size(); block += 32, at += 34) {
    const auto x = from.subspan(block, 32);
    float most = 0;
    for (const float v : x) most = std::max(most, std::fabs(v));
    const float d = most / 127, inverse = d == 0 ? 0 : 1 / d;
    const std::uint16_t stored = f32_to_f16(d);
    std::memcpy(at, &stored, 2);
    for (std::size_t i = 0; i < 32; ++i)
      at[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(std::round(x[i] * inverse)));
  }
}

}  // namespace plumb::inline v0
