// SPDX-License-Identifier: BSL-1.0
// Counter-based random numbers (Philox4x32-10): number i of a stream is a pure function of i, on every backend.
#pragma once

#include <array>
#include <cstdint>

// An ordinary generator is a chain: number 1000 needs the 999 before it, so results depend on who asks first. Philox
// scrambles a counter with a key instead. Any thread, on a CPU or a GPU, in any order, computes number i for itself and
// all agree; a checkpoint stores three integers. (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011.) Integers and uniform numbers are equal bit for bit everywhere; `normal` calls log and cos,
// so its last digit may depend on the platform's mathematics library.

namespace plumb::inline v0 {

/// Four random words from a counter of four words and a key of two: ten rounds of multiply, exclusive-or, permute.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t left = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t right = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(right),
               static_cast<std::uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(left)};
    key[0] += 0x9E3779B9u;  // the golden ratio and √3 - 1, as 32-bit fractions
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// A float in [0, 1) from the upper 24 bits of a word; every value is a multiple of 2⁻²⁴.
constexpr float uniform_float(std::uint32_t word) noexcept { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// A double in [0, 1) from the upper 53 bits of two words; every value is a multiple of 2⁻⁵³.
constexpr double uniform_double(std::uint32_t high, std::uint32_t low) noexcept {
  const std::uint64_t bits = (std::uint64_t{high} << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

/// A standard normal number from two uniform ones in [0, 1) (Box and Muller 1958). Finite for all of them.
template <class T>
constexpr T box_muller(T radius, T angle) noexcept {
  // 1 - radius lies in (0, 1], so the logarithm is finite.
  return static_cast<T>(__builtin_sqrt(-2.0 * __builtin_log(1.0 - static_cast<double>(radius))) *
                        __builtin_cos(6.283185307179586476925286766559 * static_cast<double>(angle)));
}

/// One of 2⁶⁴ independent streams under a seed. Random access by index, or in sequence with `next_…`.
///
/// State to store in a checkpoint: seed, stream, position.
struct philox_stream {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;    ///< which stream; for instance a rank, a purpose or a row
  std::uint64_t position = 0;  ///< index of the next block of four words for the `next_…` functions

  /// Block i: four random words.
  [[nodiscard]] constexpr std::array<std::uint32_t, 4> block(std::uint64_t i) const noexcept {
    return philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32),
                       static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
  /// Uniform in [0, 1), from block i.
  [[nodiscard]] constexpr float uniform_float_at(std::uint64_t i) const noexcept { return uniform_float(block(i)[0]); }
  [[nodiscard]] constexpr double uniform_at(std::uint64_t i) const noexcept {
    const auto words = block(i);
    return uniform_double(words[0], words[1]);
  }
  /// Standard normal (mean 0, variance 1), from block i.
  [[nodiscard]] constexpr double normal_at(std::uint64_t i) const noexcept {
    const auto words = block(i);
    return box_muller(uniform_double(words[0], words[1]), uniform_double(words[2], words[3]));
  }

  constexpr double next_uniform() noexcept { return uniform_at(position++); }
  constexpr double next_normal() noexcept { return normal_at(position++); }
  /// Uniform in 0 … count - 1 without bias; count of at least 1. Draws again (rarely) rather than favour small numbers.
  constexpr std::uint64_t next_below(std::uint64_t count) noexcept {
    const std::uint64_t unfair = (0 - count) % count;  // 2⁶⁴ mod count: that many words would be one too many
    for (;;) {
      const auto words = block(position++);
      const std::uint64_t word = std::uint64_t{words[0]} << 32 | words[1];
      if (word >= unfair) return word % count;
    }
  }
};

}  // namespace plumb::inline v0
