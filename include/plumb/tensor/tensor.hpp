// SPDX-License-Identifier: BSL-1.0
// A matrix that owns its memory on a backend. Weights, moments and caches are tensors; activations live in an arena.
#pragma once

#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <plumb/backend/concept.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// A device shared by everything that computes on it: models, tapes, optimisers.
template <class B>
using device_ptr = std::shared_ptr<typename B::device>;

/// Bytes of a [rows, columns] matrix of T. Throws errc::bad_argument on a negative extent or an overflow.
template <class T>
std::size_t bytes_of(shape extent) {
  constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<index_t>::max()) / sizeof(T);
  if (extent.rows < 0 || extent.columns < 0 ||
      (extent.columns > 0 &&
       static_cast<std::uint64_t>(extent.rows) > limit / static_cast<std::uint64_t>(extent.columns)))
    throw error(errc::bad_argument, "",
                join("a matrix of ", extent.rows, " x ", extent.columns, " numbers cannot exist"));
  return sizeof(T) * static_cast<std::size_t>(extent.size());
}

/// An owning row-major matrix [rows, columns] of T in the memory of backend B; moves, does not copy by accident.
template <class B, class T>
class tensor {
 public:
  tensor() = default;
  /// Memory is not initialised. Throws errc::out_of_memory.
  tensor(device_ptr<B> device, shape extent) : device_(std::move(device)), bytes_(bytes_of<T>(extent)) {
    if (bytes_) view_.data = static_cast<T*>(B::allocate(*device_, bytes_));
    view_.rows = extent.rows;
    view_.columns = extent.columns;
  }
  tensor(device_ptr<B> device, shape extent, T value) : tensor(std::move(device), extent) {
    B::fill(*device_, view_, value);
  }
  /// Copies `values`, row by row, to the device. Throws errc::bad_argument when their number is not rows · columns.
  tensor(device_ptr<B> device, shape extent, std::span<const T> values) : tensor(std::move(device), extent) {
    assign(values);
  }
  tensor(tensor&& other) noexcept { swap(other); }
  tensor& operator=(tensor&& other) noexcept {
    tensor(std::move(other)).swap(*this);
    return *this;
  }
  ~tensor() {
    if (view_.data) B::release(*device_, view_.data, bytes_);
  }

  [[nodiscard]] tensor clone() const {
    tensor copy(device_, extent());
    B::copy(*device_, get(), copy.get());
    return copy;
  }
  void assign(std::span<const T> values) {
    if (static_cast<index_t>(values.size()) != size())
      throw error(errc::bad_argument, "", join("expected ", size(), " numbers, found ", values.size()));
    B::upload(*device_, values.data(), view_.data, size());
  }
  /// The numbers, row by row, in host memory.
  [[nodiscard]] std::vector<T> host() const {
    std::vector<T> values(static_cast<std::size_t>(size()));
    if (!values.empty()) B::download(*device_, view_.data, values.data(), size());
    return values;
  }

  [[nodiscard]] view<T> get() noexcept { return view_; }
  [[nodiscard]] view<const T> get() const noexcept { return view_; }
  [[nodiscard]] shape extent() const noexcept { return view_.extent(); }
  [[nodiscard]] index_t size() const noexcept { return view_.size(); }
  [[nodiscard]] bool empty() const noexcept { return view_.data == nullptr; }
  [[nodiscard]] const device_ptr<B>& device() const noexcept { return device_; }

 private:
  void swap(tensor& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(view_, other.view_);
    std::swap(bytes_, other.bytes_);
  }

  device_ptr<B> device_;
  view<T> view_;
  std::size_t bytes_ = 0;
};

/// A short list of integers on a device: token ids, positions, rows.
template <class B>
using index_tensor = tensor<B, std::int32_t>;

/// Host integers → device; an empty list needs no memory.
template <class B>
index_tensor<B> to_device(const device_ptr<B>& device, std::span<const std::int32_t> values) {
  return index_tensor<B>(device, {1, static_cast<index_t>(values.size())}, values);
}

}  // namespace plumb::inline v0
