// SPDX-License-Identifier: BSL-1.0
// The version of the library as numbers and as text; `PLUMB_VERSION` in config.hpp is where it is written down.
#pragma once

#include <plumb/config.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace plumb::inline v0 {

inline constexpr int version_major = PLUMB_VERSION / 10000;
inline constexpr int version_minor = PLUMB_VERSION / 100 % 100;
inline constexpr int version_patch = PLUMB_VERSION % 100;

namespace detail {

struct version_text {
  std::array<char, 8> characters{};
  std::size_t size = 0;

  constexpr void add(int number) {
    if (number >= 10) characters[size++] = static_cast<char>('0' + number / 10);
    characters[size++] = static_cast<char>('0' + number % 10);
  }

  constexpr version_text() {
    add(version_major);
    characters[size++] = '.';
    add(version_minor);
    characters[size++] = '.';
    add(version_patch);
  }
};

inline constexpr version_text written_version{};

}  // namespace detail

/// The version as it is written, for example "1.20.3".
inline constexpr std::string_view version{detail::written_version.characters.data(), detail::written_version.size};

}  // namespace plumb::inline v0
