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

}  // namespace plumb::inline v0
