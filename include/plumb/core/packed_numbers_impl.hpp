// SPDX-License-Identifier: BSL-1.0
// Function bodies of core/packed_numbers.hpp; compiled once per program.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include <plumb/core/error.hpp>
#include <plumb/core/packed_numbers.hpp>

namespace plumb::inline v0 {

namespace detail {

inline constexpr std::array<float, 16> nf4_numbers{-1.0F,
                                                   -0.6961928009986877F,
                                                   -0.5250730514526367F,
                                                   -0.39491748809814453F,
                                                   -0.28444138169288635F,
                                                   -0.18477343022823334F,
                                                   -0.09105003625154495F,
                                                   0.0F,
                                                   0.07958029955625534F,
                                                   0.16093020141124725F,
                                                   0.24611230194568634F,
                                                   0.33791524171829224F,
                                                   0.44070982933044434F,
                                                   0.5626170039176941F,
                                                   0.7229568362236023F,
                                                   1.0F};

/// ±10^(i − 6) · (the middle of the k-th of 2^i equal parts of [0.1, 1]), i = 0 … 6, and 0 and 1; each end of a part is
/// start + k · step rounded once, counted from the nearer end of the interval, as the tables in the files were made.
constexpr std::array<float, 256> make_dynamic_map() {
  constexpr std::array<float, 7> tens{1e-6F, 1e-5F, 1e-4F, 1e-3F, 1e-2F, 1e-1F, 1.0F};
  std::array<float, 256> out{};  // the zero lies in the middle already
  out[255] = 1;
  std::size_t above = 128;
  for (std::size_t i = 0; i < tens.size(); ++i) {
    const int parts = 1 << i;
    const float step = (1.0F - 0.1F) / static_cast<float>(parts);
    const auto end = [&](int k) {
      return k < (parts + 1) / 2 ? static_cast<float>(static_cast<double>(0.1F) + static_cast<double>(step) * k)
                                 : static_cast<float>(1.0 - static_cast<double>(step) * (parts - k));
    };
    for (int k = 0; k < parts; ++k, ++above) {
      const float number = tens[i] * ((end(k) + end(k + 1)) / 2);
      out[above] = number;
      out[254 - above] = -number;
    }
  }
  return out;
}
inline constexpr std::array<float, 256> dynamic_numbers = make_dynamic_map();

/// The entry of an ascending table that is nearest to x, the lower of two at the same distance.
inline std::uint8_t nearest_entry(std::span<const float> table, float x) {
  std::size_t low = 0, high = table.size() - 1;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (x > (table[middle] + table[middle + 1]) / 2)
      low = middle + 1;
    else
      high = middle;
  }
  return static_cast<std::uint8_t>(low);
}
inline float largest_magnitude(std::span<const float> x) {
  float most = 0;
  for (const float v : x) most = std::max(most, std::fabs(v));
  return most;
}
/// Codes of one block; returns its scale. An unfinished block divides, a whole one multiplies: so do those who wrote files.
template <class Put>
float quantise_block(std::span<const float> x, bool whole, std::span<const float> table, Put put) {
  const float most = largest_magnitude(x), held = std::max(most, 1e-38F), inverse = 1 / held;
  for (std::size_t i = 0; i < x.size(); ++i)
    put(i, nearest_entry(table, std::clamp(whole ? x[i] * inverse : x[i] / held, -1.0F, 1.0F)));
  return whole ? most : held;
}

inline void pack_four_bits(std::span<const float> numbers, packed_numbers& out) {
  const auto block = static_cast<std::size_t>(out.what.block), group = static_cast<std::size_t>(out.what.scale_block);
  std::copy(nf4_numbers.begin(), nf4_numbers.end(), out.table());
  std::copy(dynamic_numbers.begin(), dynamic_numbers.end(), out.scale_table());
  if (numbers.size() % 2 == 1) out.codes()[numbers.size() / 2] = 7;  // the half that nobody reads says 0
  std::vector<float> scales;
  double sum = 0;
  for (std::size_t first = 0; first < numbers.size(); first += block) {
    const auto x = numbers.subspan(first, std::min(block, numbers.size() - first));
    scales.push_back(quantise_block(x, x.size() == block, nf4_numbers, [&](std::size_t i, std::uint8_t code) {
      std::uint8_t& byte = out.codes()[(first + i) / 2];
      byte = static_cast<std::uint8_t>(byte | ((first + i) % 2 == 0 ? code << 4 : code));
    }));
    sum += static_cast<double>(scales.back());
  }
  if (scales.empty()) return;
  out.what.offset = static_cast<float>(sum / static_cast<double>(scales.size()));
  for (float& scale : scales) scale -= out.what.offset;
  for (std::size_t first = 0; first < scales.size(); first += group) {
    const auto x = std::span<const float>(scales).subspan(first, std::min(group, scales.size() - first));
    out.scales()[first / group] =
        quantise_block(x, x.size() == group, dynamic_numbers,
                       [&](std::size_t i, std::uint8_t code) { out.scale_codes()[first + i] = code; });
  }
}

inline void pack_block(packed_format format, std::span<const float> x, std::uint8_t* to) {
  if (format == packed_format::q8_0) {
    const float d = largest_magnitude(x) / 127, inverse = std::fabs(d) < 1e-38F ? 0 : 1 / d;
    const std::uint16_t stored = f32_to_f16(d);
    std::memcpy(to, &stored, 2);
    for (std::size_t i = 0; i < 32; ++i)
      to[2 + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(std::round(x[i] * inverse)));
    return;
  }
  float most = 0, largest = 0;  // q4_0: the largest number, with its sign, becomes code 0, which is -8
  for (const float v : x)
    if (most < std::fabs(v)) most = std::fabs(v), largest = v;
  const float d = largest / -8, inverse = std::fabs(d) < 1e-38F ? 0 : 1 / d;
  const std::uint16_t stored = f32_to_f16(d);
  std::memcpy(to, &stored, 2);
  const auto code = [&](float v) { return std::min(15, static_cast<int>(v * inverse + 8.5F)); };
  for (std::size_t i = 0; i < 16; ++i) to[2 + i] = static_cast<std::uint8_t>(code(x[i]) | (code(x[16 + i]) << 4));
}

}  // namespace detail

