// SPDX-License-Identifier: BSL-1.0
// config.json of the families that are built like Llama: read, checked, written.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/rope_scaling.hpp>

namespace plumb::inline v0 {

/// The numbers that fix a decoder that is built like Llama: Llama, Mistral, Qwen2, Qwen3.
struct model_config {
  std::string family = "llama";   ///< "model_type" on the hub
  index_t hidden_size = 0;        ///< width of the residual stream
  index_t intermediate_size = 0;  ///< width inside the feed-forward part
  index_t layers = 0;
  index_t heads = 0;
  index_t kv_heads = 0;  ///< divides heads
  index_t head_width = 0;
  index_t vocabulary = 0;
  index_t max_positions = 2048;  ///< longest sequence the model was trained for
  double norm_epsilon = 1e-5;
  double rope_theta = 10000;
  plumb::rope_scaling rope_scaling{};
  std::vector<index_t> windows{};  ///< [layers] keys that a token of the layer sees, itself included; 0, or empty: all
  bool tied_head = false;          ///< the head's weight is the embedding
  bool attention_bias = false;     ///< of queries, keys and values
  bool output_bias = false;        ///< of attention's output
  bool head_norms = false;         ///< queries and keys are normalised head by head
  bool mlp_bias = false;
  std::optional<token_id> bos;
  std::vector<token_id> eos;      ///< any of them ends a reply
  std::string dtype = "float32";  ///< as stored

  /// Throws errc::bad_model, naming `place`, when the numbers do not make a model.
  void check(const std::string& place) const {
    const auto fail = [&](std::string_view key, index_t found, std::string_view expected) {
      throw error(errc::bad_model, place, join("\"", key, "\": expected ", expected, ", found ", found));
    };
    constexpr index_t most = index_t{1} << 31;
    const auto size = [&](std::string_view key, index_t value) {
      if (value < 1 || value >= most) fail(key, value, "a size from 1 to 2147483647");
    };
    size("hidden_size", hidden_size);
    size("intermediate_size", intermediate_size);
    size("num_attention_heads", heads);
    size("num_key_value_heads", kv_heads);
    size("head_dim", head_width);
    size("vocab_size", vocabulary);
    size("max_position_embeddings", max_positions);
    if (layers < 0 || layers > 10000) fail("num_hidden_layers", layers, "at most 10000");
    if (heads % kv_heads != 0)
      fail("num_key_value_heads", kv_heads, join("a divisor of num_attention_heads (", heads, ")"));
    if (head_width % 2 != 0) fail("head_dim", head_width, "an even number: rotary positions turn pairs");
    if (heads > most / head_width) fail("head_dim", head_width, "a smaller number");
    if (!(norm_epsilon > 0 && norm_epsilon < 1))
      throw error(errc::bad_model, place, "\"rms_norm_eps\": expected a number between 0 and 1");
    if (!(rope_theta > 1 && rope_theta < 1e30))
      throw error(errc::bad_model, place, "\"rope_theta\": expected a number above 1");
    const plumb::rope_scaling& s = rope_scaling;
    if (!(s.factor >= 1 && s.factor < 1e6))
      throw error(errc::bad_model, place, join("rotary \"factor\": expected at least 1, found ", s.factor));
    const bool stretched = s.how == rope_scaling::kind::llama3 || s.how == rope_scaling::kind::yarn;
    if (stretched && (s.positions < 1 || s.positions >= most))
      fail("original_max_position_embeddings", s.positions, "a size from 1 to 2147483647");
    if (s.how == rope_scaling::kind::llama3 && !(s.low_frequency > 0 && s.high_frequency > s.low_frequency))
      throw error(errc::bad_model, place, "\"low_freq_factor\": expected above 0 and below \"high_freq_factor\"");
    if (s.how == rope_scaling::kind::yarn && !(s.slow_turns > 0 && s.fast_turns > s.slow_turns && s.magnitude >= 0))
      throw error(errc::bad_model, place, "\"beta_slow\": expected above 0 and below \"beta_fast\"");
    if (!windows.empty() && static_cast<index_t>(windows.size()) != layers)
      fail("layer_types", static_cast<index_t>(windows.size()), join("one for each of the ", layers, " layers"));
    for (const index_t w : windows)
      if (w < 0) fail("sliding_window", w, "at least 1");
  }
};

namespace detail {

/// A token id or a list of them; null and absent give none.
inline std::vector<token_id> token_ids(const json::object& from, std::string_view key, const std::string& place) {
  const json::value* v = json::find(from, key);
  if (!v || v->is_null()) return {};
  if (v->is_array()) return json::as<std::vector<token_id>>(*v, key, place);
  return {json::as<token_id>(*v, key, place)};
}

/// Rotary positions: `rope_theta` stands at the top or, in newer files, inside "rope_parameters".
inline void read_rope(const json::object& c, model_config& out, const std::string& place) {
  using kind = rope_scaling::kind;
  out.rope_theta = json::get_or<double>(c, "rope_theta", 10000.0, place);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::value* v = json::find(c, key);
    if (!v || v->is_null()) continue;
    const auto& o = json::as_object(*v, key, place);
    const auto type = json::get_or<std::string>(
        o, "rope_type", json::get_or<std::string>(o, "type", std::string("default"), place), place);
    out.rope_theta = json::get_or<double>(o, "rope_theta", out.rope_theta, place);
    if (type == "default") continue;
    rope_scaling& s = out.rope_scaling;
    for (const kind k : {kind::linear, kind::llama3, kind::yarn})
      if (type == name(k)) s.how = k;
    if (s.how == kind::none)
      throw error(errc::unsupported, place,
                  join("\"", key, "\" of type \"", type, "\": plumb reads default, linear, llama3 and yarn"));
    s.positions = json::get_or<index_t>(o, "original_max_position_embeddings", out.max_positions, place);
    const auto ratio = static_cast<double>(out.max_positions) / static_cast<double>(std::max<index_t>(1, s.positions));
    s.factor =
        s.how == kind::yarn ? json::get_or<double>(o, "factor", ratio, place) : json::get<double>(o, "factor", place);
    if (s.how == kind::llama3) {
      s.low_frequency = json::get<double>(o, "low_freq_factor", place);
      s.high_frequency = json::get<double>(o, "high_freq_factor", place);
    }
    if (s.how == kind::yarn) {
      s.fast_turns = json::get_or<double>(o, "beta_fast", 32.0, place);
      s.slow_turns = json::get_or<double>(o, "beta_slow", 1.0, place);
      s.whole_ends = json::get_or<bool>(o, "truncate", true, place);
      const auto grown = [&](double by) { return s.factor > 1 ? 0.1 * by * std::log(s.factor) + 1 : 1; };
      const double one = json::get_or<double>(o, "mscale", 0.0, place);
      const double all = json::get_or<double>(o, "mscale_all_dim", 0.0, place);
      s.magnitude =
          json::get_or<double>(o, "attention_factor", one != 0 && all != 0 ? grown(one) / grown(all) : grown(1), place);
    }
  }
}

/// Which layers see a window only. Mistral: all of them; Qwen: those that "layer_types" or "max_window_layers" name.
inline void read_windows(const json::object& c, model_config& out, const std::string& place) {
  const index_t window = json::get_or<index_t>(c, "sliding_window", 0, place);
  const bool qwen = out.family.starts_with("qwen");
  if (window <= 0 || out.family == "llama" || (qwen && !json::get_or<bool>(c, "use_sliding_window", false, place)))
    return;
  const index_t from = qwen ? json::get_or<index_t>(c, "max_window_layers", 28, place) : 0;
  for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i) out.windows.push_back(i >= from ? window : 0);
  const json::value* types = json::find(c, "layer_types");
  if (!types || types->is_null()) return;
  const auto named = json::as<std::vector<std::string>>(*types, "layer_types", place);
  out.windows.clear();
  for (const std::string& type : named) {
    if (type != "sliding_attention" && type != "full_attention")
      throw error(errc::unsupported, place,
                  join("\"layer_types\": plumb reads full_attention and sliding_attention, found \"", type, "\""));
    out.windows.push_back(type == "sliding_attention" ? window : 0);
  }
}

