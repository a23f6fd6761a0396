// SPDX-License-Identifier: BSL-1.0
// Reference log-probabilities on disk: a second run over the same rows, with any objective, does not score them again.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/data/example.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/language_model.hpp>

namespace plumb::inline v0 {

/// A number that differs when a weight of the model (adapters aside) differs.
template <class B, class T>
std::uint64_t weights_fingerprint(const language_model<B, T>& model) {
  std::uint64_t hash = sizeof(T);
  model.network().for_each_weight([&](const std::string&, weight_ptr<B, T>& w) {
    for (const T x : w->host()) {
      if constexpr (sizeof(T) == 8)
        hash = derive_key(hash ^ std::bit_cast<std::uint64_t>(x), 1);
      else
        hash = derive_key(hash ^ std::bit_cast<std::uint32_t>(x), 1);
    }
  });
  return hash;
}

/// log π_ref of replies by a key of model, prompt and reply. Since rows are tokens here, tokenizer, template and truncation
/// are part of the key without being named; a stale entry cannot be found.
class reference_cache {
 public:
  /// Opens the file, or starts empty when there is none. Throws errc::bad_file when it is something else.
  explicit reference_cache(std::filesystem::path path) : path_(std::move(path)) {
    if (!std::filesystem::exists(path_)) return;
    const auto file = safetensors_file::open(path_);
    const auto* keys = file.find("keys");
    const auto* values = file.find("log_probabilities");
    if (!keys || !values || keys->type != dtype::u64 || values->type != dtype::f64 ||
        keys->elements != values->elements)
      throw error(errc::bad_file, path_.string(),
                  "expected a cache of reference log-probabilities; delete the file to make a new one");
    std::vector<std::uint64_t> k(static_cast<std::size_t>(keys->elements));
    std::vector<double> v(k.size());
    if (!k.empty()) std::memcpy(k.data(), file.bytes(*keys).data(), k.size() * sizeof k[0]);
    file.read("log_probabilities", std::span<double>(v));
    for (std::size_t i = 0; i < k.size(); ++i) entries_[k[i]] = v[i];
  }

  static std::uint64_t key(std::uint64_t model, const example& e, const reply& r) {
    std::uint64_t hash = model;
    const auto mix = [&](const std::vector<token_id>& tokens) {
      hash = derive_key(hash ^ tokens.size(), 2);
      for (const token_id t : tokens) hash = derive_key(hash ^ static_cast<std::uint64_t>(t), 3);
    };
    mix(e.prompt);
    mix(r.tokens);
    return hash;
  }
  /// Fills in the references that are known here and missing there; returns how many.
  index_t fill(std::uint64_t model, std::span<example> data) const {
    index_t count = 0;
    for (example& e : data)
      for (reply& r : e.replies)
        if (const auto found = entries_.find(key(model, e, r)); std::isnan(r.reference) && found != entries_.end()) {
          r.reference = found->second;
          ++count;
        }
    return count;
  }
  void keep(std::uint64_t model, std::span<const example> data) {
    for (const example& e : data)
      for (const reply& r : e.replies)
        if (!std::isnan(r.reference)) entries_[key(model, e, r)] = r.reference;
  }
  /// Writes the file, whole or not at all.
  void save() const {
    std::vector<std::uint64_t> k;
    std::vector<double> v;
    for (const auto& [key, value] : entries_) k.push_back(key), v.push_back(value);
    const auto count = static_cast<index_t>(k.size());
    const std::vector<tensor_data> tensors{
        {"keys", dtype::u64, {count}, std::as_bytes(std::span<const std::uint64_t>(k))},
        {"log_probabilities", dtype::f64, {count}, std::as_bytes(std::span<const double>(v))}};
    write_safetensors(path_, tensors, {});
  }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  std::filesystem::path path_;
  std::map<std::uint64_t, double> entries_;
};

}  // namespace plumb::inline v0
