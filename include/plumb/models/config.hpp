// SPDX-License-Identifier: BSL-1.0
// config.json of the Llama family: read, checked, written.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

/// The numbers that fix a decoder of the Llama family.
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
  bool tied_head = false;  ///< the head's weight is the embedding
  bool attention_bias = false;
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
    if (!(rope_theta > 0 && rope_theta < 1e30))
      throw error(errc::bad_model, place, "\"rope_theta\": expected a positive number");
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

/// `rope_theta` stands at the top or, in newer files, inside "rope_parameters"; scaled rotations are another matter.
inline double rope_theta(const json::object& c, const std::string& place) {
  double theta = json::get_or<double>(c, "rope_theta", 10000.0, place);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::value* v = json::find(c, key);
    if (!v || v->is_null()) continue;
    const auto& scaling = json::as_object(*v, key, place);
    const auto kind = json::get_or<std::string>(scaling, "rope_type",
                                                json::get_or<std::string>(scaling, "type", "default", place), place);
    if (kind != "default")
      throw error(
          errc::unsupported, place,
          join("\"", key, "\" of type \"", kind, "\" is not supported yet; plumb ", "reads plain rotary positions"));
    theta = json::get_or<double>(scaling, "rope_theta", theta, place);
  }
  return theta;
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
  if (out.family != "llama")
    throw error(errc::unsupported, place,
                join("\"model_type\" is \"", out.family, "\"; plumb reads \"llama\" for now"));
  const auto activation = json::get_or<std::string>(c, "hidden_act", "silu", place);
  if (activation != "silu")
    throw error(errc::unsupported, place,
                join("\"hidden_act\" is \"", activation, "\"; the Llama family uses \"silu\""));
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
  out.rope_theta = detail::rope_theta(c, place);
  out.tied_head = json::get_or<bool>(c, "tie_word_embeddings", false, place);
  out.attention_bias = json::get_or<bool>(c, "attention_bias", false, place);
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

/// Writes config.json as transformers reads it.
inline void write_config(const model_config& c, const std::filesystem::path& folder) {
  json::object o;
  o["architectures"] = json::array{"LlamaForCausalLM"};
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
