// SPDX-License-Identifier: BSL-1.0
// Reference log-probabilities on disk: a second run over the same rows, with any objective, does not score them again.
#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>

#include <plumb/core/random.hpp>
#include <plumb/data/example.hpp>
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
  explicit reference_cache(std::filesystem::path path);

  static std::uint64_t key(std::uint64_t model, const example& e, const reply& r);
  /// Fills in the references that are known here and missing there; returns how many.
  index_t fill(std::uint64_t model, std::span<example> data) const;
  void keep(std::uint64_t model, std::span<const example> data);
  /// Writes the file, whole or not at all.
  void save() const;
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  std::filesystem::path path_;
  std::map<std::uint64_t, double> entries_;
};

}  // namespace plumb::inline v0
