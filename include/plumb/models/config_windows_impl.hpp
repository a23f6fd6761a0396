// SPDX-License-Identifier: BSL-1.0
// Windows of attention in config.json: part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Which layers see a window only: those that "layer_types" names, or by the family's rule. A key that is absent has
/// the value that transformers gives it, null means no window.
void read_windows(const json::object& c, model_config& out, const std::string& place) {
  const std::string& family = out.family;
  const bool qwen = family.starts_with("qwen"), smollm3 = family == "smollm3", cohere2 = family == "cohere2";
  const bool gemma = family == "gemma2" || family == "gemma3_text", mixtral = family == "mixtral";
  const bool absent_is_none = family == "phi3" || smollm3 || family == "starcoder2" || mixtral;
  if (!(qwen || gemma || cohere2 || absent_is_none || family == "mistral")) return;
  if ((qwen || smollm3) && !json::get_or<bool>(c, "use_sliding_window", false, place)) return;
  const json::value* given = json::find(c, "sliding_window");
  if (given ? given->is_null() : absent_is_none) return;
  const index_t window = given ? json::as<index_t>(*given, "sliding_window", place) : 4096;
  if (window < 1) throw error(errc::bad_model, place, join("\"sliding_window\": expected at least 1, found ", window));
  const json::value* types = json::find(c, "layer_types");
  if (types && !types->is_null()) {
    for (const std::string& type : json::as<std::vector<std::string>>(*types, "layer_types", place)) {
      if (type != "sliding_attention" && type != "full_attention")
        throw error(errc::unsupported, place,
                    join("\"layer_types\": plumb reads full_attention and sliding_attention, found \"", type, "\""));
      out.windows.push_back(type == "sliding_attention" ? window : 0);
    }
    return;
  }
  if (family == "qwen2_moe")
    throw error(errc::unsupported, place,
                "\"use_sliding_window\" is true without \"layer_types\": versions of transformers disagree about which "
                "layers have the window then; name them");
  const index_t from = qwen && family != "qwen3_moe" ? json::get_or<index_t>(c, "max_window_layers", 28, place) : 0;
  if (smollm3) {  // on the layers without positions
    for (const bool u : out.unturned) out.windows.push_back(u ? window : 0);
    return;
  }
  const index_t every =
      family == "gemma2" ? 2 : json::get_or<index_t>(c, "sliding_window_pattern", cohere2 ? 4 : 6, place);
  for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i) {
    const bool sees_all = gemma || cohere2 ? every > 0 && (i + 1) % every == 0 : i < from;
    out.windows.push_back(sees_all ? 0 : window);
  }
}

/// Which layers have no positions: Cohere 2's without a window, those that SmolLM3 marks with a 0.
void read_unturned(const json::object& c, model_config& out, const std::string& place) {
  const index_t layers = std::clamp<index_t>(out.layers, 0, 10000);
  if (out.family == "smollm3") {
    if (const json::value* list = json::find(c, "no_rope_layers"); list && !list->is_null()) {
      for (const auto turned : json::as<std::vector<index_t>>(*list, "no_rope_layers", place))
        out.unturned.push_back(turned == 0);
      if (static_cast<index_t>(out.unturned.size()) > layers) out.unturned.resize(static_cast<std::size_t>(layers));
    } else {
      const auto every = json::get_or<index_t>(c, "no_rope_layer_interval", 4, place);
      if (every < 1)
        throw error(errc::bad_model, place, join("\"no_rope_layer_interval\": expected at least 1, found ", every));
      for (index_t i = 0; i < layers; ++i) out.unturned.push_back((i + 1) % every == 0);
    }
  }
  if (out.family == "cohere2") {
    if (out.windows.empty()) out.unturned.assign(static_cast<std::size_t>(layers), true);
    for (const index_t w : out.windows) out.unturned.push_back(w == 0);
  }
  if (std::find(out.unturned.begin(), out.unturned.end(), true) == out.unturned.end()) out.unturned.clear();
}

void write_windows(const model_config& c, json::object& o) {
  for (const std::string_view never :
       {"llama", "gemma", "olmo2", "olmoe", "cohere", "granite", "granitemoe", "stablelm"})
    if (c.family == never) return;
  const index_t window = c.windows.empty() ? 0 : *std::max_element(c.windows.begin(), c.windows.end());
  o["sliding_window"] = window > 0 ? json::value(window) : json::value(nullptr);
  for (const std::string_view everywhere : {"mistral", "mixtral", "phi3", "starcoder2"})
    if (c.family == everywhere) return;
  if (c.family.starts_with("qwen") || c.family == "smollm3") o["use_sliding_window"] = window > 0;
  if (c.family == "qwen3_moe") return;
  json::array types;
  for (index_t i = 0; i < c.layers; ++i)
    types.emplace_back(window > 0 && c.windows[static_cast<std::size_t>(i)] > 0 ? "sliding_attention"
                                                                                : "full_attention");
  o["layer_types"] = std::move(types);
}

}  // namespace detail

}  // namespace plumb::inline v0
