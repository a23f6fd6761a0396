// SPDX-License-Identifier: BSL-1.0
// The bodies of io/gguf_write.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <cstring>
#include <limits>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/gguf_write.hpp>

namespace plumb::inline v0 {

namespace detail {

template <class Number>
void put_number(std::string& out, Number x) {
  char raw[sizeof x];
  std::memcpy(raw, &x, sizeof x);
  out.append(raw, sizeof x);
}

inline void put_text(std::string& out, std::string_view text) {
  put_number(out, std::uint64_t{text.size()});
  out += text;
}

}  // namespace detail

void gguf_metadata::begin(std::string_view key, gguf_kind kind) {
  if (key.empty() || key.size() > 65535)
    throw error(errc::bad_argument, "gguf_metadata", join("expected a key of 1 to 65535 bytes, found ", key.size()));
  if (!keys_.emplace(key).second)
    throw error(errc::bad_argument, "gguf_metadata", join("the key \"", key, "\" is given twice"));
  detail::put_text(bytes_, key);
  detail::put_number(bytes_, static_cast<std::uint32_t>(kind));
}

void gguf_metadata::begin_list(std::string_view key, gguf_kind items, std::size_t count) {
  begin(key, gguf_kind::array);
  detail::put_number(bytes_, static_cast<std::uint32_t>(items));
  detail::put_number(bytes_, std::uint64_t{count});
}

gguf_metadata& gguf_metadata::text(std::string_view key, std::string_view value) {
  begin(key, gguf_kind::text);
  detail::put_text(bytes_, value);
  return *this;
}
gguf_metadata& gguf_metadata::u32(std::string_view key, index_t value) {
  if (value < 0 || value > std::numeric_limits<std::uint32_t>::max())
    throw error(errc::bad_argument, "gguf_metadata",
                join("key \"", key, "\": expected a number from 0 to 4294967295, found ", value));
  begin(key, gguf_kind::u32);
  detail::put_number(bytes_, static_cast<std::uint32_t>(value));
  return *this;
}
gguf_metadata& gguf_metadata::f32(std::string_view key, double value) {
  begin(key, gguf_kind::f32);
  detail::put_number(bytes_, static_cast<float>(value));
  return *this;
}
gguf_metadata& gguf_metadata::boolean(std::string_view key, bool value) {
  begin(key, gguf_kind::boolean);
  detail::put_number(bytes_, static_cast<std::uint8_t>(value));
  return *this;
}
gguf_metadata& gguf_metadata::texts(std::string_view key, std::span<const std::string> values) {
  begin_list(key, gguf_kind::text, values.size());
  for (const std::string& value : values) detail::put_text(bytes_, value);
  return *this;
}
gguf_metadata& gguf_metadata::f32s(std::string_view key, std::span<const float> values) {
  begin_list(key, gguf_kind::f32, values.size());
  for (const float value : values) detail::put_number(bytes_, value);
  return *this;
}
gguf_metadata& gguf_metadata::i32s(std::string_view key, std::span<const std::int32_t> values) {
  begin_list(key, gguf_kind::i32, values.size());
  for (const std::int32_t value : values) detail::put_number(bytes_, value);
  return *this;
}

void write_gguf(const std::filesystem::path& path, const gguf_metadata& metadata, std::span<const gguf_output> tensors,
                function_ref<void(std::size_t, std::span<float>)> fill) {
  constexpr std::size_t alignment = 32;
  std::string head = "GGUF";
  detail::put_number(head, std::uint32_t{3});
  detail::put_number(head, std::uint64_t{tensors.size()});
  detail::put_number(head, std::uint64_t{metadata.count()});
  head += metadata.bytes();
  std::set<std::string_view> names;
  std::vector<std::size_t> numbers, sizes;
  std::size_t at = 0;
  for (const gguf_output& tensor : tensors) {
    const ggml_layout& layout = layout_of(tensor.type);
    const auto fail = [&](std::string_view why) { throw error(errc::bad_argument, tensor.name, why); };
    if (tensor.name.empty() || tensor.name.size() > 63) fail("expected a name of 1 to 63 bytes, which llama.cpp takes");
    if (!names.insert(tensor.name).second) fail("two tensors have this name");
    if (tensor.shape.empty() || tensor.shape.size() > 4) fail("expected 1 to 4 sizes");
    std::size_t count = 1;
    for (const index_t size : tensor.shape) {
      if (size < 1 || count > std::numeric_limits<std::size_t>::max() / 16 / static_cast<std::size_t>(size))
        fail("expected sizes from 1 that multiply to less than 2^60");
      count *= static_cast<std::size_t>(size);
    }
    if (static_cast<std::size_t>(tensor.shape.back()) % layout.numbers != 0)
      fail(join("rows of ", tensor.shape.back(), " numbers are no multiple of the ", layout.numbers, " in a block of ",
                layout.name));
    numbers.push_back(count);
    sizes.push_back(count / layout.numbers * layout.bytes);
    detail::put_text(head, tensor.name);
    detail::put_number(head, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i > 0; --i)
      detail::put_number(head, static_cast<std::uint64_t>(tensor.shape[i - 1]));
    detail::put_number(head, static_cast<std::uint32_t>(tensor.type));
    detail::put_number(head, std::uint64_t{at});
    at += (sizes.back() + alignment - 1) / alignment * alignment;
  }
  head.resize((head.size() + alignment - 1) / alignment * alignment);
  write_file_atomically(path, [&](writer& out) {
    out.write(head);
    std::vector<float> values;
    std::vector<std::byte> stored;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      values.assign(numbers[i], 0.0f);
      fill(i, values);
      stored.assign((sizes[i] + alignment - 1) / alignment * alignment, std::byte{0});
      quantize(values, tensors[i].type, std::span(stored).first(sizes[i]));
      out.write(stored);
    }
  });
}

}  // namespace plumb::inline v0
