// SPDX-License-Identifier: BSL-1.0
// Function bodies of io/gguf.hpp; compiled once per program.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/io/gguf_cursor.hpp>

namespace plumb::inline v0 {

namespace detail {

template <class Number>
Number load_as(std::span<const std::byte> bytes) noexcept {
  Number out{};
  if (bytes.size() >= sizeof out) std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

/// Calls `f(number)` with the stored number in its own type; nothing for text and arrays.
template <class F>
auto with_number(const gguf_value& v, F f) {
  switch (v.kind) {
    case gguf_kind::u8: return f(load_as<std::uint8_t>(v.bytes));
    case gguf_kind::i8: return f(load_as<std::int8_t>(v.bytes));
    case gguf_kind::u16: return f(load_as<std::uint16_t>(v.bytes));
    case gguf_kind::i16: return f(load_as<std::int16_t>(v.bytes));
    case gguf_kind::u32: return f(load_as<std::uint32_t>(v.bytes));
    case gguf_kind::i32: return f(load_as<std::int32_t>(v.bytes));
    case gguf_kind::u64: return f(load_as<std::uint64_t>(v.bytes));
    case gguf_kind::i64: return f(load_as<std::int64_t>(v.bytes));
    case gguf_kind::f32: return f(load_as<float>(v.bytes));
    case gguf_kind::f64: return f(load_as<double>(v.bytes));
    case gguf_kind::boolean: return f(static_cast<std::uint8_t>(load_as<std::uint8_t>(v.bytes) != 0));
    default: return f(std::uint8_t{0});
  }
}

/// The order of items by name; the first name that comes twice is given to `twice`.
template <class Items, class Name, class Twice>
std::vector<std::size_t> order_by_name(const Items& items, Name name_of, Twice twice) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return name_of(items[a]) < name_of(items[b]); });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (name_of(items[order[i - 1]]) == name_of(items[order[i]])) twice(name_of(items[order[i]]));
  return order;
}

