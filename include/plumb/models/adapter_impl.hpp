// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter.hpp: what is checked of an adapter, and what it is saved as. Collected by plumb/impl.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/models/adapter.hpp>

namespace plumb::inline v0 {

namespace detail {

std::string some_of(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < 6; ++i) out += join(i ? ", " : "", names[i]);
  return names.size() > 6 ? join(out, " and ", names.size() - 6, " more") : out;
}

void check_adapter_tensor(const weight_files& files, const std::string& key, const std::vector<index_t>& expected) {
  const tensor_info& info = files.info(key);
  if (info.shape != expected)
    throw error(errc::bad_model, key,
                join("expected shape ", describe_shape(expected), ", found ", describe_shape(info.shape),
                     "; the adapter belongs to another model, or its rank to another file"));
  const auto type = info.type;
  if (type != dtype::f32 && type != dtype::f64 && type != dtype::f16 && type != dtype::bf16)
    throw error(errc::unsupported, key, join("adapters are read as F32, F64, F16 or BF16, found ", name(type)));
}

lora_options saved_options(lora_options o) {
  if (!starts_from_weight(o.init)) return o;
  o.init = lora_init::uniform;
  o.pissa_iterations = 0;
  const double factor = o.rank_stabilised ? std::sqrt(2.0) : 2;  // so that alpha / rank, or alpha / √rank, stays
  o.rank *= 2;
  o.alpha *= factor;
  for (auto& [key, rank] : o.rank_pattern) rank *= 2;
  for (auto& [key, alpha] : o.alpha_pattern) alpha *= factor;
  return o;
}

}  // namespace detail

}  // namespace plumb::inline v0
