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
#include <plumb/models/config_encoder_impl.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/config_plain_impl.hpp>

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

/// One description of rotary positions: {"rope_type", "rope_theta", "factor", …}.
/// `original`: the first training's positions unless it says them itself.
void read_one_rope(const json::object& o, model_config& out, double& theta, index_t original,
                   const std::string& place) {
  using kind = rope_scaling::kind;
  theta = json::get_or<double>(o, "rope_theta", theta, place);
  const auto type = json::get_or<std::string>(
      o, "rope_type", json::get_or<std::string>(o, "type", std::string("default"), place), place);
  if (type == "default") return;
  rope_scaling& s = out.rope_scaling;
  for (const kind k : {kind::linear, kind::llama3, kind::yarn, kind::dynamic, kind::longrope})
    if (type == name(k)) s.how = k;
  if (out.family == "phi3" && (type == "su" || type == "yarn")) s.how = kind::longrope;  // its first names
  if (s.how == kind::none || (out.family == "phi3" && s.how != kind::longrope))
    throw error(errc::unsupported, place,
                join("rotary positions of type \"", type, "\": plumb reads ",
                     out.family == "phi3" ? "default and longrope of Phi-3"
                                          : "default, linear, dynamic, llama3, yarn and longrope"));
  s.positions = s.how == kind::dynamic ? out.max_positions
                                       : json::get_or<index_t>(o, "original_max_position_embeddings", original, place);
  const auto ratio = static_cast<double>(out.max_positions) / static_cast<double>(std::max<index_t>(1, s.positions));
  s.factor = s.how == kind::yarn || s.how == kind::longrope ? json::get_or<double>(o, "factor", ratio, place)
                                                            : json::get<double>(o, "factor", place);
  if (s.how == kind::llama3) {
    s.low_frequency = json::get<double>(o, "low_freq_factor", place);
    s.high_frequency = json::get<double>(o, "high_freq_factor", place);
  }
  if (s.how == kind::longrope) {
    s.short_factors = json::get<std::vector<double>>(o, "short_factor", place);
    s.long_factors = json::get<std::vector<double>>(o, "long_factor", place);
    s.magnitude = json::get_or<double>(o, "attention_factor", 0.0, place);
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

/// "partial_rotary_factor": the share of each head that turns, rounded down. Only some families know it.
void read_rotary_share(const json::object& o, const char* key, model_config& out, const std::string& place) {
  const json::value* v = json::find(o, key);
  if (!v || v->is_null()) return;
  const auto share = json::as<double>(*v, key, place);
  const index_t head = out.heads > 0 ? out.hidden_size / out.heads : 0;
  if (!(share > 0 && share <= 1))
    throw error(errc::bad_model, place, join("\"", key, "\": expected above 0 and at most 1, found ", share));
  const bool known =
      out.family == "phi3" || out.family == "phi" || out.family == "gpt_neox" || out.family == "stablelm";
  if (!known && share != 1)
    throw error(errc::unsupported, place, join("\"", key, "\" is ", share, "; in this family plumb turns whole heads"));
  out.rotary_width = share == 1 ? 0 : static_cast<index_t>(static_cast<double>(head) * share);
  if (share != 1 && out.rotary_width < 2)
    throw error(errc::bad_model, place,
                join("\"", key, "\" is ", share, ": nothing of a head of ", head, " numbers would turn"));
}

/// Rotary positions: at the top, in "rope_scaling", or in newer files in "rope_parameters", there even by kind of layer.
void read_rope(const json::object& c, model_config& out, const std::string& place) {
  out.rope_theta = json::get_or<double>(c, "rope_theta", out.rope_theta, place);
  out.local_rope_theta = json::get_or<double>(c, "rope_local_base_freq", out.local_rope_theta, place);
  if (out.family == "phi" || out.family == "gpt_neox" || out.family == "stablelm")  // what a file without the key means
    out.rotary_width = out.hidden_size / std::max<index_t>(1, out.heads) / (out.family == "phi" ? 2 : 4);
  for (const char* key : {"rotary_pct", "partial_rotary_factor"}) read_rotary_share(c, key, out, place);
  const auto original = json::get_or<index_t>(c, "original_max_position_embeddings", out.max_positions, place);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::value* v = json::find(c, key);
    if (!v || v->is_null()) continue;
    const auto& o = json::as_object(*v, key, place);
    read_rotary_share(o, "partial_rotary_factor", out, place);
    if (const json::value* far = json::find(o, "full_attention")) {
      read_one_rope(json::as_object(*far, "full_attention", place), out, out.rope_theta, original, place);
      if (const json::value* near = json::find(o, "sliding_attention"))
        out.local_rope_theta = json::get_or<double>(json::as_object(*near, "sliding_attention", place), "rope_theta",
                                                    out.local_rope_theta, place);
    } else {
      read_one_rope(o, out, out.rope_theta, original, place);
    }
  }
}

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

/// Mixtures of experts, of the families that have them.
void read_experts(const json::object& c, model_config& out, const std::string& place) {
  const std::string& family = out.family;
  const bool mixtral = family == "mixtral", olmoe = family == "olmoe", qwen2 = family == "qwen2_moe";
  if (!(mixtral || olmoe || qwen2 || family == "qwen3_moe")) return;
  expert_config& e = out.experts;
  const auto usual = [&](index_t of_mixtral, index_t of_olmoe, index_t of_qwen2, index_t of_qwen3) {
    return mixtral ? of_mixtral : olmoe ? of_olmoe : qwen2 ? of_qwen2 : of_qwen3;
  };
  // Newer versions of transformers save either family under either name.
  e.count = json::get_or<index_t>(c, "num_experts",
                                  json::get_or<index_t>(c, "num_local_experts", usual(8, 64, 60, 128), place), place);
  if (e.count < 1)
    throw error(errc::unsupported, place,
                join("\"num_experts\": expected at least 1, found ", e.count,
                     "; plumb reads a model without mixtures "
                     "under its family without them"));
  e.chosen = json::get_or<index_t>(c, "num_experts_per_tok", usual(2, 8, 4, 8), place);
  e.loss_factor = json::get_or<double>(c, "router_aux_loss_coef", olmoe ? 0.01 : 0.001, place);
  e.shared_weights = mixtral || json::get_or<bool>(c, "norm_topk_prob", false, place);
  e.width = out.intermediate_size;
  if (const auto noise = json::get_or<double>(c, "router_jitter_noise", 0.0, place); noise != 0)
    throw error(errc::unsupported, place,
                join("\"router_jitter_noise\": expected 0, found ", noise, "; plumb's routers have no noise"));
  if (mixtral || olmoe) return;
  e.width = json::get_or<index_t>(c, "moe_intermediate_size", qwen2 ? 1408 : 768, place);
  e.every = json::get_or<index_t>(c, "decoder_sparse_step", 1, place);
  if (const json::value* v = json::find(c, "mlp_only_layers"); v && !v->is_null())
    e.dense_layers = json::as<std::vector<index_t>>(*v, "mlp_only_layers", place);
  if (qwen2) e.shared_width = json::get_or<index_t>(c, "shared_expert_intermediate_size", 5632, place);
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
    refuse_unless(c, "use_qk_norm", false, "plumb reads Cohere's models without norms of queries and keys", place);
    out.parallel = out.one_norm = true;
    out.logit_factor = json::get_or<double>(c, "logit_scale", 0.0625, place);
  }
  if (stablelm) {
    out.norm_bias = true;
    for (const char* key : {"qk_layernorm", "use_parallel_residual"})
      refuse_unless(c, key, false, "plumb reads StableLM without norms of queries and keys, part after part", place);
    refuse_unless(c, "mlp_bias", false, "this family's maps have none", place);
  }
  if (family == "granite") {
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
  else
    detail::read_family(c, out, place);
  if (out.heads < 1)
    throw error(errc::bad_model, place, join("\"num_attention_heads\": expected at least 1, found ", out.heads));
  out.head_width = json::get_or<index_t>(c, "head_dim", out.hidden_size / out.heads, place);
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

void write_rope(const model_config& c, json::object& o) {
  using kind = rope_scaling::kind;
  const rope_scaling& s = c.rope_scaling;
  o["rope_theta"] = c.rope_theta;
  if (c.local_rope_theta > 0) o["rope_local_base_freq"] = c.local_rope_theta;
  if (c.rotary_width > 0) {  // a share that gives the same width when it is rounded down
    const auto width = static_cast<double>(c.rotary_width), head = static_cast<double>(c.head_width);
    const double share = width / head * head < width ? std::nextafter(width / head, 1.0) : width / head;
    o[c.family == "gpt_neox" ? "rotary_pct" : "partial_rotary_factor"] = share;
  } else if (c.family == "gpt_neox" || c.family == "phi" || c.family == "stablelm") {
    o[c.family == "gpt_neox" ? "rotary_pct" : "partial_rotary_factor"] = 1.0;
  }
  if (c.family == "gpt_neox") o["rotary_emb_base"] = c.rope_theta;
  if (s.how == kind::none) return;
  json::object r;
  if (s.how == kind::longrope) {  // the three keys that every version of transformers takes, and what they do not say
    r["type"] = name(s.how);
    r["short_factor"] = json::array(s.short_factors.begin(), s.short_factors.end());
    r["long_factor"] = json::array(s.long_factors.begin(), s.long_factors.end());
    const double ratio = static_cast<double>(c.max_positions) / static_cast<double>(s.positions);
    if (s.factor != ratio) r["factor"] = s.factor;
    if (s.magnitude > 0) r["attention_factor"] = s.magnitude;
    o["original_max_position_embeddings"] = s.positions;
    o["rope_scaling"] = std::move(r);
    return;
  }
  r["rope_type"] = name(s.how);
  r["factor"] = s.factor;
  if (s.how != kind::linear && s.how != kind::dynamic) r["original_max_position_embeddings"] = s.positions;
  if (s.how == kind::llama3) r["low_freq_factor"] = s.low_frequency, r["high_freq_factor"] = s.high_frequency;
  if (s.how == kind::yarn) {
    r["beta_fast"] = s.fast_turns, r["beta_slow"] = s.slow_turns, r["truncate"] = s.whole_ends;
    if (s.magnitude > 0) r["attention_factor"] = s.magnitude;
  }
  o["rope_scaling"] = std::move(r);
}

void write_windows(const model_config& c, json::object& o) {
  for (const std::string_view never : {"llama", "gemma", "olmo2", "olmoe", "cohere", "granite", "stablelm"})
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

void write_experts(const model_config& c, json::object& o) {
  const expert_config& e = c.experts;
  if (e.count == 0) return;
  o[c.family == "mixtral" ? "num_local_experts" : "num_experts"] = e.count;
  o["num_experts_per_tok"] = e.chosen;
  o["router_aux_loss_coef"] = e.loss_factor;
  if (c.family == "mixtral") return;
  o["norm_topk_prob"] = e.shared_weights;
  if (c.family == "olmoe") {
    o["clip_qkv"] = c.query_clip > 0 ? json::value(c.query_clip) : json::value(nullptr);
    return;
  }
  o["moe_intermediate_size"] = e.width;
  o["decoder_sparse_step"] = e.every;
  o["mlp_only_layers"] = json::array(e.dense_layers.begin(), e.dense_layers.end());
  if (c.family == "qwen2_moe") o["shared_expert_intermediate_size"] = e.shared_width;
}

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
  if (cohere) o["logit_scale"] = c.logit_factor, o["use_qk_norm"] = false;
  if (c.family == "smollm3") {
    json::array turned;
    for (index_t i = 0; i < c.layers; ++i) turned.emplace_back(c.turns(i) ? 1 : 0);
    o["no_rope_layers"] = std::move(turned);
  }
  if (c.family == "granite") {
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