/// The families that are built like Llama, with the name of their class on the hub.
inline std::string_view class_of_family(std::string_view family) {
  constexpr std::pair<std::string_view, std::string_view> all[] = {{"llama", "LlamaForCausalLM"},
                                                                   {"mistral", "MistralForCausalLM"},
                                                                   {"qwen2", "Qwen2ForCausalLM"},
                                                                   {"qwen3", "Qwen3ForCausalLM"}};
  for (const auto& [name, type] : all)
    if (name == family) return type;
  return {};
}

}  // namespace detail

/// Reads `folder/config.json` (and end-of-text ids from generation_config.json, if there).
/// Errors: errc::not_found, errc::bad_file, errc::bad_model, errc::unsupported for other families.
inline model_config read_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path))
    throw error(errc::not_found, path.string(),
                "expected a model folder with config.json, model.safetensors and tokenizer.json");
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& c = json::as_object(document, "config.json", place);

  model_config out;
  out.family = json::get<std::string>(c, "model_type", place);
  if (detail::class_of_family(out.family).empty())
    throw error(errc::unsupported, place,
                join("\"model_type\" is \"", out.family, "\"; plumb reads llama, mistral, qwen2 and qwen3"));
  const auto activation = json::get_or<std::string>(c, "hidden_act", "silu", place);
  if (activation != "silu")
    throw error(errc::unsupported, place,
                join("\"hidden_act\" is \"", activation, "\"; models built like Llama use \"silu\""));
  out.hidden_size = json::get<index_t>(c, "hidden_size", place);
  out.intermediate_size = json::get<index_t>(c, "intermediate_size", place);
  out.layers = json::get<index_t>(c, "num_hidden_layers", place);
  out.heads = json::get<index_t>(c, "num_attention_heads", place);
  out.kv_heads = json::get_or<index_t>(c, "num_key_value_heads", out.heads, place);
  if (out.heads < 1)
    throw error(errc::bad_model, place, join("\"num_attention_heads\": expected at least 1, found ", out.heads));
  out.head_width = json::get_or<index_t>(c, "head_dim", out.hidden_size / out.heads, place);
  out.vocabulary = json::get<index_t>(c, "vocab_size", place);
  out.max_positions = json::get_or<index_t>(c, "max_position_embeddings", 2048, place);
  out.norm_epsilon = json::get_or<double>(c, "rms_norm_eps", 1e-6, place);
  detail::read_rope(c, out, place);
  detail::read_windows(c, out, place);
  out.tied_head = json::get_or<bool>(c, "tie_word_embeddings", false, place);
  out.attention_bias = json::get_or<bool>(c, "attention_bias", out.family == "qwen2", place);
  out.output_bias = out.attention_bias && out.family != "qwen2";
  out.head_norms = out.family == "qwen3";
  out.mlp_bias = json::get_or<bool>(c, "mlp_bias", false, place);
  out.dtype =
      json::get_or<std::string>(c, "torch_dtype", json::get_or<std::string>(c, "dtype", "float32", place), place);
  if (const auto bos = detail::token_ids(c, "bos_token_id", place); !bos.empty()) out.bos = bos.front();
  out.eos = detail::token_ids(c, "eos_token_id", place);
  if (const auto more = folder / "generation_config.json"; std::filesystem::exists(more)) {
    const json::value g = json::parse_file(more);
    if (auto ids = detail::token_ids(json::as_object(g, "generation_config.json", more.string()), "eos_token_id",
                                     more.string());
        !ids.empty())
      out.eos = std::move(ids);
  }
  out.check(place);
  return out;
}

