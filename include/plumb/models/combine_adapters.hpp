// SPDX-License-Identifier: BSL-1.0
// Several adapters of one model become one adapter, or go into the weights together.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <plumb/models/adapter.hpp>
#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/task_vectors.hpp>

namespace plumb::inline v0 {

/// A saved adapter and how much of it to take.
struct weighted_adapter {
  std::filesystem::path folder;
  double weight = 1;
};

namespace detail {

/// What one adapter adds to one map: scale · B A; on the host.
template <class T>
struct low_rank_change {
  index_t rank = 0;
  double scale = 1;
  std::vector<T> a;  ///< [rank, in]
  std::vector<T> b;  ///< [out, rank]
};

/// Every adapter's change of every map, by the map's name. Loads one adapter after another onto the model, which is
/// left without any.
template <class B, class T>
std::map<std::string, std::vector<std::optional<low_rank_change<T>>>> changes_of(
    const language_model<B, T>& model, const std::vector<weighted_adapter>& adapters) {
  if (adapters.empty()) throw error(errc::bad_argument, "adapters", "expected at least one");
  std::map<std::string, std::vector<std::optional<low_rank_change<T>>>> out;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (!std::isfinite(adapters[i].weight))
      throw error(errc::bad_argument, adapters[i].folder.string(),
                  join("expected a finite weight, found ", adapters[i].weight));
    const auto p = load_adapter(model, adapters[i].folder);
    if (p.score_head())
      throw error(errc::unsupported, adapters[i].folder.string(),
                  "an adapter with a score head: merge it alone, its head cannot be averaged with the others'");
    for (const auto& [name, change] : changed_weights(p)) {
      if (!change.low_rank || change.low_rank->magnitude)
        throw error(errc::unsupported, adapters[i].folder.string(),
                    join("it changes \"", name,
                         "\" otherwise than by a low-rank sum (DoRA, a module saved whole, a bias or "
                         "tokens); merge it alone"));
      const auto& of = *change.low_rank;
      auto& changes = out[name.substr(0, name.rfind('.'))];
      changes.resize(adapters.size());
      auto a = of.a->value.host(), b = of.b->value.host();
      if (of.first_a)
        a = stacked(std::move(a), of.first_a->value.host()),
        b = side_by_side(b, of.first_b->value.host(), of.b->value.extent().rows);
      changes[i] = {of.first_a ? 2 * of.rank() : of.rank(), of.scale, std::move(a), std::move(b)};
    }
  }
  bare(model);
  return out;
}

/// A regular expression that matches this name alone.
inline std::string as_pattern(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '.' ? "\\." : std::string(1, c);
  return out;
}

/// scale · B A as numbers, [out · in].
template <class T>
std::vector<double> dense_change(const std::optional<low_rank_change<T>>& change, index_t outputs, index_t inputs) {
  std::vector<double> out(static_cast<std::size_t>(outputs * inputs), 0);
  if (!change) return out;
  for (index_t i = 0; i < outputs; ++i)
    for (index_t r = 0; r < change->rank; ++r) {
      const double factor =
          change->scale * static_cast<double>(change->b[static_cast<std::size_t>(i * change->rank + r)]);
      const T* const row = change->a.data() + r * inputs;
      double* const to = out.data() + i * inputs;
      for (index_t j = 0; j < inputs; ++j) to[j] += factor * static_cast<double>(row[j]);
    }
  return out;
}

}  // namespace detail

/// The model with all adapters in its weights: W' = W + merge(Δ_1, …, Δ_n), Δ_i = scale_i B_i A_i whole, so that no cross
/// terms arise. `model` itself loses adapters that were on it, its weights stay.
/// Errors: as load_adapter; errc::bad_argument for options out of range; errc::unsupported for a score head.
template <class B, class T>
language_model<B, T> merge_adapters(const language_model<B, T>& model, const std::vector<weighted_adapter>& adapters,
                                    const merge_options& how = {}) {
  how.check();
  const auto changes = detail::changes_of(model, adapters);
  std::vector<double> weights;
  for (const auto& each : adapters) weights.push_back(each.weight);
  std::map<std::string, const weight_tensor<B, T>*> own;
  std::map<std::string, const std::vector<std::optional<detail::low_rank_change<T>>>*> adapted;
  for (const auto& [name, list] : changes) adapted.emplace(name + ".weight", &list);
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) { own.emplace(name, w.get()); });
  const model_config config = detail::merged_config(model, adapted);
  std::uint64_t place = 0;
  return detail::remade(model, config, [&](const std::string& name, shape extent) {
    const auto at = adapted.find(name);
    if (at == adapted.end()) return own.at(name)->plain();
    std::vector<std::vector<double>> dense;
    for (const auto& each : *at->second) dense.push_back(detail::dense_change(each, extent.rows, extent.columns));
    const auto change = merge_changes(std::move(dense), weights, how, place++);
    std::vector<T> numbers = own.at(name)->host();
    for (std::size_t k = 0; k < numbers.size(); ++k) numbers[k] += static_cast<T>(change[k]);
    return tensor<B, T>(model.device(), extent, std::span<const T>(numbers));
  });
}

/// One adapter that does exactly what the weighted sum of all does: Σ w_i scale_i B_i A_i, ranks added. It sits on
/// `model` afterwards; save it with save_adapter.
template <class B, class T>
policy<B, T> join_adapters(const language_model<B, T>& model, const std::vector<weighted_adapter>& adapters) {
  const auto changes = detail::changes_of(model, adapters);
  lora_options o;
  o.targets.clear();
  index_t largest = 1;
  std::map<std::string, index_t> ranks;
  for (const auto& [name, list] : changes) {
    o.targets.push_back(name);
    index_t rank = 0;
    for (const auto& change : list) rank += change ? change->rank : 0;
    ranks.emplace(name, rank);
    largest = std::max(largest, rank);
  }
  o.rank = largest, o.alpha = static_cast<double>(largest);  // scale 1
  for (const auto& [name, rank] : ranks) {
    if (rank == largest) continue;
    o.rank_pattern.emplace_back(detail::as_pattern(name), rank);
    o.alpha_pattern.emplace_back(detail::as_pattern(name), static_cast<double>(rank));
  }
  auto out = attach_lora(model, o);
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (!map.adapter) return;
    const index_t rank = map.adapter->rank(), outputs = map.outputs(), inputs = map.inputs();
    std::vector<T> a, b(static_cast<std::size_t>(outputs * rank));
    index_t first = 0;
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const auto& change = changes.at(name)[i];
      if (!change) continue;
      for (const T x : change->a)
        a.push_back(static_cast<T>(adapters[i].weight * change->scale * static_cast<double>(x)));
      for (index_t row = 0; row < outputs; ++row)
        for (index_t r = 0; r < change->rank; ++r)
          b[static_cast<std::size_t>(row * rank + first + r)] =
              change->b[static_cast<std::size_t>(row * change->rank + r)];
      first += change->rank;
    }
    map.adapter->a->value = tensor<B, T>(model.device(), {rank, inputs}, std::span<const T>(a));
    map.adapter->b->value = tensor<B, T>(model.device(), {outputs, rank}, std::span<const T>(b));
  });
  return out;
}

}  // namespace plumb::inline v0
