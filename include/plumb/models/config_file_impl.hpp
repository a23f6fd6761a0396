// SPDX-License-Identifier: BSL-1.0
// The bodies of models/config_file.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
//
// A new family is a line in `family_list`, its own keys in `read_family` and `write_family` (or in config_plain_impl.hpp),
// and, when its parts are put together in a new way, a composition in models/.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/config_dbrx_impl.hpp>
#include <plumb/models/config_encoder_impl.hpp>
#include <plumb/models/config_experts_impl.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/config_jetmoe_impl.hpp>
#include <plumb/models/config_plain_impl.hpp>
#include <plumb/models/config_rope_impl.hpp>
#include <plumb/models/config_windows_impl.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Families by "model_type", with the name of their class on the hub.
inline constexpr std::pair<std::string_view, std::string_view> family_list[] = {
    {"llama", "LlamaForCausalLM"},
    {"mistral", "MistralForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"},
    {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3_text", "Gemma3ForCausalLM"},
    {"olmo2", "Olmo2ForCausalLM"},
    {"gpt2", "GPT2LMHeadModel"},
    {"phi3", "Phi3ForCausalLM"},
    {"cohere", "CohereForCausalLM"},
    {"cohere2", "Cohere2ForCausalLM"},
    {"smollm3", "SmolLM3ForCausalLM"},
    {"granite", "GraniteForCausalLM"},
    {"stablelm", "StableLmForCausalLM"},
    {"starcoder2", "Starcoder2ForCausalLM"},
    {"gpt_neox", "GPTNeoXForCausalLM"},
    {"opt", "OPTForCausalLM"},
    {"falcon", "FalconForCausalLM"},
    {"gptj", "GPTJForCausalLM"},
    {"phi", "PhiForCausalLM"},
    {"mpt", "MptForCausalLM"},
    {"bert", "BertModel"},
    {"roberta", "RobertaModel"},
    {"mixtral", "MixtralForCausalLM"},
    {"qwen2_moe", "Qwen2MoeForCausalLM"},
    {"qwen3_moe", "Qwen3MoeForCausalLM"},
    {"olmoe", "OlmoeForCausalLM"},
    {"granitemoe", "GraniteMoeForCausalLM"},
    {"dbrx", "DbrxForCausalLM"},
    {"jetmoe", "JetMoeForCausalLM"},
};

std::string_view class_of_family(std::string_view family) {
  for (const auto& [name, type] : family_list)
    if (name == family) return type;
  return {};
}

/// A list of ids, or one id, or nothing.
std::vector<token_id> token_ids(const json::object& from, std::string_view key, const std::string& place) {
  const json::value* v = json::find(from, key);
  if (!v || v->is_null()) return {};
  if (v->is_array()) return json::as<std::vector<token_id>>(*v, key, place);
  return {json::as<token_id>(*v, key, place)};
}

activation read_activation(const json::object& c, const char* key, const char* otherwise, const std::string& place) {
  const auto text = json::get_or<std::string>(c, key, std::string(otherwise), place);
  if (text == "silu" || text == "swish") return activation::silu;
  if (text == "gelu") return activation::gelu;
  if (text == "gelu_new" || text == "gelu_pytorch_tanh") return activation::gelu_tanh;
  if (text == "relu") return activation::relu;
  throw error(errc::unsupported, place,
              join("\"", key, "\" is \"", text, "\"; plumb reads silu, gelu, gelu_new, gelu_pytorch_tanh and relu"));
}

/// A soft cap: absent has the family's value, null means none (0).
double cap_of(const json::object& c, const char* key, double otherwise, const std::string& place) {
  const json::value* v = json::find(c, key);
  return !v ? otherwise : v->is_null() ? 0 : json::as<double>(*v, key, place);
}

/// The keys that most families share, and each family's own.
void read_family(const json::object& c, model_config& out, const std::string& place) {
  const std::string& family = out.family;
  const bool gemma = family.starts_with("gemma"), qwen = family.starts_with("qwen");
  out.hidden_size = json::get<index_t>(c, "hidden_size", place);
  out.intermediate_size = json::get<index_t>(c, "intermediate_size", place);
  out.layers = json::get<index_t>(c, "num_hidden_layers", place);
  out.heads = json::get<index_t>(c, "num_attention_heads", place);
  out.kv_heads = json::get_or<index_t>(c, "num_key_value_heads", out.heads, place);
  out.max_positions = json::get_or<index_t>(c, "max_position_embeddings", 2048, place);
  const bool cohere = family.starts_with("cohere"), phi3 = family == "phi3", stablelm = family == "stablelm";
  const bool smollm3 = family == "smollm3", mixtral = family == "mixtral";
  const double epsilon = phi3 || mixtral || family == "olmoe" ? 1e-5 : 1e-6;
  out.norm_epsilon = cohere || stablelm ? json::get_or<double>(c, "layer_norm_eps", 1e-5, place)
                                        : json::get_or<double>(c, "rms_norm_eps", epsilon, place);
  if (cohere) out.rope_theta = family == "cohere" ? 500000 : 10000;
  if (smollm3) out.rope_theta = 2e6;
  if (mixtral) out.rope_theta = 1e6;
  if (family == "gemma3_text") out.rope_theta = 1e6, out.local_rope_theta = 1e4;
  read_rope(c, out, place);
  if (smollm3) read_unturned(c, out, place);
  read_windows(c, out, place);
  if (family == "cohere2") read_unturned(c, out, place);
  out.tied_head = json::get_or<bool>(c, "tie_word_embeddings", gemma || cohere || smollm3, place);
  const bool qkv = family == "qwen2" || family == "qwen2_moe";  // biases, but not of the output
  const std::string_view bias = stablelm ? "use_qkv_bias" : family == "qwen2_moe" ? "qkv_bias" : "attention_bias";
  out.attention_bias = json::get_or<bool>(c, bias, qkv, place);
  out.output_bias = out.attention_bias && !qkv && !stablelm;
  out.mlp_bias = json::get_or<bool>(c, "mlp_bias", false, place);
  out.gate = gemma ? read_activation(c, "hidden_activation", "gelu_pytorch_tanh", place)
                   : read_activation(c, "hidden_act", "silu", place);
  if (family == "qwen3" || family == "qwen3_moe" || family == "gemma3_text") out.query_norms = query_norm::each_head;
  if (family == "olmo2") out.query_norms = query_norm::all_heads, out.norms = norm_place::after;
  if (family == "olmoe") {
    out.query_norms = query_norm::all_heads;
    out.query_clip = cap_of(c, "clip_qkv", 0, place);
  }
  read_experts(c, out, place);
  if (gemma) {
    out.norm_offset = 1;
    out.embedding_factor = std::sqrt(static_cast<double>(out.hidden_size));
  }
  if (family == "gemma2" || family == "gemma3_text") {
    out.norms = norm_place::both;
    out.query_scale = json::get_or<double>(c, "query_pre_attn_scalar", 256.0, place);
    const bool second = family == "gemma2";
    out.attention_cap = cap_of(c, "attn_logit_softcapping", second ? 50 : 0, place);
    out.logit_cap = cap_of(c, "final_logit_softcapping", second ? 30 : 0, place);
  }
  if (cohere) {
    if (family == "cohere2")
      refuse_unless(c, "use_qk_norm", false, "this family has no norms of queries and keys", place);
    if (json::get_or<bool>(c, "use_qk_norm", false, place)) out.query_norms = query_norm::own_heads;
    out.parallel = out.one_norm = true;
    out.logit_factor = json::get_or<double>(c, "logit_scale", 0.0625, place);
  }
  if (stablelm) {
    out.norm_bias = true;
    for (const char* key : {"qk_layernorm", "use_parallel_residual"})
      refuse_unless(c, key, false, "plumb reads StableLM without norms of queries and keys, part after part", place);
    refuse_unless(c, "mlp_bias", false, "this family's maps have none", place);
  }
  if (family.starts_with("granite")) {
    const auto positive = [&](const char* key) {
      const auto x = json::get_or<double>(c, key, 1.0, place);
      if (!(x > 0 && x < 1e30))
        throw error(errc::bad_model, place, join("\"", key, "\": expected a number above 0, found ", x));
      return x;
    };
    const double attention = positive("attention_multiplier");
    out.query_scale = 1 / (attention * attention);
    out.logit_factor = 1 / positive("logits_scaling");
    out.embedding_factor = positive("embedding_multiplier");
    out.residual_factor = positive("residual_multiplier");
  }
  if (phi3) refuse_unless(c, "attention_bias", false, "Phi-3's maps have none", place);
  if (phi3 || cohere) refuse_unless(c, "mlp_bias", false, "this family's maps have none", place);
  if (qwen && out.mlp_bias) throw error(errc::unsupported, place, "\"mlp_bias\" is true; Qwen's maps have none");
}

}  // namespace detail

