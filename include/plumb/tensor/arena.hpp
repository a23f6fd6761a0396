// SPDX-License-Identifier: BSL-1.0
// The memory of one step: allocation is an addition, release is forgetting. After the first steps nothing is
// allocated any more.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <plumb/tensor/tensor.hpp>

namespace plumb::inline v0 {

/// A stack of memory on a device. Views from it live until a rewind to before them.
template <class B>
class arena {
 public:
  /// A place to return to.
  struct mark {
    std::size_t chunk = 0;
    std::size_t used = 0;
  };

  explicit arena(device_ptr<B> device) : device_(std::move(device)) {}
  arena(arena&&) noexcept = default;
  arena& operator=(arena&&) noexcept = default;
  ~arena() {
    for (const chunk& c : chunks_) B::release(*device_, c.memory, c.size);
  }

  /// Uninitialised memory for a [rows, columns] matrix of T, aligned to 64 bytes.
  template <class T>
  view<T> make(shape extent) {
    return {static_cast<T*>(take(bytes_of<T>(extent))), extent};
  }
  template <class T>
  T* make_array(index_t count) {
    return make<T>({1, count}).data;
  }

  [[nodiscard]] mark here() const noexcept { return current_; }

  /// Forgets everything made since `to`; views made before stay where they are, and the memory is used again.
  void rewind(mark to = {}) noexcept { current_ = to; }

  [[nodiscard]] std::size_t capacity() const noexcept {
    std::size_t total = 0;
    for (const auto& c : chunks_) total += c.size;
    return total;
  }

 private:
  struct chunk {
    std::byte* memory;
    std::size_t size;
  };
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t smallest = std::size_t{1} << 16;

  void* take(std::size_t bytes) {
    bytes = (bytes + alignment - 1) / alignment * alignment;
    while (current_.chunk < chunks_.size() && chunks_[current_.chunk].size - current_.used < bytes) {
      if (current_.chunk + 1 == chunks_.size()) break;
      ++current_.chunk;
      current_.used = 0;
    }
    if (chunks_.empty() || chunks_[current_.chunk].size - current_.used < bytes) {
      add_chunk(std::max({bytes, smallest, capacity() / 2}));
      current_ = {chunks_.size() - 1, 0};
    }
    void* memory = chunks_[current_.chunk].memory + current_.used;
    current_.used += bytes;
    return memory;
  }
  void add_chunk(std::size_t bytes) {
    chunks_.reserve(chunks_.size() + 1);
    chunks_.push_back({static_cast<std::byte*>(B::allocate(*device_, bytes)), bytes});
  }

  device_ptr<B> device_;
  std::vector<chunk> chunks_;
  mark current_;
};

}  // namespace plumb::inline v0
