// SPDX-License-Identifier: BSL-1.0
// A run on disk: everything that the next step depends on, so that a resumed run goes on bit for bit.
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <plumb/io/json.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/optim/adamw.hpp>

namespace plumb::inline v0 {

/// What a checkpoint holds beside parameters and moments. The order of the data and all random numbers are functions of
/// (seed, step), so a position is a number.
struct run_state {
  index_t step = 0;                ///< optimiser steps done
  std::string objective;           ///< name, to refuse another one's checkpoint
  std::uint64_t fingerprint = 0;   ///< of data and options that fix the course of the run
  double tokens = 0;               ///< tokens seen
  metric_list pending;             ///< metrics since the last log entry
  std::vector<double> references;  ///< reference log-probability of every reply, in the order of the data
};

namespace detail {

inline constexpr std::string_view checkpoint_prefix = "checkpoint-";

/// A double as text that reads back exactly, also NaN.
inline std::string exact(double x) { return join(x); }
inline double exact(const std::string& text, const std::string& place) {
  double x = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (status != std::errc() || end != text.data() + text.size())
    throw error(errc::bad_file, place, join("expected a number, found \"", text, "\""));
  return x;
}

}  // namespace detail

/// Writes `folder/checkpoint-<step>`: training_state.safetensors (parameters, moments, references) and
/// training_state.json. It appears whole or not at all. Returns its path.
template <class B, class T>
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, const policy<B, T>& p,
                                      adamw<B, T>& optimiser, const run_state& state) {
  const auto target = folder / join(detail::checkpoint_prefix, state.step);
  const auto unfinished = folder / join(".unfinished-", detail::checkpoint_prefix, state.step);
  std::filesystem::remove_all(unfinished);
  std::filesystem::create_directories(unfinished);
  try {
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
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].bytes = std::as_bytes(std::span<const T>(numbers[i]));
    tensors.push_back({"references",
                       dtype::f64,
                       {static_cast<index_t>(state.references.size())},
                       std::as_bytes(std::span<const double>(state.references))});
    write_safetensors(unfinished / "training_state.safetensors", tensors, {});

    json::object o;
    o["version"] = 1;
    o["step"] = state.step;
    o["objective"] = state.objective;
    o["fingerprint"] = join(state.fingerprint);
    o["tokens"] = detail::exact(state.tokens);
    json::array pending;
    for (const metric& m : state.pending)
      pending.push_back(
          json::array{json::value(m.name), json::value(detail::exact(m.sum)), json::value(detail::exact(m.weight))});
    o["pending"] = std::move(pending);
    const std::string text = json::dump(o) + "\n";
    write_file_atomically(unfinished / "training_state.json",
                          [&](auto& out) { out.write(std::as_bytes(std::span(text))); });
    std::filesystem::remove_all(target);
    std::filesystem::rename(unfinished, target);
  } catch (const std::filesystem::filesystem_error& problem) {
    std::error_code ignored;
    std::filesystem::remove_all(unfinished, ignored);
    throw error(errc::io, target.string(), problem.what());
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(unfinished, ignored);
    throw;
  }
  return target;
}

/// The newest checkpoint in `folder`; an empty path when there is none.
inline std::filesystem::path newest_checkpoint(const std::filesystem::path& folder) {
  std::filesystem::path newest;
  index_t best = -1;
  if (!std::filesystem::is_directory(folder)) return newest;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(detail::checkpoint_prefix)) continue;
    const std::string_view digits = std::string_view(name).substr(detail::checkpoint_prefix.size());
    index_t step = -1;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
    if (status == std::errc() && end == digits.data() + digits.size() && step > best)
      best = step, newest = entry.path();
  }
  return newest;
}

/// Puts parameters and moments back and returns the rest. Throws errc::bad_file for a damaged checkpoint and
/// errc::bad_argument for one of another policy; then nothing has changed.
template <class B, class T>
run_state load_checkpoint(const std::filesystem::path& checkpoint, const policy<B, T>& p, adamw<B, T>& optimiser) {
  const auto path = checkpoint / "training_state.json";
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& o = json::as_object(document, "training_state.json", place);
  run_state state;
  state.step = json::get<index_t>(o, "step", place);
  state.objective = json::get<std::string>(o, "objective", place);
  const auto print = json::get<std::string>(o, "fingerprint", place);
  std::from_chars(print.data(), print.data() + print.size(), state.fingerprint);
  state.tokens = detail::exact(json::get<std::string>(o, "tokens", place), place);
  for (const auto& entry : json::get<json::array>(o, "pending", place)) {
    const auto m = json::as<std::vector<std::string>>(entry, "pending", place);
    if (m.size() != 3) throw error(errc::bad_file, place, "\"pending\": expected [name, sum, weight]");
    const double sum = detail::exact(m[1], place), weight = detail::exact(m[2], place);
    state.pending.add_sum(m[0], sum, weight);
  }

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
  if (const auto* info = file.find("references"); info && info->shape.size() == 1) {
    state.references.resize(static_cast<std::size_t>(info->shape[0]));
    file.read("references", std::span<double>(state.references));
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
