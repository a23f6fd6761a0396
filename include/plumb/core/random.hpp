// SPDX-License-Identifier: BSL-1.0
// Random words by number: word i of stream `key` is the same on every backend, in any order of asking.
#pragma once

#include <cstdint>

#include <plumb/core/philox.hpp>

namespace plumb::inline v0 {

/// Word i of the Philox stream `key`, uniform over all 32-bit numbers.
constexpr std::uint32_t philox_word(std::uint64_t key, std::uint64_t i) noexcept {
  const auto words = philox4x32({static_cast<std::uint32_t>(i >> 2), static_cast<std::uint32_t>(i >> 34), 0, 0},
                                {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
  return words[static_cast<unsigned>(i & 3)];
}

/// Words 2i and 2i + 1 of the stream as one number, uniform over all 64-bit numbers.
constexpr std::uint64_t philox_word64(std::uint64_t key, std::uint64_t i) noexcept {
  return (static_cast<std::uint64_t>(philox_word(key, 2 * i)) << 32) | philox_word(key, 2 * i + 1);
}

/// A number is dropped when its word lies below this: rate · 2³², rate in [0, 1).
constexpr std::uint32_t dropout_threshold(double rate) noexcept {
  return static_cast<std::uint32_t>(rate * 4294967296.0);
}

/// A key for an independent stream, made from a key and a label (SplitMix64's finaliser).
constexpr std::uint64_t derive_key(std::uint64_t key, std::uint64_t label) noexcept {
  std::uint64_t z = key + 0x9e3779b97f4a7c15u * (label + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace plumb::inline v0
