// SPDX-License-Identifier: BSL-1.0
// The bodies of train/run_state.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/train/run_state.hpp>

namespace plumb::inline v0 {

namespace detail {

/// A double as text that reads back exactly, also NaN.
std::string exact(double x) { return join(x); }
double exact(const std::string& text, const std::string& place) {
  double x = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (status != std::errc() || end != text.data() + text.size())
    throw error(errc::bad_file, place, join("expected a number, found \"", text, "\""));
  return x;
}

std::filesystem::path write_checkpoint(const std::filesystem::path& folder, std::vector<tensor_data> tensors,
                                       const run_state& state) {
  const auto target = folder / join(detail::checkpoint_prefix, state.step);
  const auto unfinished = folder / join(".unfinished-", detail::checkpoint_prefix, state.step);
  std::filesystem::remove_all(unfinished);
  std::filesystem::create_directories(unfinished);
  try {
    for (const auto& [name, list] :
         {std::pair("references", &state.references), std::pair("token_references", &state.token_references)})
      tensors.push_back(
          {name, dtype::f64, {static_cast<index_t>(list->size())}, std::as_bytes(std::span<const double>(*list))});
    tensors.push_back({"position",
                       dtype::u64,
                       {static_cast<index_t>(state.position.size())},
                       std::as_bytes(std::span<const std::uint64_t>(state.position))});
    write_safetensors(unfinished / "training_state.safetensors", tensors, {});

    json::object o;
    o["version"] = 1;
    o["step"] = state.step;
    o["objective"] = state.objective;
    o["fingerprint"] = join(state.fingerprint);
    o["tokens"] = detail::exact(state.tokens);
    o["ratios"] =
        json::array{json::value(detail::exact(state.ratios.sum)), json::value(detail::exact(state.ratios.count))};
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

run_state read_run_state(const std::filesystem::path& checkpoint) {
  const auto path = checkpoint / "training_state.json";
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& o = json::as_object(document, "training_state.json", place);
  run_state state;
  state.step = json::get<index_t>(o, "step", place);
  if (state.step < 0) throw error(errc::bad_file, place, join("\"step\": expected 0 or more, found ", state.step));
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

  if (const json::value* ratios = json::find(o, "ratios")) {
    const auto two = json::as<std::vector<std::string>>(*ratios, "ratios", place);
    if (two.size() != 2) throw error(errc::bad_file, place, "\"ratios\": expected [sum, count]");
    state.ratios = {detail::exact(two[0], place), detail::exact(two[1], place)};
  }
  const auto file = safetensors_file::open(checkpoint / "training_state.safetensors");
  for (const auto& [name, list] :
       {std::pair("references", &state.references), std::pair("token_references", &state.token_references)})
    if (const auto* info = file.find(name); info && info->shape.size() == 1) {
      list->resize(static_cast<std::size_t>(info->shape[0]));
      file.read(name, std::span<double>(*list));
    }
  if (const auto* info = file.find("position"); info && info->type == dtype::u64) {
    state.position.resize(static_cast<std::size_t>(info->elements));
    const auto bytes = file.bytes(*info);
    if (!bytes.empty()) std::memcpy(state.position.data(), bytes.data(), bytes.size());
  }
  return state;
}

}  // namespace detail

std::filesystem::path newest_checkpoint(const std::filesystem::path& folder) {
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

}  // namespace plumb::inline v0
