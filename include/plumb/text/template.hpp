// SPDX-License-Identifier: BSL-1.0
// A small, strict Jinja: the template language in which models describe how a conversation becomes text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <plumb/io/json_fwd.hpp>
#include <plumb/text/chat_format.hpp>

namespace plumb::inline v0 {

/// What rendering may cost; a template that wants more is an error, never a hang or a full memory.
struct template_limits {
  std::size_t steps = 20'000'000;            ///< nodes visited, items and 64-byte pieces handled
  std::size_t bytes = std::size_t{1} << 29;  ///< of all texts made on the way; one text has 16 MiB at most
  int depth = 500;                           ///< calls and expressions inside one another
};

/// What a template sees apart from its variables.
struct template_options {
  template_limits limits{};
  std::optional<std::string> today{};     ///< what strftime_now answers, whatever its format; otherwise the clock
  std::optional<std::int64_t> seconds{};  ///< the clock: seconds since 1970 in local time; otherwise the system's
};

namespace detail::jinja {
struct syntax;
}  // namespace detail::jinja

/// A compiled template: Jinja 3.1 as transformers sets it up (trim_blocks, lstrip_blocks, loop controls, `generation`
/// blocks, tojson without HTML escapes, values that cannot be changed).
///
/// Copies share the compiled form, which is constant: threads may render at the same time. Not there: include, import,
/// extends, recursive loops. Syntax errors are `bad_file` at `place:line`, errors while rendering and raise_exception
/// `bad_data` at `place:line`.
class text_template {
 public:
  /// Compiles; `place` names the template in errors.
  explicit text_template(std::string_view source, std::string_view place = "template");

  /// Renders with these variables, an object by name. Where the template marks the assistant's text with
  /// `{% generation %}`, `assistant` has its bytes.
  [[nodiscard]] rendered_chat render(const json::object& variables, const template_options& options = {}) const;

  /// Does the template mark the assistant's text?
  [[nodiscard]] bool has_generation() const noexcept;

 private:
  std::shared_ptr<const detail::jinja::syntax> syntax_;
};

}  // namespace plumb::inline v0
