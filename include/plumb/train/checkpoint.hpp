// SPDX-License-Identifier: BSL-1.0
// A run on disk: everything that the next step depends on, so that a resumed run goes on bit for bit.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/optim/adamw.hpp>
#include <plumb/train/run_state.hpp>

namespace plumb::inline v0 {

/// Writes `folder/checkpoint-<step>`: training_state.safetensors (parameters, moments, references; with `reference` the
/// weights of one that moves) and training_state.json. It appears whole or not at all. Returns its path.
template <class B, class T>
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, const policy<B, T>& p,
                                      adamw<B, T>& optimiser, const run_state& state,
                                      const std::vector<tensor<B, T>>& reference = {}) {
  std::vector<std::vector<T>> numbers;
  std::vector<tensor_data> tensors;
  const auto keep = [&](std::string name, const tensor<B, T>& values) {
    numbers.push_back(values.host());
    tensors.push_back({std::move(name),
                       sizeof(T) == 8 ? dtype::f64 : dtype::f32,
                       {values.extent().rows, values.extent().columns},
                       {}});
  };
  for (std::size_t i = 0; i < p.trainable().size(); ++i) {
    const std::string& name = p.trainable()[i].name;
    keep("parameter." + name, p.trainable()[i].parameter->value);
    keep("m." + name, optimiser.states()[i].m);
    keep("v." + name, optimiser.states()[i].v);
    if (!reference.empty()) keep("reference." + name, reference[i]);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].bytes = std::as_bytes(std::span<const T>(numbers[i]));
  return detail::write_checkpoint(folder, std::move(tensors), state);
}

/// Puts parameters and moments back and returns the rest. Throws errc::bad_file for a damaged checkpoint and
/// errc::bad_argument for one of another policy; then nothing has changed.
template <class B, class T>
run_state load_checkpoint(const std::filesystem::path& checkpoint, const policy<B, T>& p, adamw<B, T>& optimiser,
                          std::vector<tensor<B, T>>* reference = nullptr) {
  run_state state = detail::read_run_state(checkpoint);
  const auto file = safetensors_file::open(checkpoint / "training_state.safetensors");
  const auto read = [&](const std::string& name, const tensor<B, T>& like) {
    const auto* info = file.find(name);
    const std::vector<index_t> expected{like.extent().rows, like.extent().columns};
    if (!info || info->shape != expected)
      throw error(errc::bad_argument, checkpoint.string(),
                  join("this checkpoint is of another policy: \"", name, "\" is missing or has another shape"));
    std::vector<T> values(static_cast<std::size_t>(like.size()));
    file.read(name, std::span<T>(values));
    return values;
  };
  std::vector<std::vector<T>> all;  // everything is read before anything changes
  for (std::size_t i = 0; i < p.trainable().size(); ++i) {
    const std::string& name = p.trainable()[i].name;
    const auto& value = p.trainable()[i].parameter->value;
    for (const char* kind : {"parameter.", "m.", "v."}) all.push_back(read(kind + name, value));
  }
  if (reference) {
    std::vector<tensor<B, T>> found;
    for (const auto& each : p.trainable())
      if (const auto& value = each.parameter->value; file.find("reference." + each.name))
        found.emplace_back(value.device(), value.extent(), std::span<const T>(read("reference." + each.name, value)));
    *reference = std::move(found);
  }
  for (std::size_t i = 0; i < p.trainable().size(); ++i) {
    p.trainable()[i].parameter->value.assign(all[3 * i]);
    optimiser.states()[i].m.assign(all[3 * i + 1]);
    optimiser.states()[i].v.assign(all[3 * i + 2]);
  }
  optimiser.set_steps(state.step);
  return state;
}

}  // namespace plumb::inline v0
