// SPDX-License-Identifier: BSL-1.0
// Keys and values of tokens seen before.
#pragma once

#include <cstdint>
#include <vector>

#include <plumb/config.hpp>
#include <plumb/tensor/tensor.hpp>

namespace plumb::inline v0 {

namespace detail {

/// to[rows[i], :] = x[i, :], a row a functor.
template <class T>
struct put_row_each {
  view<const T> x;
  const std::int32_t* rows;
  view<T> to;
  PLUMB_HD void operator()(index_t i) const {
    const T* const from = x.row(i);
    T* const place = to.row(rows[i]);
    for (index_t j = 0; j < x.columns; ++j) place[j] = from[j];
  }
};
/// The same, a number a functor: neighbours on a GPU write neighbours.
template <class T>
struct put_number_each {
  view<const T> x;
  const std::int32_t* rows;
  view<T> to;
  PLUMB_HD void operator()(index_t i) const { to.row(rows[i / x.columns])[i % x.columns] = x.data[i]; }
};

}  // namespace detail

/// Keys and values, one pair of tensors [capacity, kv width] a layer.
template <class B, class T>
struct kv_cache {
  struct layer {
    tensor<B, T> keys, values;
  };
  std::vector<layer> layers;
  index_t used = 0;                    ///< where a pass writes its tokens: [used, used + tokens)
  const std::int32_t* rows = nullptr;  ///< or, if there, in these rows [tokens], on the device
  index_t capacity = 0;
  bool ahead = false;  ///< the virtual tokens are there, in the rows after `capacity`

  /// Forgets what was there and has room for `rows` tokens in every layer, and `virtual_rows` after them.
  void reset(const device_ptr<B>& device, index_t layer_count, index_t kv_width, index_t row_count,
             index_t virtual_rows = 0) {
    used = 0;
    rows = nullptr;
    ahead = false;
    const auto count = static_cast<std::size_t>(layer_count);
    if (layers.size() == count && capacity >= row_count &&
        (virtual_rows == 0 || count == 0 || layers[0].keys.extent().rows >= capacity + virtual_rows))
      return;
    layers.clear();
    const shape extent{row_count + virtual_rows, kv_width};
    for (std::size_t i = 0; i < count; ++i)
      layers.push_back({tensor<B, T>(device, extent), tensor<B, T>(device, extent)});
    capacity = row_count;
  }
  /// Writes a pass's keys or values x [tokens, kv width] to its rows of `to`.
  void write(typename B::device& device, view<const T> x, view<T> to) const {
    if (!rows) return B::copy(device, x, to.slice(used, x.rows));
    if constexpr (B::host_memory)
      B::for_each(device, x.rows, detail::put_row_each<T>{x, rows, to});
    else
      B::for_each(device, x.size(), detail::put_number_each<T>{x, rows, to});
  }
};

}  // namespace plumb::inline v0