model_config read_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path))
    throw error(errc::not_found, path.string(),
                "expected a model folder with config.json, model.safetensors and tokenizer.json");
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& c = json::as_object(document, "config.json", place);

  model_config out;
  out.family = json::get<std::string>(c, "model_type", place);
  if (detail::class_of_family(out.family).empty()) {
    std::string known;
    for (const auto& [name, type] : detail::family_list) known += join(known.empty() ? "" : ", ", name);
    throw error(errc::unsupported, place, join("\"model_type\" is \"", out.family, "\"; plumb reads ", known));
  }
  if (const auto* words = detail::find_plain_words(out.family))
    detail::read_plain(*words, c, out, place);
  else if (out.encodes())
    detail::read_encoder(c, out, place);
  else if (out.family == "jetmoe")
    detail::read_jetmoe(c, out, place);
  else if (out.family == "dbrx")
    detail::read_dbrx(c, out, place);
  else
    detail::read_family(c, out, place);
  if (out.heads < 1)
    throw error(errc::bad_model, place, join("\"num_attention_heads\": expected at least 1, found ", out.heads));
  if (out.head_width == 0) out.head_width = json::get_or<index_t>(c, "head_dim", out.hidden_size / out.heads, place);
  out.vocabulary = json::get<index_t>(c, "vocab_size", place);
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

