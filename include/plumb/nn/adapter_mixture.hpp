// SPDX-License-Identifier: BSL-1.0
// Rows of one batch that run with different adapters: which change each map has under each adapter.
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include <plumb/autograd/row_ranges.hpp>
#include <plumb/nn/lora.hpp>

namespace plumb::inline v0 {

/// The low-rank changes that numbered adapters make, by the linear map (its address) that they change.
template <class B, class T>
class adapter_table {
 public:
  void put(const void* map, index_t adapter, lora<B, T> change) {
    changes_[map].insert_or_assign(adapter, std::move(change));
  }
  /// Null where the adapter leaves the map as it is.
  [[nodiscard]] const lora<B, T>* find(const void* map, index_t adapter) const {
    const auto of_map = changes_.find(map);
    if (of_map == changes_.end()) return nullptr;
    const auto found = of_map->second.find(adapter);
    return found == of_map->second.end() ? nullptr : &found->second;
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [map, changes] : changes_)
      for (const auto& [adapter, change] : changes) visit(change);
  }

 private:
  std::map<const void*, std::map<index_t, lora<B, T>>> changes_;
};

/// A batch's rows and their adapters; it must outlive the pass that points to it.
template <class B, class T>
struct adapter_mixture {
  const adapter_table<B, T>* table = nullptr;
  std::vector<adapter_range> rows;       ///< of the batch
  std::vector<adapter_range> head_rows;  ///< of the rows that the head reads

  /// The same for some rows of the batch by themselves, such as an expert's.
  [[nodiscard]] adapter_mixture of_rows(std::span<const std::int32_t> chosen) const;

  /// The map `map` with weight W: each range of x's rows by itself, exactly as it would be computed alone.
  /// `own`: the change on the model, null: none. x [tokens, in] → [tokens, out]
  variable<B, T> product(pass<B, T>& p, variable<B, T> x, variable<B, T> weight, const void* map,
                         const lora<B, T>* own) const {
    auto& t = p.tape;
    const auto change_of = [&](const adapter_range& r) {
      return r.adapter == own_adapter ? own : r.adapter == no_adapter ? nullptr : table->find(map, r.adapter);
    };
    const auto& ranges = p.head_row < 0 ? rows : head_rows;
    const index_t begin = std::max<index_t>(0, p.head_row), end = begin + x.rows();
    if (std::none_of(ranges.begin(), ranges.end(), change_of)) return product_with(t, x, weight);
    variable<B, T> y = t.constant(t.memory().template make<T>({x.rows(), weight.rows()}));
    for (const adapter_range& r : ranges) {
      const index_t first = std::max(begin, r.first), count = std::min(end, r.first + r.count) - first;
      if (count <= 0) continue;
      const auto part = rows_between(t, x, first - begin, count);  // [count, in]
      const auto* const change = change_of(r);
      y = place_rows(t, y, change ? (*change)(p, part, weight) : product_with(t, part, weight), first - begin);
    }
    return y;
  }
  /// Would training change what any of these rows' adapters make of the map?
  [[nodiscard]] bool learns(const void* map) const {
    return std::any_of(head_rows.begin(), head_rows.end(), [&](const adapter_range& r) {
      const auto* const change = r.adapter < 0 ? nullptr : table->find(map, r.adapter);
      return change && change->learns();
    });
  }
};

/// The ranges of `chosen` rows of a batch, in their order.
inline std::vector<adapter_range> ranges_of(std::span<const adapter_range> ranges,
                                            std::span<const std::int32_t> chosen) {
  std::vector<adapter_range> out;
  for (const std::int32_t row : chosen) {
    const auto after = std::upper_bound(ranges.begin(), ranges.end(), static_cast<index_t>(row),
                                        [](index_t at, const adapter_range& r) { return at < r.first; });
    append_rows(out, 1, (after - 1)->adapter);
  }
  return out;
}

template <class B, class T>
adapter_mixture<B, T> adapter_mixture<B, T>::of_rows(std::span<const std::int32_t> chosen) const {
  return {table, ranges_of(rows, chosen), {}};
}

}  // namespace plumb::inline v0
