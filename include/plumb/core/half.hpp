// SPDX-License-Identifier: BSL-1.0
// The two 16-bit floating formats, bfloat16 and IEEE half, as bit patterns: exact to float, nearest-even from float.
#pragma once

#include <bit>
#include <cstdint>

namespace plumb::inline v0 {

/// Widens a bfloat16 (1 sign, 8 exponent, 7 fraction bits): it is the upper half of a float, so nothing is lost.
constexpr float bf16_to_f32(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Rounds a float to bfloat16, ties to even; overflow gives infinity and every NaN stays a (quiet) NaN.
constexpr std::uint16_t f32_to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);
  const std::uint32_t half_minus_one = 0x7fffu + ((bits >> 16) & 1u);  // an exact tie goes up only from an odd result
  return static_cast<std::uint16_t>((bits + half_minus_one) >> 16);
}

/// Widens an IEEE half (1 sign, 5 exponent, 10 fraction bits), subnormals, infinities and NaN payloads included.
constexpr float f16_to_f32(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal: an integer times a power of two
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// Rounds a float to IEEE half, ties to even; magnitudes from 65520 up give infinity, every NaN stays a (quiet) NaN.
constexpr std::uint16_t f32_to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 = halfway past 65504
  if (magnitude >= 0x38800000u) {  // 2^-14: normal as a half; rounding may carry into the exponent, as it should
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
  }
  if (magnitude < 0x33000000u) return sign;              // below half of the smallest subnormal, 2^-25
  const std::uint32_t shift = 126u - (magnitude >> 23);  // subnormal: units of 2^-24
  const std::uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u;
  const std::uint32_t kept = fraction >> shift;
  const std::uint32_t rest = fraction & ((1u << shift) - 1u);
  const std::uint32_t half = 1u << (shift - 1u);
  const bool up = rest > half || (rest == half && (kept & 1u) != 0);
  return static_cast<std::uint16_t>(sign | (kept + (up ? 1u : 0u)));
}

}  // namespace plumb::inline v0
