// SPDX-License-Identifier: BSL-1.0
// Keys and values of tokens seen before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <plumb/backend/concept.hpp>
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

/// Keys and values, one pair of tensors [capacity, kv width] a layer: as they are, or, where attention rounds them to bfloat16 in
/// any case, rounded, which takes half the memory and changes no bit of what attention gives.
template <class B, class T>
struct kv_cache {
  template <class Number>
  struct pair {
    tensor<B, Number> keys, values;
  };
  std::vector<pair<T>> layers;
  std::vector<pair<std::uint16_t>> rounded_layers;  ///< in place of these
  index_t used = 0;                                 ///< where a pass writes its tokens: [used, used + tokens)
  const std::int32_t* rows = nullptr;               ///< or, if there, in these rows [tokens], on the device
  index_t capacity = 0;
  bool ahead = false;  ///< the virtual tokens are there, in the rows after `capacity`

  static bool rounds([[maybe_unused]] const typename B::device& device) {
    if constexpr (rounded_keys<B, T>)
      return B::rounds_keys(device);
    else
      return false;
  }
  /// Bytes of a number of a key.
  static std::size_t number_bytes(const typename B::device& device) {
    return rounds(device) ? sizeof(std::uint16_t) : sizeof(T);
  }
  /// Forgets what was there and has room for `rows` tokens in every layer, and `virtual_rows` after them.
  void reset(const device_ptr<B>& device, index_t layer_count, index_t kv_width, index_t row_count,
             index_t virtual_rows = 0) {
    used = 0;
    rows = nullptr;
    ahead = false;
    const auto make_room = [&](auto& all) {
      const auto count = static_cast<std::size_t>(layer_count);
      if (all.size() == count && capacity >= row_count &&
          (virtual_rows == 0 || count == 0 || all[0].keys.extent().rows >= capacity + virtual_rows))
        return;
      all.clear();
      const shape extent{row_count + virtual_rows, kv_width};
      for (std::size_t i = 0; i < count; ++i) all.push_back({{device, extent}, {device, extent}});
      capacity = row_count;
    };
    if (rounds(*device)) {
      layers.clear();
      make_room(rounded_layers);
    } else {
      rounded_layers.clear();
      make_room(layers);
    }
  }
  /// Writes a layer's keys and values of a pass, [virtual tokens, then tokens; kv width].
  void write(typename B::device& device, index_t layer, index_t virtual_tokens, view<const T> keys,
             view<const T> values) {
    const auto write_to = [&](auto& to) {
      write_rows(device, virtual_tokens, keys, to.keys.get());
      write_rows(device, virtual_tokens, values, to.values.get());
    };
    const auto number = static_cast<std::size_t>(layer);
    rounded_layers.empty() ? write_to(layers[number]) : write_to(rounded_layers[number]);
  }

 private:
  template <class Number>
  void write_rows(typename B::device& device, index_t virtual_tokens, view<const T> x, view<Number> to) const {
    const view<const T> own = x.slice(virtual_tokens, x.rows - virtual_tokens);
    put(device, x.slice(0, virtual_tokens), nullptr, to.slice(capacity, virtual_tokens));
    put(device, own, rows, rows ? to : to.slice(used, own.rows));
  }
  /// to[where[i], :] = x[i, :]; null: 0, 1, 2, …
  template <class Number>
  static void put(typename B::device& device, view<const T> x, const std::int32_t* where, view<Number> to) {
    if constexpr (!std::is_same_v<Number, T>) {
      if constexpr (rounded_keys<B, T>) B::round_rows(device, x, where, to);
    } else if (!where) {
      B::copy(device, x, to);
    } else if constexpr (B::host_memory) {
      B::for_each(device, x.rows, detail::put_row_each<T>{x, where, to});
    } else {
      B::for_each(device, x.size(), detail::put_number_each<T>{x, where, to});
    }
  }
};

}  // namespace plumb::inline v0
