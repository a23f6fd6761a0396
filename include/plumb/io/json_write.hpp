// SPDX-License-Identifier: BSL-1.0
// JSON values to text: the shortest digits that read back exactly, always valid UTF-8. Bodies: json_write_impl.hpp.
#pragma once

#include <string>
#include <string_view>

#include <plumb/io/json_fwd.hpp>

namespace plumb::inline v0::json {

namespace detail {

/// Appends a text in quotes, escaped; bytes that are not UTF-8 become U+FFFD.
void write_string(std::string& out, std::string_view text);

}  // namespace detail

/// A value as JSON text: on one line, or with `indent` blanks per level (then one item a line).
///
/// Numbers have the shortest digits that read back exactly; a double keeps a point or exponent. Bytes that are not UTF-8
/// become U+FFFD, so the text is always valid. A NaN or infinity throws `not_finite`: JSON cannot say it.
std::string dump(const value& v, int indent = -1);

}  // namespace plumb::inline v0::json