namespace detail {

inline void write_rope(const rope_scaling& s, json::object& o) {
  using kind = rope_scaling::kind;
  if (s.how == kind::none) return;
  json::object r;
  r["rope_type"] = plumb::name(s.how);
  r["factor"] = s.factor;
  if (s.how != kind::linear) r["original_max_position_embeddings"] = s.positions;
  if (s.how == kind::llama3) r["low_freq_factor"] = s.low_frequency, r["high_freq_factor"] = s.high_frequency;
  if (s.how == kind::yarn) {
    r["beta_fast"] = s.fast_turns, r["beta_slow"] = s.slow_turns, r["truncate"] = s.whole_ends;
    if (s.magnitude > 0) r["attention_factor"] = s.magnitude;
  }
  o["rope_scaling"] = std::move(r);
}

inline void write_windows(const model_config& c, json::object& o) {
  const index_t window = c.windows.empty() ? 0 : *std::max_element(c.windows.begin(), c.windows.end());
  if (c.family != "llama") o["sliding_window"] = window > 0 ? json::value(window) : json::value(nullptr);
  if (!c.family.starts_with("qwen")) return;
  o["use_sliding_window"] = window > 0;
  json::array types;
  for (index_t i = 0; i < c.layers; ++i)
    types.emplace_back(window > 0 && c.windows[static_cast<std::size_t>(i)] > 0 ? "sliding_attention"
                                                                                : "full_attention");
  o["layer_types"] = std::move(types);
}

}  // namespace detail

/// Writes config.json as transformers reads it.
inline void write_config(const model_config& c, const std::filesystem::path& folder) {
  json::object o;
  o["architectures"] = json::array{detail::class_of_family(c.family)};
  o["model_type"] = c.family;
  o["hidden_act"] = "silu";
  o["hidden_size"] = c.hidden_size;
  o["intermediate_size"] = c.intermediate_size;
  o["num_hidden_layers"] = c.layers;
  o["num_attention_heads"] = c.heads;
  o["num_key_value_heads"] = c.kv_heads;
  o["head_dim"] = c.head_width;
  o["vocab_size"] = c.vocabulary;
  o["max_position_embeddings"] = c.max_positions;
  o["rms_norm_eps"] = c.norm_epsilon;
  o["rope_theta"] = c.rope_theta;
  detail::write_rope(c.rope_scaling, o);
  detail::write_windows(c, o);
  o["tie_word_embeddings"] = c.tied_head;
  o["attention_bias"] = c.attention_bias;
  o["mlp_bias"] = c.mlp_bias;
  if (c.bos) o["bos_token_id"] = *c.bos;
  if (c.eos.size() == 1) o["eos_token_id"] = c.eos.front();
  if (c.eos.size() > 1) o["eos_token_id"] = json::array(c.eos.begin(), c.eos.end());
  o["torch_dtype"] = c.dtype;
  const std::string text = json::dump(o) + "\n";
  write_file_atomically(folder / "config.json", [&](auto& out) { out.write(std::as_bytes(std::span(text))); });
}

}  // namespace plumb::inline v0
