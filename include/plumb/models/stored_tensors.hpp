// SPDX-License-Identifier: BSL-1.0
// The tensors of a file that is to be written, collected weight by weight.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/stored_weight.hpp>

namespace plumb::inline v0::detail {

/// Weights of a network as files hold them: by the files' names, turned round, put together where one tensor holds several.
/// Number: what the file's numbers of type `type` are in memory.
template <class Number>
class stored_tensors {
 public:
  stored_tensors(const model_config& config, dtype type) : config_(config), type_(type), stacks_(hub_stacks(config)) {}

  struct entry {
    std::string name;
    std::vector<index_t> extents;
    std::vector<Number> numbers;
  };

  /// The weight `name` of the network.
  void add(const std::string& name, shape extent, std::vector<Number> numbers) {
    add(name, extent, std::move(numbers), written_name(config_, name));
  }
  /// The same under a name of its own, unless it is a part of a stack.
  void add(const std::string& name, shape extent, std::vector<Number> numbers, const std::string& alone) {
    const auto place = find_in_stack(config_, stacks_, name);
    if (!place)
      return put(alone, stored_shape(config_, name, extent), as_stored(config_, name, extent, std::move(numbers)));
    if (place->transposed) numbers = transposed(std::span<const Number>(numbers), extent.rows, extent.columns);
    const auto [at, is_new] = by_name_.try_emplace(place->name, tensors_.size());
    if (is_new) {
      std::size_t all = 1;
      for (const index_t size : place->whole) all *= static_cast<std::size_t>(size);
      put(place->name, place->whole, std::vector<Number>(all));
    }
    auto& whole = tensors_[at->second].numbers;
    std::copy(numbers.begin(), numbers.end(), whole.begin() + static_cast<std::ptrdiff_t>(place->first));
  }
  /// A tensor as it is.
  void put(std::string name, std::vector<index_t> extents, std::vector<Number> numbers) {
    tensors_.push_back({std::move(name), std::move(extents), std::move(numbers)});
  }
  /// All of them; they live as long as this object, and until more are added.
  [[nodiscard]] std::vector<tensor_data> list() const {
    std::vector<tensor_data> out;
    for (const auto& t : tensors_) out.push_back({t.name, type_, t.extents, std::as_bytes(std::span(t.numbers))});
    return out;
  }

  [[nodiscard]] const std::vector<entry>& entries() const noexcept { return tensors_; }

 private:
  const model_config& config_;
  dtype type_;
  stack_table stacks_;
  std::vector<entry> tensors_;
  std::map<std::string, std::size_t> by_name_;  ///< of stacks
};

template <class T>
inline constexpr dtype dtype_of = sizeof(T) == 8 ? dtype::f64 : dtype::f32;

}  // namespace plumb::inline v0::detail