template <class Items, class Name>
std::size_t find_by_name(const Items& items, std::span<const std::size_t> order, std::string_view name, Name name_of) {
  const auto at = std::lower_bound(order.begin(), order.end(), name,
                                   [&](std::size_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  return at != order.end() && name_of(items[*at]) == name ? *at : items.size();
}

}  // namespace detail

std::string_view name(gguf_kind kind) noexcept {
  constexpr std::string_view names[] = {"u8",      "i8",   "u16",   "i16", "u32", "i32", "f32",
                                        "boolean", "text", "array", "u64", "i64", "f64"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view gguf_value::text() const noexcept {
  return is_text() ? std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()) : std::string_view();
}

double gguf_value::number() const noexcept {
  return detail::with_number(*this, [](auto x) { return static_cast<double>(x); });
}

std::optional<std::int64_t> gguf_value::integer() const noexcept {
  if (!is_number() || kind == gguf_kind::f32 || kind == gguf_kind::f64) return std::nullopt;
  if (kind == gguf_kind::u64 && detail::load_as<std::uint64_t>(bytes) >> 63 != 0) return std::nullopt;
  return detail::with_number(*this, [](auto x) {
    if constexpr (std::is_integral_v<decltype(x)>)
      return static_cast<std::int64_t>(x);
    else
      return std::int64_t{0};
  });
}

std::vector<gguf_value> gguf_value::list() const {
  std::vector<gguf_value> out;
  if (!is_array()) return out;
  const std::string place;
  detail::gguf_cursor cursor(bytes, place);
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) out.push_back(cursor.value(items, "an item"));
  return out;
}

gguf_file gguf_file::open(const std::filesystem::path& path) { return gguf_file(path); }

gguf_file::gguf_file(const std::filesystem::path& path) : path_(path), file_(path) {
  const std::string place = path.string();
  detail::gguf_cursor cursor(file_.bytes(), place);
  if (file_.size() < 4 || file_.text().substr(0, 4) != "GGUF")
    detail::bad_gguf(place, "NotGguf", "expected the file to begin with \"GGUF\"; is this a GGUF file?");
  cursor.take(4, "the magic");
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version == 0 || (version & 0xFFFFu) == 0)
    throw error(errc::unsupported, place,
                "the file is big-endian; convert it with gguf_convert_endian.py of llama.cpp");
  if (version != 2 && version != 3)
    throw error(errc::unsupported, place,
                join("GGUF version ", version, "; plumb reads versions 2 and 3: convert the model again"));
  version_ = static_cast<int>(version);
  const auto tensor_count = cursor.number<std::uint64_t>("the number of tensors");
  const auto key_count = cursor.number<std::uint64_t>("the number of keys");
  // The least that a key (length, kind, one byte) and a tensor (length, name, dimensions, format, offset) take.
  if (key_count > cursor.left() / 13)
    detail::bad_gguf(place, "InvalidCount", join("the file claims ", key_count, " keys, more than fit into it"));
  if (tensor_count > cursor.left() / 24)
    detail::bad_gguf(place, "InvalidCount", join("the file claims ", tensor_count, " tensors, more than fit into it"));

  for (std::uint64_t i = 0; i < key_count; ++i) {
    entry next;
    next.key = cursor.text("a key");
    if (next.key.empty() || next.key.size() > 65535)
      detail::bad_gguf(place, "InvalidKey", join("expected keys of 1 to 65535 bytes, found ", next.key.size()));
    const std::string what = join("key \"", detail::shown(next.key), "\"");
    next.value = cursor.value(cursor.kind(what), what);
    metadata_.push_back(next);
  }
  const auto key_of = [](const entry& e) { return e.key; };
  keys_by_name_ = detail::order_by_name(metadata_, key_of, [&](std::string_view key) {
    detail::bad_gguf(place, "DuplicateKey", join("the key \"", detail::shown(key), "\" is there twice"));
  });
  std::size_t alignment = 32;
  if (const gguf_value* const v = find("general.alignment")) {
    const auto wanted = v->integer().value_or(0);
    if (v->kind != gguf_kind::u32 || wanted < 1 || wanted > (1 << 24) || (wanted & (wanted - 1)) != 0)
      detail::bad_gguf(place, "InvalidAlignment",
                       join("\"general.alignment\": expected a u32 power of two up to 2^24, found ", wanted, " (",
                            plumb::name(v->kind), ")"));
    alignment = static_cast<std::size_t>(wanted);
  }

  for (std::uint64_t i = 0; i < tensor_count; ++i) tensors_.push_back(detail::read_gguf_tensor(cursor, place));
  const auto up = [&](std::size_t x) { return (x + alignment - 1) / alignment * alignment; };
  const std::size_t data = up(cursor.at());
  std::sort(tensors_.begin(), tensors_.end(), [](const gguf_tensor& a, const gguf_tensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.bytes != b.bytes ? a.bytes < b.bytes : a.name < b.name;
  });
  std::size_t covered = 0;
  for (gguf_tensor& tensor : tensors_) {
    const std::string what = join("tensor \"", detail::shown(tensor.name), "\"");
    if (tensor.begin != covered)
      detail::bad_gguf(place, "InvalidOffset",
                       join(what, " begins at byte ", tensor.begin, " of the data, expected ", covered,
                            tensor.begin < covered ? ": it overlaps another tensor" : ": there is a hole before it"));
    const std::size_t room = file_.size() > data ? file_.size() - data : 0;
    if (tensor.begin > room || tensor.bytes > room - tensor.begin)
      detail::bad_gguf(place, "Truncated",
                       join(what, " needs ", tensor.bytes, " bytes from byte ", tensor.begin,
                            " of the data, the file has ", room, "; it is cut off"));
    covered = up(tensor.begin + tensor.bytes);
    tensor.begin += data;
  }
  const auto name_of = [](const gguf_tensor& t) { return t.name; };
  tensors_by_name_ = detail::order_by_name(tensors_, name_of, [&](std::string_view twice) {
    detail::bad_gguf(place, "DuplicateTensor", join("the tensor \"", detail::shown(twice), "\" is there twice"));
  });
  if (integer_or("split.count", 1) > 1)
    throw error(errc::unsupported, place,
                join("this is one of ", integer_or("split.count", 1),
                     " parts of a model; put them together with llama.cpp's gguf-split --merge"));
}

