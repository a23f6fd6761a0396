// SPDX-License-Identifier: BSL-1.0
// The bytes of a GGUF file in order: numbers, texts, values and descriptions of tensors, each checked against the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf.hpp>

namespace plumb::inline v0::detail {

/// Bytes of a value of fixed size; 0 for text and arrays.
inline std::size_t size_of(gguf_kind kind) noexcept {
  switch (kind) {
    case gguf_kind::u8:
    case gguf_kind::i8:
    case gguf_kind::boolean: return 1;
    case gguf_kind::u16:
    case gguf_kind::i16: return 2;
    case gguf_kind::u32:
    case gguf_kind::i32:
    case gguf_kind::f32: return 4;
    case gguf_kind::u64:
    case gguf_kind::i64:
    case gguf_kind::f64: return 8;
    default: return 0;
  }
}

/// Throws `bad_file` with the stable word for this kind of failure in front.
[[noreturn]] inline void bad_gguf(const std::string& place, std::string_view word, std::string_view message) {
  throw error(errc::bad_file, place, join(word, ": ", message));
}

/// A name from a file, fit for a message: at most 80 characters, control characters and bytes above 126 as ?.
inline std::string shown(std::string_view name) {
  std::string out(name.substr(0, 80));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return out + (name.size() > 80 ? "…" : "");
}

/// Reads a file's bytes in order; every step is checked against the end.
class gguf_cursor {
 public:
  gguf_cursor(std::span<const std::byte> file, const std::string& place) : file_(file), place_(place) {}

  [[nodiscard]] std::size_t at() const noexcept { return at_; }
  [[nodiscard]] std::size_t left() const noexcept { return file_.size() - at_; }

  std::span<const std::byte> take(std::uint64_t size, std::string_view what) {
    if (size > left())
      bad_gguf(place_, "Truncated",
               join("expected ", size, " bytes for ", what, " at byte ", at_, ", the file has ", left(),
                    " more; it is cut off or damaged"));
    const auto out = file_.subspan(at_, static_cast<std::size_t>(size));
    at_ += static_cast<std::size_t>(size);
    return out;
  }
  template <class Number>
  Number number(std::string_view what) {
    Number out;
    std::memcpy(&out, take(sizeof out, what).data(), sizeof out);
    return out;
  }
  std::string_view text(std::string_view what) {
    const auto bytes = take(number<std::uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  gguf_kind kind(std::string_view what) {
    const auto type = number<std::uint32_t>(what);
    if (type > static_cast<std::uint32_t>(gguf_kind::f64))
      bad_gguf(place_, "InvalidValue", join(what, ": expected a value type from 0 to 12, found ", type));
    return static_cast<gguf_kind>(type);
  }

  gguf_value value(gguf_kind kind, std::string_view what, int depth = 0) {
    gguf_value out;
    out.kind = kind;
    if (kind == gguf_kind::text) {
      out.bytes = std::as_bytes(std::span(text(what)));
    } else if (kind != gguf_kind::array) {
      out.bytes = take(size_of(kind), what);
    } else {
      if (depth == 4) bad_gguf(place_, "InvalidValue", join(what, ": arrays lie in one another deeper than 4"));
      out.items = this->kind(what);
      const auto count = number<std::uint64_t>(what);
      // The least that an item takes: its own size, the length of a text, or kind and count of an inner array.
      const std::size_t item = size_of(out.items), least = item > 0 ? item : out.items == gguf_kind::text ? 8 : 12;
      if (count > left() / least)
        bad_gguf(place_, "InvalidCount",
                 join(what, ": an array of ", count, " values does not fit into the ", left(), " bytes that follow"));
      out.count = static_cast<std::size_t>(count);
      const std::size_t begin = at_;
      if (item > 0) {
        take(count * item, what);
      } else {
        for (std::size_t i = 0; i < out.count; ++i) (void)value(out.items, what, depth + 1);
      }
      out.bytes = file_.subspan(begin, at_ - begin);
    }
    return out;
  }

 private:
  std::span<const std::byte> file_;
  const std::string& place_;
  std::size_t at_ = 0;
};

/// One tensor's description; its offset is still counted from the start of the data.
inline gguf_tensor read_gguf_tensor(gguf_cursor& cursor, const std::string& place) {
  gguf_tensor out;
  out.name = cursor.text("a tensor's name");
  const std::string what = join("tensor \"", shown(out.name), "\"");
  if (out.name.empty() || out.name.size() > 1024)
    bad_gguf(place, "InvalidTensor", join(what, ": expected a name of 1 to 1024 bytes, found ", out.name.size()));
  const auto dimensions = cursor.number<std::uint32_t>(what);
  if (dimensions > 4)
    bad_gguf(place, "InvalidShape", join(what, ": expected at most 4 dimensions, found ", dimensions));
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<index_t>::max());
  std::uint64_t elements = 1, inner = 1;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.number<std::uint64_t>(what);
    if (size > most || (size != 0 && elements > most / size))
      bad_gguf(place, "InvalidShape", join(what, ": the sizes multiply to more than 2^63"));
    if (i == 0) inner = size;
    elements *= size;
    out.shape.insert(out.shape.begin(), static_cast<index_t>(size));
  }
  const auto type = cursor.number<std::uint32_t>(what);
  const ggml_layout* const layout = layout_of(type);
  if (layout == nullptr)
    throw error(errc::unsupported, place,
                join("InvalidTensor: ", what, " has the number format ", type, ", which plumb does not know"));
  if (inner % layout->numbers != 0)
    bad_gguf(place, "InvalidShape",
             join(what, ": rows of ", inner, " numbers are no multiple of the ", layout->numbers, " in a block of ",
                  layout->name));
  if (elements / layout->numbers > most / layout->bytes)
    bad_gguf(place, "InvalidShape", join(what, " needs more than 2^63 bytes"));
  out.type = layout->type;
  out.elements = static_cast<index_t>(elements);
  out.bytes = static_cast<std::size_t>(elements / layout->numbers * layout->bytes);
  const auto offset = cursor.number<std::uint64_t>(what);
  if (offset > most) bad_gguf(place, "InvalidOffset", join(what, " begins at byte ", offset, ", beyond any file"));
  out.begin = static_cast<std::size_t>(offset);
  return out;
}

}  // namespace plumb::inline v0::detail
