// SPDX-License-Identifier: BSL-1.0
// Function bodies of io/bitsandbytes.hpp; compiled once per program.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include <plumb/io/bitsandbytes.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

namespace detail {

inline constexpr std::string_view nf4_state = ".quant_state.bitsandbytes__nf4",
                                  fp4_state = ".quant_state.bitsandbytes__fp4";

/// "a.b.weight" → "a.b.SCB"
inline std::string row_scales_name(const std::string& name) {
  return name.substr(0, name.rfind('.') == std::string::npos ? 0 : name.rfind('.') + 1) + "SCB";
}

/// The bytes of a part, which must be `count` numbers of this type; nothing is taken before that is known.
inline std::span<const std::byte> part_of(const weight_files& files, const std::string& name, dtype type,
                                          index_t count) {
  if (!files.contains(name))
    throw error(errc::bad_model, name, "the files lack this part of a weight that bitsandbytes packed");
  const tensor_info& info = files.info(name);
  if (info.type != type || info.elements != count)
    throw error(errc::bad_model, name,
                join("expected ", count, " numbers of ", plumb::name(type), ", found ", info.elements, " of ",
                     plumb::name(info.type)));
  return files.bytes(name);
}
inline void copy_part(std::span<const std::byte> from, void* to) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}
inline void check_scales(const std::string& name, const float* scales, index_t count) {
  for (index_t i = 0; i < count; ++i)
    if (!std::isfinite(scales[i]))
      throw error(errc::not_finite, name, join("number ", i, " of the file is NaN or infinite; the file is damaged"));
}

inline packed_numbers read_int8(const weight_files& files, const std::string& name, packed_matrix like) {
  like.format = packed_format::int8;
  const auto codes = part_of(files, name, dtype::i8, like.rows * like.columns);
  const std::string scales = row_scales_name(name);
  const auto stored = part_of(files, scales, dtype::f32, like.rows);
  const std::string layout = scales.substr(0, scales.size() - 3) + "weight_format";
  if (files.contains(layout) && part_of(files, layout, dtype::u8, 1)[0] != std::byte{0})
    throw error(errc::unsupported, layout, "expected plain rows (0); save the model anew with a recent bitsandbytes");
  packed_numbers out(like, false);
  copy_part(codes, out.codes()), copy_part(stored, out.scales());
  check_scales(scales, out.scales(), like.rows);
  return out;
}

inline json::value read_state(const weight_files& files, const std::string& name) {
  const auto text = files.bytes(name);
  if (text.size() > 65536) throw error(errc::bad_model, name, "expected a short JSON text, found over 64 kB");
  return json::parse({reinterpret_cast<const char*>(text.data()), text.size()}, name);
}

inline packed_numbers read_four_bits(const weight_files& files, const std::string& name, std::string_view kind,
                                     packed_matrix like) {
  const std::string state_name = name + std::string(kind);
  const json::value state = read_state(files, state_name);
  const json::object& o = json::as_object(state, "the state", state_name);
  const auto block_of = [&](std::string_view key) {
    const auto size = json::get<index_t>(o, key, state_name);
    if (size < 32 || size > 4096 || !std::has_single_bit(static_cast<std::uint64_t>(size)))
      throw error(errc::unsupported, state_name,
                  join("\"", key, "\": expected a power of two from 32 to 4096, found ", size));
    return size;
  };
  const auto shape = json::get<std::vector<index_t>>(o, "shape", state_name);
  if (shape != std::vector{like.rows, like.columns})
    throw error(errc::bad_model, state_name,
                join("expected a weight of ", like.rows, " x ", like.columns, " numbers; \"shape\" says otherwise"));
  like.format = packed_format::four_bits;
  like.block = block_of("blocksize");
  const bool nested = files.contains(name + ".nested_absmax");
  if (nested) {
    like.scale_block = block_of("nested_blocksize");
    like.offset = json::get<float>(o, "nested_offset", state_name);
    check_scales(state_name, &like.offset, 1);
  }
  const packed_parts sizes = parts_of_packed(like, nested);
  const std::string scales = name + (nested ? ".nested_absmax" : ".absmax");
  const auto codes = part_of(files, name, dtype::u8, sizes.codes);
  const auto stored = part_of(files, scales, dtype::f32, sizes.scales);
  const auto table = part_of(files, name + ".quant_map", dtype::f32, 16);
  packed_numbers out(like, nested);
  copy_part(codes, out.codes()), copy_part(stored, out.scales()), copy_part(table, out.table());
  check_scales(scales, out.scales(), sizes.scales), check_scales(name + ".quant_map", out.table(), 16);
  if (nested) {
    copy_part(part_of(files, name + ".absmax", dtype::u8, sizes.scale_codes), out.scale_codes());
    copy_part(part_of(files, name + ".nested_quant_map", dtype::f32, 256), out.scale_table());
    check_scales(name + ".nested_quant_map", out.scale_table(), 256);
  }
  return out;
}

}  // namespace detail

