// SPDX-License-Identifier: BSL-1.0
// Putting an adapter on a model: a new one here, a saved one in adapter.hpp.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/adapter_init.hpp>
#include <plumb/models/adapter_places.hpp>
#include <plumb/models/policy.hpp>

namespace plumb::inline v0 {

namespace detail {

/// An adapter's tensors by the names that PEFT stores them under, without its prefix.
template <class B, class T>
using adapter_tensors = std::map<std::string, tensor<B, T>>;

/// A weight of its own that training changes.
template <class B, class T>
weight_ptr<B, T> learnable(tensor<B, T> value, bool learns = true) {
  auto out = std::make_shared<weight_tensor<B, T>>();
  out->value = std::move(value);
  out->set_trainable(learns);
  return out;
}

template <class B, class T>
tensor<B, T> rounded(const device_ptr<B>& device, shape extent, const std::vector<double>& numbers) {
  return tensor<B, T>(device, extent, std::span<const T>(std::vector<T>(numbers.begin(), numbers.end())));
}

/// First factors of map number `which`; the weight is read from the device only when they come out of it.
template <class B, class T>
lora_factors first_factors(const adapted_map<B, T>& at, const lora_plan& plan, std::uint64_t which) {
  const lora_options& o = plan.options();
  std::vector<double> weight;
  if (starts_from_weight(o.init)) {
    const auto host = at.map->weight->host();
    weight.assign(host.begin(), host.end());
  }
  return first_lora_factors(o.init, o.pissa_iterations, at.map->weight->extent(), weight, plan.rank(at.name),
                            plan.scale(at.name), derive_key(o.seed, which), at.name);
}

/// ‖W_j + s B_j A‖ as DoRA's first magnitudes, [1, outputs].
template <class B, class T>
tensor<B, T> first_magnitudes(const device_ptr<B>& device, const lora<B, T>& adapter,
                              const weight_tensor<B, T>& weight) {
  tape<B, T> t(device);
  const auto norms =
      adapted_row_norms(t, t.frozen(weight), adapter.squares->get(), std::as_const(adapter.a->value).get(),
                        std::as_const(adapter.b->value).get(), adapter.scale);
  tensor<B, T> out(device, norms.extent());
  B::copy(*device, norms, out.get());
  return out;
}

/// Puts an adapter on one map. `values` holds its tensors; DoRA's magnitudes may be absent: then they are those of now.
template <class B, class T>
void put_on_map(const device_ptr<B>& device, const adapted_map<B, T>& at, const lora_plan& plan,
                const lora_factors* first, adapter_tensors<B, T>& values,
                std::vector<named_parameter<B, T>>& trainable) {
  const auto add = [&](const std::string& end, tensor<B, T> value) {
    trainable.push_back({at.name + end, learnable(std::move(value))});
    return trainable.back().parameter;
  };
  lora<B, T> adapter;
  adapter.a = add(".lora_A.weight", std::move(values.at(at.name + ".lora_A.weight")));
  adapter.b = add(".lora_B.weight", std::move(values.at(at.name + ".lora_B.weight")));
  adapter.alpha = plan.alpha(at.name);
  adapter.scale = plan.scale(at.name);
  adapter.dropout = plan.options().dropout;
  const weight_tensor<B, T>& weight = *at.map->weight;
  if (first) {
    adapter.first_a = learnable(rounded<B, T>(device, adapter.a->value.extent(), first->a), false);
    adapter.first_b = learnable(rounded<B, T>(device, adapter.b->value.extent(), first->b), false);
  }
  if (plan.options().dora) {
    const tensor<B, T> unpacked = weight.packed ? weight.plain() : tensor<B, T>();
    const view<const T> numbers = weight.packed ? unpacked.get() : weight.value.get();
    adapter.squares = std::make_shared<const tensor<B, T>>(row_squares<B, T>(device, numbers));
    const auto stored = values.find(at.name + ".lora_magnitude_vector");
    adapter.magnitude =
        add(".lora_magnitude_vector",
            stored != values.end() ? std::move(stored->second) : first_magnitudes(device, adapter, weight));
  }
  at.map->adapter = std::move(adapter);
}

template <class B, class T>
void put_on_table(const adapted_table<B, T>& at, const lora_plan& plan, adapter_tensors<B, T>& values,
                  std::vector<named_parameter<B, T>>& trainable) {
  const auto change = std::make_shared<embedding_lora<B, T>>();
  for (auto& [end, to] : {std::pair(".lora_embedding_A", &change->a), std::pair(".lora_embedding_B", &change->b)}) {
    *to = learnable(std::move(values.at(at.name + end)));
    trainable.push_back({at.name + end, *to});
  }
  change->scale = plan.scale(at.name);
  at.table->low_rank = change;
}

/// The rows of a table that these tokens have, [tokens, width].
template <class B, class T>
tensor<B, T> rows_of(const device_ptr<B>& device, const weight_tensor<B, T>& table, std::span<const token_id> tokens) {
  tape<B, T> t(device);
  const auto rows = gather_rows(t, t.frozen(table), upload(t, tokens), static_cast<index_t>(tokens.size()));
  tensor<B, T> out(device, rows.value.extent());
  B::copy(*device, rows.value, out.get());
  return out;
}

template <class B, class T>
void put_tokens(const device_ptr<B>& device, const adapter_places<B, T>& places, const std::vector<token_id>& tokens,
                adapter_tensors<B, T>& values, std::vector<named_parameter<B, T>>& trainable) {
  const weight_tensor<B, T>& table = *places.table->weight;
  const auto stored = values.find(places.tokens_name);
  const auto learnt = std::make_shared<token_rows<B, T>>();
  learnt->rows =
      learnable(stored != values.end() ? std::move(stored->second) : rows_of(device, table, std::span(tokens)));
  learnt->tokens = to_device<B>(device, std::span<const token_id>(tokens));
  std::vector<std::int32_t> slots(static_cast<std::size_t>(table.extent().rows), -1);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    slots[static_cast<std::size_t>(tokens[i])] = static_cast<std::int32_t>(i);
  learnt->slots = to_device<B>(device, std::span<const std::int32_t>(slots));
  places.table->learnt = learnt;
  if (places.tied_head) places.tied_head->learnt = learnt;
  trainable.push_back({places.tokens_name, learnt->rows});
}

/// The model, bare, with an adapter of these tensors. Copies and tokens without a tensor start as they are in the model.
template <class B, class T>
policy<B, T> put_adapter(const language_model<B, T>& model, const lora_plan& plan, const adapter_places<B, T>& places,
                         const std::vector<lora_factors>& first, adapter_tensors<B, T> values) {
  const auto& device = model.device();
  bare(model);
  std::vector<named_parameter<B, T>> trainable;
  for (std::size_t i = 0; i < places.maps.size(); ++i)
    put_on_map(device, places.maps[i], plan, first.empty() ? nullptr : &first[i], values, trainable);
  for (const auto& each : places.tables) put_on_table(each, plan, values, trainable);
  for (const auto& each : places.copies) {
    const auto stored = values.find(each.name);
    const auto copy = learnable<B, T>(stored != values.end() ? std::move(stored->second) : each.own->plain());
    (each.table ? each.table->stand_in : each.own->stand_in) = copy;
    trainable.push_back({each.name, copy});
  }
  if (places.table) put_tokens(device, places, plan.options().trainable_tokens, values, trainable);
  return {model, std::move(trainable), plan.options()};
}

}  // namespace detail

/// Puts a new adapter on the targeted linear maps, with whatever else the options train, and freezes everything else.
///
/// Unless `init` is `random` the policy starts as the model. The model without its adapter stays what it was, whatever the
/// options: it is the reference. Throws errc::bad_argument when nothing matches, naming the maps there are.
template <class B, class T>
policy<B, T> attach_lora(const language_model<B, T>& model, lora_options options = {}) {
  const detail::lora_plan plan(std::move(options));
  const auto places = detail::find_places(model, plan);
  const auto& device = model.device();
  const bool from_weight = starts_from_weight(plan.options().init);
  std::vector<lora_factors> first;
  detail::adapter_tensors<B, T> values;
  for (std::size_t i = 0; i < places.maps.size(); ++i) {
    const auto& [name, map] = places.maps[i];
    const index_t rank = plan.rank(name);
    auto factors = detail::first_factors(places.maps[i], plan, i);
    values.emplace(name + ".lora_A.weight", detail::rounded<B, T>(device, {rank, map->inputs()}, factors.a));
    values.emplace(name + ".lora_B.weight", detail::rounded<B, T>(device, {map->outputs(), rank}, factors.b));
    if (from_weight) first.push_back(std::move(factors));
  }
  for (std::size_t i = 0; i < places.tables.size(); ++i) {
    const auto& [name, table] = places.tables[i];
    const shape extent = table->weight->extent();
    const auto factors = first_embedding_factors(plan.options().init, extent, plan.rank(name),
                                                 derive_key(plan.options().seed, places.maps.size() + i));
    values.emplace(name + ".lora_embedding_A",
                   detail::rounded<B, T>(device, {extent.rows, plan.rank(name)}, factors.a));
    values.emplace(name + ".lora_embedding_B",
                   detail::rounded<B, T>(device, {extent.columns, plan.rank(name)}, factors.b));
  }
  return detail::put_adapter(model, plan, places, first, std::move(values));
}

}  // namespace plumb::inline v0
