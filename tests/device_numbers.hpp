// SPDX-License-Identifier: BSL-1.0
// Numbers, or any plain structs, in a backend's memory, for tests.
#pragma once

#include <vector>

#include <plumb/core/view.hpp>

namespace plumb_test {

using plumb::index_t;

/// Numbers in a backend's memory.
template <class B, class T>
class numbers {
 public:
  numbers(typename B::device& d, const std::vector<T>& host, index_t rows, index_t columns)
      : device_(d), bytes_(sizeof(T) * (host.size() + 1)), extent_{rows, columns} {
    data_ = static_cast<T*>(B::allocate(d, bytes_));
    B::upload(d, host.data(), data_, static_cast<index_t>(host.size()));
  }
  numbers(typename B::device& d, const std::vector<T>& host) : numbers(d, host, static_cast<index_t>(host.size()), 1) {}
  numbers(typename B::device& d, T value, index_t rows, index_t columns)
      : numbers(d, std::vector<T>(static_cast<std::size_t>(rows * columns), value), rows, columns) {}
  numbers(const numbers&) = delete;
  numbers& operator=(const numbers&) = delete;
  ~numbers() { B::release(device_, data_, bytes_); }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] plumb::view<T> all() const { return {data_, extent_}; }
  [[nodiscard]] std::vector<T> host() const {
    std::vector<T> result(static_cast<std::size_t>(extent_.size()));
    B::download(device_, data_, result.data(), extent_.size());
    return result;
  }

 private:
  typename B::device& device_;
  std::size_t bytes_;
  plumb::shape extent_;
  T* data_;
};

}  // namespace plumb_test
