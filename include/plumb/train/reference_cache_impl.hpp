// SPDX-License-Identifier: BSL-1.0
// Function bodies of train/reference_cache.hpp; compiled once per program.
#pragma once

#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/train/reference_cache.hpp>

namespace plumb::inline v0 {

reference_cache::reference_cache(std::filesystem::path path) : path_(std::move(path)) {
  if (!std::filesystem::exists(path_)) return;
  const auto file = safetensors_file::open(path_);
  const auto* keys = file.find("keys");
  const auto* values = file.find("log_probabilities");
  if (!keys || !values || keys->type != dtype::u64 || values->type != dtype::f64 || keys->elements != values->elements)
    throw error(errc::bad_file, path_.string(),
                "expected a cache of reference log-probabilities; delete the file to make a new one");
  std::vector<std::uint64_t> k(static_cast<std::size_t>(keys->elements));
  std::vector<double> v(k.size());
  if (!k.empty()) std::memcpy(k.data(), file.bytes(*keys).data(), k.size() * sizeof k[0]);
  file.read("log_probabilities", std::span<double>(v));
  for (std::size_t i = 0; i < k.size(); ++i) entries_[k[i]] = v[i];
}

std::uint64_t reference_cache::key(std::uint64_t model, const example& e, const reply& r) {
  std::uint64_t hash = model;
  const auto mix = [&](const std::vector<token_id>& tokens) {
    hash = derive_key(hash ^ tokens.size(), 2);
    for (const token_id t : tokens) hash = derive_key(hash ^ static_cast<std::uint64_t>(t), 3);
  };
  mix(e.prompt);
  mix(r.tokens);
  return hash;
}

index_t reference_cache::fill(std::uint64_t model, std::span<example> data) const {
  index_t count = 0;
  for (example& e : data)
    for (reply& r : e.replies)
      if (const auto found = entries_.find(key(model, e, r)); std::isnan(r.reference) && found != entries_.end()) {
        r.reference = found->second;
        ++count;
      }
  return count;
}

void reference_cache::keep(std::uint64_t model, std::span<const example> data) {
  for (const example& e : data)
    for (const reply& r : e.replies)
      if (!std::isnan(r.reference)) entries_[key(model, e, r)] = r.reference;
}

void reference_cache::save() const {
  std::vector<std::uint64_t> k;
  std::vector<double> v;
  for (const auto& [key, value] : entries_) k.push_back(key), v.push_back(value);
  const auto count = static_cast<index_t>(k.size());
  const std::vector<tensor_data> tensors{
      {"keys", dtype::u64, {count}, std::as_bytes(std::span<const std::uint64_t>(k))},
      {"log_probabilities", dtype::f64, {count}, std::as_bytes(std::span<const double>(v))}};
  write_safetensors(path_, tensors, {});
}

}  // namespace plumb::inline v0