const gguf_tensor* gguf_file::find_tensor(std::string_view wanted) const {
  const auto at = detail::find_by_name(tensors_, tensors_by_name_, wanted, [](const gguf_tensor& t) { return t.name; });
  return at == tensors_.size() ? nullptr : &tensors_[at];
}

const gguf_value* gguf_file::find(std::string_view key) const {
  const auto at = detail::find_by_name(metadata_, keys_by_name_, key, [](const entry& e) { return e.key; });
  return at == metadata_.size() ? nullptr : &metadata_[at].value;
}

void gguf_file::read(const gguf_tensor& tensor, std::span<float> out) const {
  if (static_cast<std::size_t>(tensor.elements) != out.size())
    throw error(errc::bad_argument, path_.string(),
                join("tensor \"", tensor.name, "\" has ", tensor.elements, " numbers, expected ", out.size()));
  read_part(tensor, 0, out);
}

std::span<const std::byte> gguf_file::bytes_of_part(const gguf_tensor& tensor, index_t first, index_t count) const {
  const auto& layout = layout_of(tensor.type);
  const auto block = static_cast<index_t>(layout.numbers);
  if (first < 0 || count < 0 || count > tensor.elements || first > tensor.elements - count || first % block != 0 ||
      count % block != 0)
    throw error(errc::bad_argument, path_.string(),
                join("tensor \"", tensor.name, "\" has ", tensor.elements, " numbers in blocks of ", block,
                     ", expected ", count, " from number ", first, " on"));
  return bytes(tensor).subspan(static_cast<std::size_t>(first / block) * layout.bytes,
                               static_cast<std::size_t>(count / block) * layout.bytes);
}

void gguf_file::read_part(const gguf_tensor& tensor, index_t first, std::span<float> out) const {
  const auto stored = bytes_of_part(tensor, first, static_cast<index_t>(out.size()));
  try {
    dequantize(tensor.type, stored, out);
    file_.release(stored);
  } catch (const error& problem) {
    throw error(problem.code(), join(path_.string(), ", tensor \"", detail::shown(tensor.name), "\""), problem.what());
  }
}

namespace detail {

/// The value of a key as what `get` takes from it, or the error that it is missing or of another kind.
template <class Get>
auto checked_value(const gguf_file& file, std::string_view key, std::string_view expected, Get get) {
  const gguf_value* const v = file.find(key);
  if (v == nullptr)
    throw error(errc::bad_file, file.path().string(),
                join("expected the key \"", key, "\" (", expected, "), found none"));
  const auto out = get(*v);
  if (!out)
    throw error(errc::bad_file, file.path().string(),
                join("key \"", key, "\": expected ", expected, ", found ", plumb::name(v->kind)));
  return *out;
}

}  // namespace detail

std::string gguf_file::text(std::string_view key) const {
  return detail::checked_value(*this, key, "text", [](const gguf_value& v) {
    return v.is_text() ? std::optional(std::string(v.text())) : std::nullopt;
  });
}
std::int64_t gguf_file::integer(std::string_view key) const {
  return detail::checked_value(*this, key, "an integer", [](const gguf_value& v) { return v.integer(); });
}
double gguf_file::number(std::string_view key) const {
  return detail::checked_value(*this, key, "a number", [](const gguf_value& v) {
    return v.is_number() ? std::optional(v.number()) : std::nullopt;
  });
}
std::string gguf_file::text_or(std::string_view key, std::string_view otherwise) const {
  return find(key) ? text(key) : std::string(otherwise);
}
std::int64_t gguf_file::integer_or(std::string_view key, std::int64_t otherwise) const {
  return find(key) ? integer(key) : otherwise;
}
double gguf_file::number_or(std::string_view key, double otherwise) const {
  return find(key) ? number(key) : otherwise;
}
bool gguf_file::flag_or(std::string_view key, bool otherwise) const {
  return find(key) ? integer(key) != 0 : otherwise;
}

bool is_gguf(const std::filesystem::path& path) noexcept {
  try {
    return mapped_file(path).text().starts_with("GGUF");
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace plumb::inline v0
