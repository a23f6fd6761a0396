// SPDX-License-Identifier: BSL-1.0
// Regular expressions for names: does a whole text match? In time proportional to the text, whatever the expression.
// Bodies: pattern_impl.hpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace plumb::inline v0 {

namespace detail {
struct pattern_program;
}  // namespace detail

/// A regular expression that a whole text matches or not, as Python's `re.fullmatch` decides.
///
/// Characters, `.`, sets `[a-z_]` `[^…]`, `\d \w \s` and their opposites, groups `(…)` `(?:…)`, `|`, `* + ? {m,n}`, and
/// the anchors `^ $ \A \Z`. The classes hold ASCII only; a character beyond ASCII in the text counts as one character.
/// Throws errc::bad_argument for a malformed expression and errc::unsupported for look-around, back-references, flags and
/// expressions too large to match quickly; both say the position. Time is O(text · expression).
class pattern {
 public:
  explicit pattern(std::string_view regex);

  [[nodiscard]] bool matches(std::string_view whole_text) const;

  /// The expression as it was given.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
  std::shared_ptr<const detail::pattern_program> program_;  // shared by copies
};

}  // namespace plumb::inline v0
