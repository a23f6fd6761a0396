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
  const bool qwen = family.starts_with("qwen"), gemma = family == "gemma2" || family == "gemma3_text";
  const bool mixtral = family == "mixtral";
  if (!(qwen || gemma || mixtral || family == "mistral" || family == "phi3")) return;
  if (qwen && !json::get_or<bool>(c, "use_sliding_window", false, place)) return;
  const json::value* given = json::find(c, "sliding_window");
  if (given ? given->is_null() : family == "phi3" || mixtral) return;
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
  const index_t every = family == "gemma2" ? 2 : json::get_or<index_t>(c, "sliding_window_pattern", 6, place);
  for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i) {
    const bool sees_all = gemma ? every > 0 && (i + 1) % every == 0 : i < from;
    out.windows.push_back(sees_all ? 0 : window);
  }
}

void write_windows(const model_config& c, json::object& o) {
  if (c.family == "llama" || c.family == "gemma" || c.family == "olmo2" || c.family == "olmoe" || c.family == "cohere")
    return;
  const index_t window = c.windows.empty() ? 0 : *std::max_element(c.windows.begin(), c.windows.end());
  o["sliding_window"] = window > 0 ? json::value(window) : json::value(nullptr);
  if (c.family == "mistral" || c.family == "mixtral" || c.family == "phi3") return;
  if (c.family.starts_with("qwen")) o["use_sliding_window"] = window > 0;
  if (c.family == "qwen3_moe") return;
  json::array types;
  for (index_t i = 0; i < c.layers; ++i)
    types.emplace_back(window > 0 && c.windows[static_cast<std::size_t>(i)] > 0 ? "sliding_attention"
                                                                                : "full_attention");
  o["layer_types"] = std::move(types);
}

}  // namespace detail

}  // namespace plumb::inline v0