std::string_view name(packed_format format) noexcept {
  constexpr std::array<std::string_view, 12> names{"bf16", "f16",  "int8", "nf4",  "q8_0", "q4_0",
                                                   "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};
  return names[static_cast<std::size_t>(format)];
}

std::span<const float> dynamic_map() noexcept { return detail::dynamic_numbers; }
std::span<const float> nf4_map() noexcept { return detail::nf4_numbers; }

packed_parts parts_of_packed(const packed_matrix& m, bool nested) {
  constexpr index_t most = std::numeric_limits<index_t>::max() / 1024;
  if (m.rows < 0 || m.columns < 0 || m.block < 1 || m.scale_block < 1 || (m.columns > 0 && m.rows > most / m.columns))
    throw error(errc::bad_argument, "", join("a packed matrix of ", m.rows, " x ", m.columns, " cannot exist"));
  const index_t together = block_numbers(m.format), numbers = m.rows * m.columns;
  const bool four = m.format == packed_format::four_bits;
  if (!four && m.columns % together != 0)
    throw error(errc::bad_argument, "",
                join("rows of ", m.columns, " numbers do not end with a block of ", together, " of ", name(m.format),
                     "; keep this matrix in another format"));
  packed_parts p;
  p.codes = (numbers + together - 1) / together * block_bytes(m.format);
  const index_t blocks = (numbers + m.block - 1) / m.block;
  if (four) p.scale_codes = nested ? blocks : 0, p.tables = true;
  if (four) p.scales = nested ? (blocks + m.scale_block - 1) / m.scale_block : blocks;
  if (m.format == packed_format::int8) p.scales = m.rows;
  const auto after = [](std::size_t at, index_t bytes) {
    return (at + static_cast<std::size_t>(bytes) + 63) / 64 * 64;
  };
  p.scales_at = after(0, p.codes);
  p.table_at = after(p.scales_at, 4 * p.scales);
  p.scale_codes_at = p.table_at + (p.tables ? 64 : 0);
  p.scale_table_at = after(p.scale_codes_at, p.scale_codes);
  p.total = p.scale_table_at + (p.scale_codes > 0 ? 1024 : 0);
  return p;
}

packed_numbers::packed_numbers(const packed_matrix& like, bool nested) : what(like) {
  const packed_parts p = parts_of_packed(like, nested);
  bytes.resize(p.total);
  const auto floats = [&](std::size_t at) { return reinterpret_cast<const float*>(bytes.data() + at); };
  what.codes = bytes.data();
  what.scales = p.scales > 0 ? floats(p.scales_at) : nullptr;
  what.table = p.tables ? floats(p.table_at) : nullptr;
  what.scale_codes = p.scale_codes > 0 ? bytes.data() + p.scale_codes_at : nullptr;
  what.scale_table = p.scale_codes > 0 ? floats(p.scale_table_at) : nullptr;
}

packed_matrix moved_to(const packed_numbers& from, const std::uint8_t* to) noexcept {
  packed_matrix out = from.what;
  const auto move = [&](auto*& pointer) {
    using type = std::remove_reference_t<decltype(pointer)>;
    if (pointer)
      pointer = reinterpret_cast<type>(to + (reinterpret_cast<const std::uint8_t*>(pointer) - from.bytes.data()));
  };
  move(out.codes), move(out.scales), move(out.table), move(out.scale_codes), move(out.scale_table);
  return out;
}

packed_numbers pack(std::span<const float> numbers, shape extent, packed_format format) {
  if (format > packed_format::q4_0)
    throw error(errc::unsupported, "pack",
                join("plumb reads ", name(format), " but does not write it; use bf16, f16, int8, nf4, q8_0 or q4_0"));
  packed_matrix like;
  like.format = format, like.rows = extent.rows, like.columns = extent.columns;
  packed_numbers out(like, true);
  if (static_cast<index_t>(numbers.size()) != extent.size())
    throw error(errc::bad_argument, "pack", join("expected ", extent.size(), " numbers, found ", numbers.size()));
  const auto columns = static_cast<std::size_t>(extent.columns);
  const float most = format == packed_format::f16    ? 65504.0F
                     : format == packed_format::q8_0 ? 127 * 65504.0F
                     : format == packed_format::q4_0 ? 8 * 65504.0F
                                                     : 3e38F;
  for (const float x : numbers)
    if (!(std::fabs(x) <= most))
      throw error(errc::not_finite, "pack",
                  join("expected finite numbers within ", name(format), "'s range, found ", x));
  switch (format) {
    case packed_format::bf16:
    case packed_format::f16:
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        const std::uint16_t bits = format == packed_format::bf16 ? f32_to_bf16(numbers[i]) : f32_to_f16(numbers[i]);
        std::memcpy(out.codes() + 2 * i, &bits, 2);
      }
      break;
    case packed_format::int8:
      for (index_t row = 0; row < extent.rows; ++row) {
        const std::size_t first = static_cast<std::size_t>(row) * columns;
        const auto x = numbers.subspan(first, columns);
        const float largest = out.scales()[row] = detail::largest_magnitude(x);
        const float factor = largest < 1e-36F ? 0 : 127 / largest;
        for (std::size_t i = 0; i < columns; ++i)
          out.codes()[first + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(std::nearbyint(x[i] * factor)));
      }
      break;
    case packed_format::four_bits: detail::pack_four_bits(numbers, out); break;
    default: {
      const auto bytes = static_cast<std::size_t>(block_bytes(format));
      for (std::size_t first = 0; first < numbers.size(); first += 32)
        detail::pack_block(format, numbers.subspan(first, 32), out.codes() + first / 32 * bytes);
    }
  }
  return out;
}

