// SPDX-License-Identifier: BSL-1.0
// Function bodies of io/ggml_type.hpp; compiled once per program.
#pragma once

#include <array>

#include <plumb/core/error.hpp>
#include <plumb/core/packed_numbers_impl.hpp>
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

/// The packed format of a GGUF type; none where plumb does not read it, or its numbers are whole or plain floats.
inline std::optional<packed_format> packed_type(ggml_type type) noexcept {
  switch (type) {
    case ggml_type::f16: return packed_format::f16;
    case ggml_type::bf16: return packed_format::bf16;
    case ggml_type::q8_0: return packed_format::q8_0;
    case ggml_type::q4_0: return packed_format::q4_0;
    case ggml_type::q4_1: return packed_format::q4_1;
    case ggml_type::q5_0: return packed_format::q5_0;
    case ggml_type::q5_1: return packed_format::q5_1;
    case ggml_type::q4_k: return packed_format::q4_k;
    case ggml_type::q5_k: return packed_format::q5_k;
    case ggml_type::q6_k: return packed_format::q6_k;
    default: return std::nullopt;
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
  const packed_format format = *detail::packed_type(type);
  const auto* block = reinterpret_cast<const std::uint8_t*>(from.data());
  for (std::size_t first = 0; first < out.size(); first += layout.numbers, block += layout.bytes)
    for (std::size_t i = 0; i < layout.numbers; ++i)
      out[first + i] = detail::block_number(format, {block}, static_cast<index_t>(i));
}

void quantize(std::span<const float> from, ggml_type type, std::span<std::byte> to) {
  const ggml_layout& layout = layout_of(type);
  if (type != ggml_type::f32 && type != ggml_type::f16 && type != ggml_type::bf16 && type != ggml_type::q8_0)
    throw error(errc::unsupported, "quantize", join("plumb writes F32, F16, BF16 and Q8_0, not ", layout.name));
  detail::check_blocks(layout, from.size(), to.size(), "quantize");
  if (const auto plain = detail::plain_type(type)) return convert(from, *plain, to);
  auto* at = reinterpret_cast<std::uint8_t*>(to.data());
  for (std::size_t block = 0; block < from.size(); block += 32, at += layout.bytes)
    detail::pack_block(packed_format::q8_0, from.subspan(block, 32), at);
}

}  // namespace plumb::inline v0
