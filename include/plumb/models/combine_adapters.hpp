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
                         "\" otherwise than by a low-rank sum (DoRA, a table of "
                         "tokens, a module saved whole, a bias or tokens); merge it alone"));
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

namespace detail {

/// A new adapter on `model` with these factors, scale 1, by the names of the maps; each map has a rank of its own.
template <class B, class T>
policy<B, T> attach_factors(const language_model<B, T>& model, const std::map<std::string, lora_factors>& factors) {
  lora_options o;
  o.targets.clear();
  index_t largest = 1;
  std::map<std::string, index_t> ranks;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    const auto at = factors.find(name);
    if (at == factors.end()) return;
    o.targets.push_back(name);
    const auto rank = static_cast<index_t>(at->second.a.size()) / std::max<index_t>(1, map.inputs());
    ranks.emplace(name, rank);
    largest = std::max(largest, rank);
  });
  o.rank = largest, o.alpha = static_cast<double>(largest);  // scale 1
  for (const auto& [name, rank] : ranks) {
    if (rank == largest) continue;
    o.rank_pattern.emplace_back(as_pattern(name), rank);
    o.alpha_pattern.emplace_back(as_pattern(name), static_cast<double>(rank));
  }
  auto out = attach_lora(model, o);
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (!map.adapter) return;
    const index_t rank = map.adapter->rank();
    const lora_factors& own = factors.at(name);
    map.adapter->a->value = rounded<B, T>(model.device(), {rank, map.inputs()}, own.a);
    map.adapter->b->value = rounded<B, T>(model.device(), {map.outputs(), rank}, own.b);
  });
  return out;
}

/// The weighted sum of changes as one pair of factors, ranks added: A = [w_1 s_1 A_1; …], B = [B_1, …].
template <class T>
lora_factors joined_factors(const std::vector<std::optional<low_rank_change<T>>>& changes,
                            const std::vector<weighted_adapter>& adapters, index_t outputs) {
  lora_factors out;
  for (std::size_t i = 0; i < changes.size(); ++i)
    if (changes[i])
      for (const T x : changes[i]->a) out.a.push_back(adapters[i].weight * changes[i]->scale * static_cast<double>(x));
  for (index_t row = 0; row < outputs; ++row)
    for (const auto& change : changes)
      for (index_t r = 0; change && r < change->rank; ++r)
        out.b.push_back(static_cast<double>(change->b[static_cast<std::size_t>(row * change->rank + r)]));
  return out;
}

}  // namespace detail

/// One adapter that does exactly what the weighted sum of all does: Σ w_i scale_i B_i A_i, ranks added. It sits on
/// `model` afterwards; save it with save_adapter.
template <class B, class T>
policy<B, T> join_adapters(const language_model<B, T>& model, const std::vector<weighted_adapter>& adapters) {
  const auto changes = detail::changes_of(model, adapters);
  std::map<std::string, lora_factors> factors;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (const auto at = changes.find(name); at != changes.end())
      factors.emplace(name, detail::joined_factors(at->second, adapters, map.outputs()));
  });
  return detail::attach_factors(model, factors);
}

/// One adapter of this rank that comes closest to what `how` makes of all: in every map the largest singular values of
/// merge(Δ_1, …, Δ_n), Δ_i = scale_i B_i A_i. Adapters of any ranks go in; a map with a smaller side gets that as its rank,
/// and sums never more than the ranks together, where nothing is lost. It sits on `model` afterwards.
///
/// PEFT calls these svd, ties_svd, dare_linear_svd, dare_ties_svd and magnitude_prune_svd; some of its versions apply each
/// scale twice, w_i scale_i² B_i A_i, which is the same only where alpha is the rank.
/// Errors: as merge_adapters; errc::bad_argument for a rank below 1.
template <class B, class T>
policy<B, T> compress_adapters(const language_model<B, T>& model, const std::vector<weighted_adapter>& adapters,
                               index_t rank, const merge_options& how = {}) {
  if (rank < 1) throw error(errc::bad_argument, "rank", join("expected at least 1, found ", rank));
  how.check();
  const auto changes = detail::changes_of(model, adapters);
  std::vector<double> weights;
  for (const auto& each : adapters) weights.push_back(each.weight);
  std::map<std::string, lora_factors> factors;
  std::uint64_t place = 0;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    const auto at = changes.find(name);
    if (at == changes.end()) return;
    const shape extent{map.outputs(), map.inputs()};
    const index_t most = std::min({rank, extent.rows, extent.columns});
    if (how.method == merge_method::linear) {
      const auto joined = detail::joined_factors(at->second, adapters, extent.rows);
      const auto inner = static_cast<index_t>(joined.a.size()) / extent.columns;
      factors.emplace(name, best_lora_factors(extent, joined, std::min(most, inner)));
    } else {
      std::vector<std::vector<double>> dense;
      for (const auto& each : at->second) dense.push_back(detail::dense_change(each, extent.rows, extent.columns));
      factors.emplace(name, best_lora_factors(extent, merge_changes(std::move(dense), weights, how, place++), most));
    }
  });
  return detail::attach_factors(model, factors);
}

}  // namespace plumb::inline v0
