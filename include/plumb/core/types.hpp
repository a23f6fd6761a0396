// SPDX-License-Identifier: BSL-1.0
// The few integer types that every layer shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plumb::inline v0 {

/// A size, a row or a position. Signed, so that a difference of two is what it looks like.
using index_t = std::int64_t;

/// An entry of a vocabulary.
using token_id = std::int32_t;

/// Which adapter a sequence runs with where a model has several: a number from 0, or one of these two.
inline constexpr index_t own_adapter = -1;  ///< the one on the model, if there is one
inline constexpr index_t no_adapter = -2;   ///< the bare model

}  // namespace plumb::inline v0