/// `usual`: the family's own word for gelu_tanh, where it has one.
const char* activation_word(activation a, std::string_view usual) {
  if (a == activation::gelu_tanh) return usual == "gelu_new" ? "gelu_new" : "gelu_pytorch_tanh";
  return a == activation::silu ? "silu" : a == activation::gelu ? "gelu" : "relu";
}

void write_family(const model_config& c, json::object& o) {
  const bool gemma = c.family.starts_with("gemma");
  o[gemma ? "hidden_activation" : "hidden_act"] = activation_word(c.gate);
  o["hidden_size"] = c.hidden_size;
  o["intermediate_size"] = c.intermediate_size;
  o["num_hidden_layers"] = c.layers;
  o["num_attention_heads"] = c.heads;
  o["num_key_value_heads"] = c.kv_heads;
  o["head_dim"] = c.head_width;
  o["max_position_embeddings"] = c.max_positions;
  const bool cohere = c.family.starts_with("cohere"), stablelm = c.family == "stablelm";
  o[cohere || stablelm ? "layer_norm_eps" : "rms_norm_eps"] = c.norm_epsilon;
  if (cohere) o["logit_scale"] = c.logit_factor, o["use_qk_norm"] = c.query_norms == query_norm::own_heads;
  if (c.family == "smollm3") {
    json::array turned;
    for (index_t i = 0; i < c.layers; ++i) turned.emplace_back(c.turns(i) ? 1 : 0);
    o["no_rope_layers"] = std::move(turned);
  }
  if (c.family.starts_with("granite")) {
    o["attention_multiplier"] = 1 / std::sqrt(c.query_scale > 0 ? c.query_scale : static_cast<double>(c.head_width));
    o["logits_scaling"] = 1 / c.logit_factor;
    o["embedding_multiplier"] = c.embedding_factor;
    o["residual_multiplier"] = c.residual_factor;
  }
  write_rope(c, o);
  write_windows(c, o);
  o[stablelm ? "use_qkv_bias" : c.family == "qwen2_moe" ? "qkv_bias" : "attention_bias"] = c.attention_bias;
  write_experts(c, o);
  if (!gemma) o["mlp_bias"] = c.mlp_bias;
  if (c.family == "gemma2" || c.family == "gemma3_text") {
    const auto cap = [](double x) { return x > 0 ? json::value(x) : json::value(nullptr); };
    const auto whole = static_cast<index_t>(c.query_scale);  // transformers wants it without a fraction
    o["query_pre_attn_scalar"] =
        static_cast<double>(whole) == c.query_scale ? json::value(whole) : json::value(c.query_scale);
    o["attn_logit_softcapping"] = cap(c.attention_cap);
    o["final_logit_softcapping"] = cap(c.logit_cap);
  }
}

}  // namespace detail

void write_config(const model_config& c, const std::filesystem::path& folder) {
  json::object o;
  o["architectures"] = json::array{detail::class_of_family(c.family)};
  o["model_type"] = c.family;
  if (const auto* words = detail::find_plain_words(c.family))
    detail::write_plain(*words, c, o);
  else if (c.encodes())
    detail::write_encoder(c, o);
  else if (c.family == "jetmoe")
    detail::write_jetmoe(c, o);
  else if (c.family == "dbrx")
    detail::write_dbrx(c, o);
  else
    detail::write_family(c, o);
  o["vocab_size"] = c.vocabulary;
  if (!c.encodes()) o["tie_word_embeddings"] = c.tied_head;
  if (c.bos) o["bos_token_id"] = *c.bos;
  if (c.eos.size() == 1) o["eos_token_id"] = c.eos.front();
  if (c.eos.size() > 1) o["eos_token_id"] = json::array(c.eos.begin(), c.eos.end());
  // Absent, transformers would take a token of the published models, whether the vocabulary has it or not.
  if (c.family == "phi3" || c.family == "smollm3" || c.family.starts_with("cohere") || c.family == "opt")
    o["pad_token_id"] = nullptr;
  o["torch_dtype"] = c.dtype;
  const std::string text = json::dump(o) + "\n";
  write_file_atomically(folder / "config.json", [&](auto& out) { out.write(std::as_bytes(std::span(text))); });
}

}  // namespace plumb::inline v0
