// SPDX-License-Identifier: BSL-1.0
// The bodies of io/safetensors_header.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/safetensors_header.hpp>
#include <plumb/io/utf8.hpp>

namespace plumb::inline v0::detail {

/// Throws `bad_file` with the stable word for this kind of failure in front.
[[noreturn]] void bad_safetensors(const std::string& place, std::string_view word, std::string_view message) {
  throw error(errc::bad_file, place, join(word, ": ", message));
}

/// A header's non-negative integer; anything else is `InvalidHeader`.
std::uint64_t natural(const json::value& v, std::string_view what, const std::string& place) {
  if (const auto* const u = v.if_uint64()) return *u;
  if (const auto* const i = v.if_int64(); i != nullptr && *i >= 0) return static_cast<std::uint64_t>(*i);
  bad_safetensors(place, "InvalidHeader", join(what, ": expected a non-negative integer, found ", json::describe(v)));
}

/// One entry of the header: dtype, shape and data_offsets, with the size that dtype and shape imply.
tensor_info read_tensor_info(std::string_view name, const json::value& v, const std::string& place) {
  const std::string what = join("tensor ", json::dump(json::value(boost::json::string_view(name.data(), name.size()))));
  const auto fail = [&](std::string_view word, std::string_view message) {
    bad_safetensors(place, word, join(what, ": ", message));
  };
  const auto* const entry = v.if_object();
  if (entry == nullptr) fail("InvalidHeader", join("expected an object, found ", json::describe(v)));
  const auto member = [&](std::string_view key) -> const json::value& {
    const auto* const found = json::find(*entry, key);
    if (found == nullptr) fail("InvalidHeader", join("expected the key \"", key, "\", found none"));
    return *found;
  };
  tensor_info info;
  info.name = name;

  const json::value& type = member("dtype");
  if (!type.is_string()) fail("InvalidHeader", join("expected dtype to be a string, found ", json::describe(type)));
  const std::string_view type_name(type.get_string().data(), type.get_string().size());
  const auto known = dtype_of(type_name);
  if (!known) {
    throw error(errc::unsupported, place,
                join("InvalidDtype: ", what, " has the unknown dtype ", json::describe(type)));
  }
  info.type = *known;

  const json::value& shape = member("shape");
  if (!shape.is_array()) fail("InvalidHeader", join("expected shape to be a list, found ", json::describe(shape)));
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<index_t>::max());
  std::uint64_t elements = 1;
  for (const json::value& item : shape.get_array()) {
    const std::uint64_t size = natural(item, join(what, ", shape"), place);
    // As in the reference reader, the running product must not overflow even when a later size is zero.
    if (size > most || (size != 0 && elements > most / size)) {
      fail("ValidationOverflow", join("the sizes of shape ", json::dump(shape), " multiply to more than 2^63"));
    }
    elements *= size;
    info.shape.push_back(static_cast<index_t>(size));
  }
  if (elements > most / size_of(info.type)) {
    fail("ValidationOverflow",
         join("shape ", json::dump(shape), " of ", plumb::name(info.type), " needs more than 2^63 bytes"));
  }
  info.elements = static_cast<index_t>(elements);

  const json::value& offsets = member("data_offsets");
  if (!offsets.is_array() || offsets.get_array().size() != 2) {
    fail("InvalidHeader", join("expected data_offsets to be [begin, end], found ", json::describe(offsets)));
  }
  const std::uint64_t begin = natural(offsets.get_array()[0], join(what, ", data_offsets"), place);
  const std::uint64_t end = natural(offsets.get_array()[1], join(what, ", data_offsets"), place);
  if (begin > end) fail("InvalidOffset", join("begins at ", begin, " after its end ", end));
  if (end > most) fail("InvalidOffset", join("ends at ", end, ", beyond any file"));
  if (end - begin != elements * size_of(info.type)) {
    fail("TensorInvalidInfo", join("shape ", json::dump(shape), " of ", plumb::name(info.type), " needs ",
                                   elements * size_of(info.type), " bytes, data_offsets give ", end - begin));
  }
  info.begin = static_cast<std::size_t>(begin);
  info.end = static_cast<std::size_t>(end);
  return info;
}

safetensors_metadata read_metadata(const json::value& v, const std::string& place) {
  safetensors_metadata metadata;
  const auto* const entries = v.if_object();
  if (entries == nullptr) bad_safetensors(place, "InvalidHeader", "__metadata__ must be an object of strings");
  for (const auto& entry : *entries) {
    const std::string key(entry.key().data(), entry.key().size());
    const auto* const text = entry.value().if_string();
    if (text == nullptr) {
      bad_safetensors(place, "InvalidHeader",
                      join("__metadata__ \"", key, "\": expected a string, found ", json::describe(entry.value())));
    }
    metadata.emplace(key, std::string(text->data(), text->size()));
  }
  return metadata;
}

safetensors_layout read_safetensors_layout(std::span<const std::byte> file, const std::string& place) {
  constexpr std::size_t prefix = 8;
  if (file.size() < prefix) {
    bad_safetensors(place, "HeaderTooSmall",
                    join("expected at least 8 bytes, found ", file.size(), "; the file is empty or cut off"));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), prefix);
  if (length > safetensors_header_limit) {
    bad_safetensors(place, "HeaderTooLarge",
                    join("the header claims ", length, " bytes, the format allows ", safetensors_header_limit,
                         "; is this a safetensors file?"));
  }
  if (length > file.size() - prefix) {
    bad_safetensors(place, "InvalidHeaderLength",
                    join("the header claims ", length, " bytes, the file has ", file.size() - prefix,
                         " after the length; it is cut off or not a safetensors file"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + prefix, static_cast<std::size_t>(length));
  if (first_invalid_utf8(text) != text.size()) bad_safetensors(place, "InvalidHeader", "the header is not UTF-8");
  if (text.empty() || text.front() != '{') bad_safetensors(place, "InvalidHeader", "the header does not start with {");

  json::value parsed;
  try {
    parsed = json::parse(text, place, {.depth = 8, .unique_keys = true});
  } catch (const error& problem) {
    bad_safetensors(place, "InvalidHeader", std::string_view(problem.what()).substr(problem.place().size() + 2));
  }
  safetensors_layout layout;
  for (const auto& entry : parsed.as_object()) {
    const std::string_view key(entry.key().data(), entry.key().size());
    if (key == "__metadata__")
      layout.metadata = read_metadata(entry.value(), place);
    else
      layout.tensors.push_back(read_tensor_info(key, entry.value(), place));
  }
  // Empty tensors share an offset with a neighbour and come before it.
  std::sort(layout.tensors.begin(), layout.tensors.end(), [](const tensor_info& a, const tensor_info& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end != b.end ? a.end < b.end : a.name < b.name;
  });
  std::size_t covered = 0;
  for (const tensor_info& tensor : layout.tensors) {
    if (tensor.begin != covered) {
      bad_safetensors(
          place, "InvalidOffset",
          join("tensor \"", tensor.name, "\" begins at byte ", tensor.begin, " of the data, expected ", covered,
               tensor.begin < covered ? ": it overlaps another tensor" : ": there is a hole before it"));
    }
    covered = tensor.end;
  }
  layout.data = prefix + static_cast<std::size_t>(length);
  if (covered != file.size() - layout.data) {
    bad_safetensors(
        place, "MetadataIncompleteBuffer",
        join("the tensors need ", covered, " bytes of data, the file has ", file.size() - layout.data,
             covered > file.size() - layout.data ? ": it is cut off" : ": it has bytes that belong to no tensor"));
  }
  return layout;
}

}  // namespace plumb::inline v0::detail