std::optional<packed_format> bitsandbytes_format(const weight_files& files, const std::string& name) {
  if (!files.contains(name)) return std::nullopt;
  for (const std::string_view kind : {detail::nf4_state, detail::fp4_state})
    if (files.contains(name + std::string(kind))) return packed_format::four_bits;
  if (files.info(name).type == dtype::i8 && files.contains(detail::row_scales_name(name))) return packed_format::int8;
  return std::nullopt;
}

bool is_bitsandbytes_part(std::string_view name) noexcept {
  for (const char* const end :
       {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format"})
    if (name.ends_with(end)) return true;
  return name.ends_with(detail::nf4_state) || name.ends_with(detail::fp4_state);
}

shape bitsandbytes_shape(const weight_files& files, const std::string& name) {
  std::vector<index_t> sizes = files.shape(name);
  for (const std::string_view kind : {detail::nf4_state, detail::fp4_state})
    if (const std::string state_name = name + std::string(kind); files.contains(state_name)) {
      const json::value state = detail::read_state(files, state_name);
      sizes = json::get<std::vector<index_t>>(json::as_object(state, "the state", state_name), "shape", state_name);
    }
  // What it claims is compared with the bytes there are before anyone takes memory for it.
  const auto stored = static_cast<index_t>(files.bytes(name).size());
  if (sizes.size() != 2 || sizes[0] < 1 || sizes[1] < 1 || sizes[0] > 2 * stored / sizes[1])
    throw error(errc::bad_model, name, join("expected the two sizes of a weight in ", stored, " bytes, found others"));
  return {sizes[0], sizes[1]};
}

packed_numbers read_bitsandbytes(const weight_files& files, const std::string& name, shape extent) {
  packed_matrix like;
  like.rows = extent.rows, like.columns = extent.columns;
  const auto format = bitsandbytes_format(files, name);
  if (!format) throw error(errc::not_found, name, "the files do not hold this weight as bitsandbytes packs it");
  if (*format == packed_format::int8) return detail::read_int8(files, name, like);
  const bool nf4 = files.contains(name + std::string(detail::nf4_state));
  return detail::read_four_bits(files, name, nf4 ? detail::nf4_state : detail::fp4_state, like);
}

std::unique_ptr<bitsandbytes_tensors> as_bitsandbytes(const std::string& name, const packed_matrix& m) {
  auto out = std::make_unique<bitsandbytes_tensors>();
  const auto add = [&](std::string key, dtype type, std::vector<index_t> sizes, const void* data, index_t bytes) {
    out->tensors.push_back({std::move(key),
                            type,
                            std::move(sizes),
                            {static_cast<const std::byte*>(data), static_cast<std::size_t>(bytes)}});
  };
  const bool nested = m.scale_codes != nullptr;
  const packed_parts sizes = parts_of_packed(m, nested);
  if (m.format == packed_format::int8) {
    add(name, dtype::i8, {m.rows, m.columns}, m.codes, sizes.codes);
    const std::string scales = detail::row_scales_name(name);
    add(scales, dtype::f32, {m.rows}, m.scales, 4 * sizes.scales);
    add(scales.substr(0, scales.size() - 3) + "weight_format", dtype::u8, {}, &out->row_layout, 1);
    return out;
  }
  if (m.format != packed_format::four_bits)
    throw error(errc::unsupported, name, join("bitsandbytes has no ", plumb::name(m.format), "; it has nf4 and int8"));
  const bool nf4 = m.table[8] > 0;  // FP4's second half is negative
  json::object state;
  state["quant_type"] = nf4 ? "nf4" : "fp4";
  state["blocksize"] = m.block;
  state["dtype"] = "float32";
  state["shape"] = json::array{m.rows, m.columns};
  if (nested) {
    state["nested_blocksize"] = m.scale_block;
    state["nested_dtype"] = "float32";
    state["nested_offset"] = m.offset;
  }
  out->text = json::dump(state);
  add(name, dtype::u8, {sizes.codes, 1}, m.codes, sizes.codes);
  add(name + ".quant_map", dtype::f32, {16}, m.table, 64);
  add(name + std::string(nf4 ? detail::nf4_state : detail::fp4_state), dtype::u8,
      {static_cast<index_t>(out->text.size())}, out->text.data(), static_cast<index_t>(out->text.size()));
  if (nested) {
    add(name + ".absmax", dtype::u8, {sizes.scale_codes}, m.scale_codes, sizes.scale_codes);
    add(name + ".nested_absmax", dtype::f32, {sizes.scales}, m.scales, 4 * sizes.scales);
    add(name + ".nested_quant_map", dtype::f32, {256}, m.scale_table, 1024);
  } else {
    add(name + ".absmax", dtype::f32, {sizes.scales}, m.scales, 4 * sizes.scales);
  }
  return out;
}

}  // namespace plumb::inline v0