bool all_finite(const packed_matrix& m) noexcept {
  const index_t bytes = block_bytes(m.format), blocks = m.rows * m.columns / block_numbers(m.format);
  const auto finite = [&](index_t place, std::uint16_t exponent) {
    for (index_t b = 0; b < blocks; ++b) {
      const std::uint8_t* const at = m.codes + b * bytes + place;
      if (((at[0] | (at[1] << 8)) & exponent) == exponent) return false;
    }
    return true;
  };
  constexpr std::uint16_t half = 0x7c00;
  switch (m.format) {
    case packed_format::bf16: return finite(0, 0x7f80);
    case packed_format::f16:
    case packed_format::q8_0:
    case packed_format::q4_0:
    case packed_format::q5_0: return finite(0, half);
    case packed_format::q6_k: return finite(208, half);
    case packed_format::int8:
    case packed_format::four_bits:
      for (index_t i = 0; i < parts_of_packed(m, m.scale_codes != nullptr).scales; ++i)
        if (!std::isfinite(m.scales[i])) return false;
      return std::isfinite(m.offset);
    default: return finite(0, half) && finite(2, half);
  }
}

void unpack(const packed_matrix& m, std::span<float> to) {
  for (index_t row = 0; row < m.rows; ++row)
    for (index_t column = 0; column < m.columns; ++column)
      to[static_cast<std::size_t>(row * m.columns + column)] = packed_number(m, row, column);
}

}  // namespace plumb::inline v0
