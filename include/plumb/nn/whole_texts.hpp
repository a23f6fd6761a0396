// SPDX-License-Identifier: BSL-1.0
// Texts of a forest, each laid out as a whole: encoders cannot share the beginnings of texts.
#pragma once

#include <span>
#include <vector>

#include <plumb/nn/forest.hpp>

namespace plumb::inline v0 {

/// The paths that end in chosen segments, as texts of their own.
struct whole_texts {
  batch_layout layout;
  std::vector<std::int32_t> first_rows;  ///< [chosen] row of the first token of each one's text
};

/// The texts through the segments of these rows, in order; rows of one segment share its text.
whole_texts make_whole_texts(const batch_layout& from, std::span<const std::int32_t> rows);

}  // namespace plumb::inline v0
