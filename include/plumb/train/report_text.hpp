// SPDX-License-Identifier: BSL-1.0
// Texts of reports: escaping for HTML, and numbers, sizes and times written for people.
#pragma once

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/utf8.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace plumb::inline v0 {

namespace detail {

/// What a reader sees instead of a code point that would be invisible, forbidden in HTML, or turn its neighbours round.
constexpr char32_t visible(char32_t c) noexcept {
  if (c < 0x20) return 0x2400 + c;
  if (c == 0x7F) return 0x2421;
  const bool turns = (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  const bool forbidden = (c >= 0x80 && c <= 0x9F) || (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
  return turns || forbidden ? replacement_character : c;
}

}  // namespace detail

/// Text made safe for HTML and SVG, inside an element or inside a quoted attribute. The five special characters become
/// references. What a language model may utter besides is made visible: bytes that are no UTF-8 become U+FFFD, control
/// characters (except newline and tab) become their pictures (U+2400 …), and the characters that turn the reading
/// direction (U+202A…E, U+2066…9) become U+FFFD, so that no text can disguise its neighbours.
inline std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    at += step.size;
    const char32_t c = step.code;
    switch (c) {
      case U'&': out += "&amp;"; break;
      case U'<': out += "&lt;"; break;
      case U'>': out += "&gt;"; break;
      case U'"': out += "&quot;"; break;
      case U'\'': out += "&#39;"; break;
      case U'\n':
      case U'\t': out += static_cast<char>(c); break;
      default: append_utf8(out, detail::visible(c));
    }
  }
  return out;
}

namespace detail {

/// `value` with exactly `decimals` digits after the point.
inline std::string fixed(double value, int decimals) {
  std::array<char, 400> digits{};  // 1e308 has 309 digits before the point
  const auto [end, status] =
      std::to_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed, decimals);
  return status == std::errc() ? std::string(digits.data(), end) : join(value);
}

/// Puts a comma between groups of three digits of the whole part.
inline std::string group_digits(std::string digits) {
  std::size_t point = digits.find('.');
  if (point == std::string::npos) point = digits.size();
  const std::size_t begin = !digits.empty() && digits.front() == '-' ? 1 : 0;
  for (std::size_t at = point; at > begin + 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

/// Removes zeros at the end of a fraction: "0.500" → "0.5", "2.0" → "2".
inline std::string trim_zeros(std::string digits) {
  if (digits.find('.') == std::string::npos) return digits;
  while (digits.back() == '0') digits.pop_back();
  if (digits.back() == '.') digits.pop_back();
  return digits == "-0" ? "0" : digits;
}

}  // namespace detail

namespace detail {

/// A leading hyphen becomes a minus sign, which is as wide as a digit.
inline std::string with_minus(std::string digits) {
  if (!digits.empty() && digits.front() == '-') digits.replace(0, 1, "\u2212");
  return digits;
}

/// "10⁻⁵": a power of ten in raised digits.
inline std::string power_of_ten(int exponent) {
  constexpr std::array<std::string_view, 10> raised = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = exponent < 0 ? "10⁻" : "10";
  for (const char digit : join(exponent < 0 ? -exponent : exponent))
    out += raised[static_cast<std::size_t>(digit - '0')];
  return out;
}

}  // namespace detail

/// A number for people: whole numbers below 9×10¹⁵ in full, others with `significant` digits and, outside [10⁻⁴, 10⁷),
/// as 2.5×10⁻⁵. Not for reading back (that is what `join` is for).
inline std::string human_number(double value, int significant = 4) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 9e15 && std::trunc(value) == value)
    return detail::with_minus(detail::group_digits(detail::fixed(value, 0)));
  const int exponent = static_cast<int>(std::floor(std::log10(size)));
  if (size >= 1e-4 && size < 1e7) {
    const int decimals = significant > exponent + 1 ? significant - exponent - 1 : 0;
    return detail::with_minus(detail::group_digits(detail::trim_zeros(detail::fixed(value, decimals))));
  }
  // Two divisions: 10 to the power of a subnormal's exponent is itself subnormal or zero.
  const double mantissa = value / std::pow(10.0, exponent / 2) / std::pow(10.0, exponent - exponent / 2);
  const std::string digits = detail::trim_zeros(detail::fixed(mantissa, significant - 1));
  if (digits == "10" || digits == "-10")  // 9.9999 was rounded up
    return detail::with_minus(join(value < 0 ? "-1×" : "1×", detail::power_of_ten(exponent + 1)));
  return detail::with_minus(join(digits, "×", detail::power_of_ten(exponent)));
}

/// A number of bytes in binary units: "1.5 GiB".
inline std::string human_bytes(double bytes) {
  constexpr std::array<std::string_view, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return join(detail::trim_zeros(detail::fixed(bytes, unit == 0 || bytes >= 100 ? 0 : 1)), " ", units[unit]);
}

/// A time span: "0.42 s", "48 s", "12 min 3 s", "2 h 5 min", "3 d 4 h".
inline std::string human_duration(double seconds) {
  if (!(seconds >= 0) || std::isinf(seconds)) return "unknown";
  if (seconds < 10) return join(detail::trim_zeros(detail::fixed(seconds, 2)), " s");
  if (seconds > 1e15) return join(human_number(seconds / 86400), " d");
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return join(whole, " s");
  if (whole < 3600) return join(whole / 60, " min ", whole % 60, " s");
  if (whole < 86400) return join(whole / 3600, " h ", whole % 3600 / 60, " min");
  return join(whole / 86400, " d ", whole % 86400 / 3600, " h");
}

}  // namespace plumb::inline v0
