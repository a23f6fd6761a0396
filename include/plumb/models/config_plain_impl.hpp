// SPDX-License-Identifier: BSL-1.0
// config.json of the families in models/plain_families.hpp, each of which has its own words: part of the bodies of
// models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

namespace detail {

activation read_activation(const json::object& c, const char* key, const char* otherwise, const std::string& place);
const char* activation_word(activation a, std::string_view usual = {});
void read_rope(const json::object& c, model_config& out, const std::string& place);
void write_rope(const model_config& c, json::object& o);
void read_windows(const json::object& c, model_config& out, const std::string& place);
void write_windows(const model_config& c, json::object& o);

/// What a family's config.json calls the numbers that all have. An empty word: the family has no choice.
struct plain_words {
  std::string_view family;
  const char *width, *inner, *layers, *heads, *positions;
  const char* epsilon;
  const char* activation;
  const char* usual_activation;
  bool inner_may_lack;  ///< then it is 4 · width
  index_t usual_positions;
  bool usually_tied;
};
inline constexpr plain_words plain_word_list[] = {
    {"gpt2", "n_embd", "n_inner", "n_layer", "n_head", "n_positions", "layer_norm_epsilon", "activation_function",
     "gelu_new", true, 1024, true},
    {"gptj", "n_embd", "n_inner", "n_layer", "n_head", "n_positions", "layer_norm_epsilon", "activation_function",
     "gelu_new", true, 2048, false},
    {"gpt_neox", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
     "max_position_embeddings", "layer_norm_eps", "hidden_act", "gelu", false, 2048, false},
    {"opt", "hidden_size", "ffn_dim", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "",
     "activation_function", "relu", false, 2048, true},
    {"falcon", "hidden_size", "ffn_hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
     "layer_norm_epsilon", "activation", "gelu", true, 2048, true},
    {"phi", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
     "layer_norm_eps", "hidden_act", "gelu_new", false, 2048, false},
    {"starcoder2", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
     "max_position_embeddings", "norm_epsilon", "hidden_act", "gelu_pytorch_tanh", false, 4096, true},
    {"mpt", "d_model", "", "n_layers", "n_heads", "max_seq_len", "layer_norm_epsilon", "", "gelu", true, 2048, true},
};

/// Null for a family of another kind.
const plain_words* find_plain_words(std::string_view family) {
  for (const plain_words& w : plain_word_list)
    if (w.family == family) return &w;
  return nullptr;
}

/// Refuses a setting that plumb's parts do not have.
void refuse_unless(const json::object& c, const char* key, bool wanted, std::string_view why,
                   const std::string& place) {
  if (json::get_or<bool>(c, key, wanted, place) != wanted)
    throw error(errc::unsupported, place, join("\"", key, "\" is ", wanted ? "false" : "true", "; ", why));
}

void read_falcon(const json::object& c, model_config& out, const std::string& place) {
  refuse_unless(c, "alibi", false, "plumb has no attention with ALiBi's distances", place);
  const bool larger = json::get_or<bool>(c, "new_decoder_architecture", false, place);
  const auto norms = json::get_or<index_t>(c, "num_ln_in_parallel_attn", larger ? 2 : 1, place);
  if (norms != 1 && !(norms == 2 && larger))
    throw error(errc::unsupported, place,
                join("\"num_ln_in_parallel_attn\": expected 1, or 2 with \"new_decoder_architecture\", found ", norms));
  out.parallel = larger || json::get_or<bool>(c, "parallel_attn", true, place);
  out.one_norm = out.parallel && norms == 1;
  if (larger)
    out.kv_heads = json::get_or<index_t>(c, "num_kv_heads", out.heads, place);
  else if (json::get_or<bool>(c, "multi_query", true, place))
    out.kv_heads = 1;
  out.attention_bias = out.output_bias = out.mlp_bias = json::get_or<bool>(c, "bias", false, place);
  read_rope(c, out, place);
}

void read_mpt(const json::object& c, model_config& out, const std::string& place) {
  const auto refuse = [&](std::string_view what) {
    throw error(errc::unsupported, place,
                join(what, "; plumb reads MPT with ALiBi, without biases, clipping and scales"));
  };
  if (!json::get_or<bool>(c, "no_bias", true, place)) refuse("\"no_bias\" is false");
  if (json::get_or<index_t>(c, "expansion_ratio", 4, place) != 4) refuse("\"expansion_ratio\" is not 4");
  if (const auto* v = json::find(c, "logit_scale"); v && !v->is_null()) refuse("\"logit_scale\" is set");
  const json::value* given = json::find(c, "attn_config");
  const json::object none;
  const json::object& a = given && !given->is_null() ? json::as_object(*given, "attn_config", place) : none;
  for (const char* key : {"qk_ln", "prefix_lm"})
    if (json::get_or<bool>(a, key, false, place)) refuse(join("\"", key, "\" is true"));
  for (const char* key : {"clip_qkv", "softmax_scale"})
    if (const auto* v = json::find(a, key); v && !v->is_null()) refuse(join("\"", key, "\" is set"));
  if (json::get_or<std::string>(a, "attn_type", std::string("multihead_attention"), place) != "multihead_attention")
    refuse("\"attn_type\" is not multihead_attention");
  if (!json::get_or<bool>(a, "alibi", true, place)) refuse("\"alibi\" is false");
  out.alibi = json::get_or<double>(a, "alibi_bias_max", 8.0, place);
  if (!(out.alibi > 0)) refuse("\"alibi_bias_max\" is not above 0");
  out.attention_bias = out.output_bias = out.mlp_bias = false;
}

void read_plain(const plain_words& words, const json::object& c, model_config& out, const std::string& place) {
  const std::string& family = out.family;
  const auto or_usual = [&](const char* key, index_t usual) {
    return *key ? json::get_or<index_t>(c, key, usual, place) : usual;
  };
  out.hidden_size = json::get<index_t>(c, words.width, place);
  const index_t usual = 4 * std::clamp<index_t>(out.hidden_size, 0, index_t{1} << 31);  // check() looks at it later
  out.intermediate_size =
      words.inner_may_lack ? or_usual(words.inner, usual) : json::get<index_t>(c, words.inner, place);
  out.layers = json::get<index_t>(c, words.layers, place);
  out.heads = out.kv_heads = json::get<index_t>(c, words.heads, place);
  out.max_positions = json::get_or<index_t>(c, words.positions, words.usual_positions, place);
  out.norm_epsilon = *words.epsilon ? json::get_or<double>(c, words.epsilon, 1e-5, place) : 1e-5;
  out.gate = *words.activation ? read_activation(c, words.activation, words.usual_activation, place) : activation::gelu;
  out.tied_head = json::get_or<bool>(c, "tie_word_embeddings", words.usually_tied, place);
  out.attention_bias = out.output_bias = out.mlp_bias = true;
  if (family == "gpt2") {
    for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
      refuse_unless(c, key, false, "plumb reads GPT-2 as it was published", place);
    if (!json::get_or<bool>(c, "scale_attn_weights", true, place)) out.query_scale = 1;
  }
  if (family == "gptj") {
    out.rotary_width = json::get_or<index_t>(c, "rotary_dim", 64, place);
    if (out.rotary_width < 2)
      throw error(errc::unsupported, place, join("\"rotary_dim\": expected at least 2, found ", out.rotary_width));
    out.parallel = out.one_norm = out.head_bias = true;
    out.attention_bias = out.output_bias = false;
  }
  if (family == "gpt_neox") {
    out.parallel = json::get_or<bool>(c, "use_parallel_residual", true, place);
    out.attention_bias = out.output_bias = json::get_or<bool>(c, "attention_bias", true, place);
    out.rope_theta = json::get_or<double>(c, "rotary_emb_base", out.rope_theta, place);
    read_rope(c, out, place);
  }
  if (family == "phi") {
    refuse_unless(c, "qk_layernorm", false, "plumb reads Phi without norms of queries and keys", place);
    out.kv_heads = json::get_or<index_t>(c, "num_key_value_heads", out.heads, place);
    out.parallel = out.one_norm = out.head_bias = true;
    read_rope(c, out, place);
  }
  if (family == "opt") {
    refuse_unless(c, "do_layer_norm_before", true, "plumb reads OPT with norms before its parts (all but opt-350m)",
                  place);
    refuse_unless(c, "layer_norm_elementwise_affine", true, "plumb's layer norms have weights", place);
    refuse_unless(c, "_remove_final_layer_norm", false, "plumb reads OPT with its last norm", place);
    if (const auto w = json::get_or<index_t>(c, "word_embed_proj_dim", out.hidden_size, place); w != out.hidden_size)
      throw error(errc::unsupported, place,
                  join("\"word_embed_proj_dim\": expected \"hidden_size\" (", out.hidden_size, "), found ", w,
                       "; plumb reads OPT without projections of the embedding (all but opt-350m)"));
    out.attention_bias = out.output_bias = out.mlp_bias = json::get_or<bool>(c, "enable_bias", true, place);
  }
  if (family == "starcoder2") {
    out.kv_heads = json::get_or<index_t>(c, "num_key_value_heads", 2, place);
    out.attention_bias = out.output_bias = out.mlp_bias = json::get_or<bool>(c, "use_bias", true, place);
    read_rope(c, out, place);
    read_windows(c, out, place);
  }
  if (family == "falcon") read_falcon(c, out, place);
  if (family == "mpt") read_mpt(c, out, place);
}

void write_plain(const plain_words& words, const model_config& c, json::object& o) {
  o[words.width] = c.hidden_size;
  if (*words.inner) o[words.inner] = c.intermediate_size;
  o[words.layers] = c.layers;
  o[words.heads] = c.heads;
  o[words.positions] = c.max_positions;
  if (*words.epsilon) o[words.epsilon] = c.norm_epsilon;
  if (*words.activation) o[words.activation] = activation_word(c.gate, words.usual_activation);
  if (c.family == "gpt2") o["scale_attn_weights"] = c.query_scale == 0;
  if (c.family == "gptj") o["rotary_dim"] = c.turned_width();
  if (c.family == "opt") {
    o["enable_bias"] = c.attention_bias;
    o["word_embed_proj_dim"] = c.hidden_size;
    o["do_layer_norm_before"] = true;
  }
  if (c.family == "mpt") {
    const auto most = static_cast<index_t>(c.alibi);  // transformers wants it without a fraction
    json::object a;
    a["alibi"] = true;
    a["alibi_bias_max"] = static_cast<double>(most) == c.alibi ? json::value(most) : json::value(c.alibi);
    o["attn_config"] = std::move(a);
    o["expansion_ratio"] = 4;
    o["no_bias"] = true;
  }
  if (!c.turns_positions() || c.family == "gptj") return;
  write_rope(c, o);
  if (c.family == "gpt_neox") {
    o["use_parallel_residual"] = c.parallel;
    o["attention_bias"] = c.attention_bias;
  }
  if (c.family == "phi") o["num_key_value_heads"] = c.kv_heads;
  if (c.family == "starcoder2") {
    o["num_key_value_heads"] = c.kv_heads;
    o["use_bias"] = c.mlp_bias;
    write_windows(c, o);
  }
  if (c.family == "falcon") {
    // The first Falcon's words where they can say it: other programs read them everywhere.
    const bool larger = c.parallel && (!c.one_norm || (c.kv_heads > 1 && c.kv_heads < c.heads));
    o["new_decoder_architecture"] = larger;
    o["parallel_attn"] = c.parallel;
    o["multi_query"] = larger || (c.kv_heads == 1 && c.heads > 1);
    o["num_kv_heads"] = c.kv_heads;
    if (larger) o["num_ln_in_parallel_attn"] = c.one_norm ? 1 : 2;
    o["bias"] = c.mlp_bias;
    o["alibi"] = false;
  }
}

}  // namespace detail

}  // namespace plumb::inline v0
