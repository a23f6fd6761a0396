// SPDX-License-Identifier: BSL-1.0
// A packed matrix that owns its memory on a backend: a frozen weight in fewer bits.
#pragma once

#include <plumb/core/packed_numbers.hpp>
#include <plumb/tensor/tensor.hpp>

namespace plumb::inline v0 {

/// to = the numbers of `m`, on the device.
template <class B, class T>
void unpack_on(typename B::device& device, const packed_matrix& m, view<T> to) {
  B::for_each(device, m.rows * m.columns, detail::unpack_each<T>{m, to.data});
}

/// to[i] = row first + rows[i] of `m`, on the device.
template <class B, class T>
void gather_rows_on(typename B::device& device, const packed_matrix& m, const std::int32_t* rows, index_t first,
                    view<T> to) {
  B::for_each(device, to.rows * m.columns, detail::unpack_rows_each<T>{m, rows, first, to.data});
}

/// An owning matrix [rows, columns] in a packed format; it never changes.
template <class B>
class packed_tensor {
 public:
  /// Copies a packed matrix from the host. Throws errc::out_of_memory.
  packed_tensor(const device_ptr<B>& device, const packed_numbers& numbers)
      : bytes_(device, {1, static_cast<index_t>(numbers.bytes.size())}, std::span<const std::uint8_t>(numbers.bytes)),
        what_(moved_to(numbers, bytes_.get().data)) {}

  /// What products read; its pointers are the device's.
  [[nodiscard]] const packed_matrix& get() const noexcept { return what_; }
  [[nodiscard]] shape extent() const noexcept { return what_.extent(); }
  [[nodiscard]] index_t bytes() const noexcept { return bytes_.size(); }
  [[nodiscard]] const device_ptr<B>& device() const noexcept { return bytes_.device(); }

  /// The same matrix as plain numbers, in new memory.
  template <class T>
  [[nodiscard]] tensor<B, T> plain() const {
    tensor<B, T> out(device(), extent());
    unpack_on<B>(*device(), what_, out.get());
    return out;
  }

 private:
  tensor<B, std::uint8_t> bytes_;
  packed_matrix what_;
};

}  // namespace plumb::inline v0
