// SPDX-License-Identifier: BSL-1.0
// One exception type for the whole library: what went wrong, where, and how to mend it.
#pragma once

#include <charconv>
#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace plumb::inline v0 {

/// What kind of failure an `error` reports; programs branch on it, people read the message.
enum class errc {
  bad_argument,   ///< the caller passed something outside the documented range
  bad_file,       ///< a file's content is wrong: truncated, malformed, inconsistent
  bad_model,      ///< a model, adapter or tokenizer does not fit its own configuration or its partner
  bad_data,       ///< a row of training data cannot be used
  not_found,      ///< a file, tensor or name does not exist
  io,             ///< the operating system refused to read or write
  unsupported,    ///< valid input that plumb does not handle yet
  out_of_memory,  ///< a device could not provide the memory asked for
  not_finite,     ///< a loss, gradient or weight is NaN or infinite
  cancelled,      ///< a callback asked to stop
  device,         ///< an accelerator failed
};

/// The name of a code as it is written in the documentation.
constexpr std::string_view name(errc code) noexcept {
  switch (code) {
    case errc::bad_argument: return "bad_argument";
    case errc::bad_file: return "bad_file";
    case errc::bad_model: return "bad_model";
    case errc::bad_data: return "bad_data";
    case errc::not_found: return "not_found";
    case errc::io: return "io";
    case errc::unsupported: return "unsupported";
    case errc::out_of_memory: return "out_of_memory";
    case errc::not_finite: return "not_finite";
    case errc::cancelled: return "cancelled";
    case errc::device: return "device";
  }
  return "unknown";
}

/// The only exception that plumb throws of itself; `what()` reads "place: message".
class error : public std::runtime_error {
 public:
  error(errc code, std::string place, std::string_view message)
      : std::runtime_error(place.empty() ? std::string(message) : place + ": " + std::string(message)),
        code_(code),
        place_(std::move(place)) {}

  [[nodiscard]] errc code() const noexcept { return code_; }
  /// A file, `file:line`, tensor or option name; empty when there is none.
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

 private:
  errc code_;
  std::string place_;
};

namespace detail {

inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
template <std::same_as<bool> Bool>  // a template, or a string literal would become a bool
void append(std::string& out, Bool b) {
  out += b ? "true" : "false";
}
template <class Number>
  requires((std::integral<Number> && !std::same_as<Number, bool>) || std::floating_point<Number>)
void append(std::string& out, Number value) {
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;  // shortest text that reads back exactly
  out.append(digits, end);
}

}  // namespace detail

/// Joins texts and numbers into one string, for messages; numbers read back exactly.
template <class... Parts>
std::string join(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

}  // namespace plumb::inline v0
