// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_config.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/adapter_config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Does a field say "not used": null, false, or empty?
bool is_unused(const json::value& v) {
  if (const auto* const b = v.if_bool()) return !*b;
  if (const auto* const a = v.if_array()) return a->empty();
  if (const auto* const o = v.if_object()) return o->empty();
  if (const auto* const s = v.if_string()) return s->empty();
  return v.is_null();
}

/// Refuses the fields with which the adapter would be something else than what plumb computes.
void refuse_variants(const json::object& c, const std::string& place) {
  const auto refuse = [&](std::string_view key, const json::value& found, std::string_view advice) {
    throw error(errc::unsupported, place, join("\"", key, "\" is ", json::describe(found), "; ", advice));
  };
  for (const char* key : {"lora_bias", "use_qalora"}) {
    if (json::get_or<bool>(c, key, false, place))
      refuse(key, *json::find(c, key), "plumb reads LoRA and DoRA, without it, for now");
  }
  for (const char* key : {"target_parameters", "layer_replication", "alora_invocation_tokens", "arrow_config",
                          "kasa_config", "monteclora_config", "velora_config", "use_bdlora", "megatron_config"}) {
    const json::value* const v = json::find(c, key);
    if (v != nullptr && !is_unused(*v)) refuse(key, *v, "plumb reads LoRA and DoRA, without it, for now");
  }
  if (const auto task = json::get_or<std::string>(c, "task_type", "CAUSAL_LM", place);
      task != "CAUSAL_LM" && task != "SEQ_CLS")
    refuse("task_type", *json::find(c, "task_type"),
           "plumb aligns language models (CAUSAL_LM) and trains heads that score them (SEQ_CLS)");
}

/// "init_lora_weights". Only pissa and olora matter after training: PEFT takes their first values out of the base model.
lora_init read_init(const json::object& c, const std::string& place) {
  const json::value* const init = json::find(c, "init_lora_weights");
  if (init == nullptr || init->is_null() || init->is_bool()) return lora_init::uniform;
  const auto kind = json::as<std::string>(*init, "\"init_lora_weights\"", place);
  if (kind == "pissa") return lora_init::pissa;
  if (kind == "olora") return lora_init::olora;
  if (kind != "gaussian" && kind != "orthogonal" && kind != "eva" && kind != "true" && kind != "false")
    throw error(
        errc::unsupported, place,
        join("\"init_lora_weights\" is \"", kind,
             "\"; such an adapter belongs to a changed base model, which the adapter's files do not hold; convert it "
             "to plain LoRA when saving it in PEFT (path_initial_model_for_weight_conversion)"));
  return lora_init::uniform;
}

/// "modules_to_save": is a score head among them, and what else? ("classifier" is a name that PEFT adds for models that
/// call their head so; Llama's is "score".)
bool read_saved_modules(const json::object& c, const std::string& place, std::vector<std::string>& others) {
  const json::value* const v = json::find(c, "modules_to_save");
  if (v == nullptr || is_unused(*v)) return false;
  bool score = false;
  for (const std::string& name : json::as<std::vector<std::string>>(*v, "\"modules_to_save\"", place)) {
    if (name == "score")
      score = true;
    else if (name != "classifier")
      others.push_back(name);
  }
  if (!others.empty() && json::get_or<bool>(c, "ensure_weight_tying", false, place))
    throw error(errc::unsupported, place,
                "\"ensure_weight_tying\" is true; plumb trains a module that is saved whole by itself");
  return score;
}

/// "trainable_token_indices": a list, or an object with one list, that of the embedding.
std::vector<token_id> read_tokens(const json::object& c, const std::string& place) {
  const json::value* v = json::find(c, "trainable_token_indices");
  if (v == nullptr || is_unused(*v)) return {};
  if (const auto* const lists = v->if_object()) {
    const std::string_view only = lists->begin()->key();
    if (lists->size() != 1 || (only != "embed_tokens" && only != "wte" && only != "embed_in"))
      throw error(errc::unsupported, place,
                  join("\"trainable_token_indices\" names \"", only, "\"", lists->size() > 1 ? " and others" : "",
                       "; plumb reads tokens of the embedding alone"));
    v = &lists->begin()->value();
  }
  return json::as<std::vector<token_id>>(*v, "\"trainable_token_indices\"", place);
}

/// A string or a list of strings: PEFT takes the one for a regular expression, the others for names.
std::pair<std::string, std::vector<std::string>> text_or_list(const json::object& c, std::string_view key,
                                                              const std::string& place) {
  const json::value* const v = json::find(c, key);
  if (v == nullptr || v->is_null()) return {};
  if (v->is_string()) return {json::as<std::string>(*v, key, place), {}};
  return {{}, json::as<std::vector<std::string>>(*v, join("\"", key, "\" (a string or a list of strings)"), place)};
}

/// {"regular expression": number}, in the file's order, which decides between several that match.
template <class Number>
std::vector<std::pair<std::string, Number>> read_pattern(const json::object& c, std::string_view key,
                                                         const std::string& place) {
  std::vector<std::pair<std::string, Number>> out;
  const json::value* const v = json::find(c, key);
  if (v == nullptr || v->is_null()) return out;
  for (const auto& member : json::as_object(*v, join("\"", key, "\""), place)) {
    const std::string name(member.key().data(), member.key().size());
    out.emplace_back(name, json::as<Number>(member.value(), join("\"", key, "\", \"", name, "\""), place));
  }
  return out;
}

lora_options read_lora_options(const json::object& c, const std::string& place) {
  lora_options o;
  o.rank = json::get_or<index_t>(c, "r", 8, place);
  o.alpha = json::get_or<double>(c, "lora_alpha", 8, place);
  if (!(o.alpha > 0))
    throw error(errc::bad_file, place, join("\"lora_alpha\": expected a positive number, found ", o.alpha));
  o.dropout = json::get_or<double>(c, "lora_dropout", 0, place);
  o.rank_stabilised = json::get_or<bool>(c, "use_rslora", false, place);
  o.dora = json::get_or<bool>(c, "use_dora", false, place);
  o.init = read_init(c, place);
  o.trainable_tokens = read_tokens(c, place);
  o.rank_pattern = read_pattern<index_t>(c, "rank_pattern", place);
  o.alpha_pattern = read_pattern<double>(c, "alpha_pattern", place);

  std::tie(o.pattern, o.targets) = text_or_list(c, "target_modules", place);
  std::string lower = o.pattern;
  for (char& letter : lower) letter = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter;
  if (lower == "all-linear")
    o.pattern.clear(), o.targets = {"all-linear"};
  else if (o.pattern.empty() && o.targets.empty())
    o.targets = {"q_proj", "v_proj"};  // PEFT's choice for this family
  std::tie(o.exclude_pattern, o.excludes) = text_or_list(c, "exclude_modules", place);

  if (const json::value* const v = json::find(c, "layers_to_transform"); v != nullptr && !v->is_null()) {
    if (v->is_array())
      o.layers = json::as<std::vector<index_t>>(*v, "\"layers_to_transform\"", place);
    else
      o.layers = {json::as<index_t>(*v, "\"layers_to_transform\"", place)};
  }
  auto [single, several] = text_or_list(c, "layers_pattern", place);
  if (!single.empty()) several = {std::move(single)};
  if (!o.layers.empty()) o.layer_lists = std::move(several);  // alone it says nothing, and PEFT refuses it
  return o;
}

adapter_config read_prompt_config(const json::object& c, std::string_view kind, const std::string& place) {
  adapter_config out;
  out.base_model = json::get_or<std::string>(c, "base_model_name_or_path", "", place);
  out.prefix = kind == "PREFIX_TUNING";
  out.virtual_tokens = json::get<index_t>(c, "num_virtual_tokens", place);
  if (out.virtual_tokens < 1)
    throw error(errc::bad_file, place, join("\"num_virtual_tokens\": expected at least 1, found ", out.virtual_tokens));
  const auto refuse = [&](std::string_view key, std::string_view why) {
    throw error(errc::unsupported, place, join("\"", key, "\": ", why));
  };
  if (json::get_or<std::string>(c, "task_type", "CAUSAL_LM", place) != "CAUSAL_LM")
    refuse("task_type", "plumb reads virtual tokens of language models (CAUSAL_LM)");
  if (json::get_or<index_t>(c, "num_transformer_submodules", 1, place) != 1)
    refuse("num_transformer_submodules", "plumb knows decoders, which have one");
  if (json::get_or<bool>(c, "prefix_projection", false, place))
    refuse("prefix_projection", "plumb reads prefixes without the network that made them");
  if (const json::value* const v = json::find(c, "modules_to_save"); v != nullptr && !is_unused(*v))
    refuse("modules_to_save", "plumb reads virtual tokens alone");
  return out;
}

}  // namespace detail

adapter_config read_adapter_config(const std::filesystem::path& folder) {
  const auto path = folder / "adapter_config.json";
  std::error_code failed;
  if (!std::filesystem::exists(path, failed))
    throw error(errc::not_found, path.string(),
                "expected a PEFT folder with adapter_config.json and adapter_model.safetensors");
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& c = json::as_object(document, "adapter_config.json", place);
  const auto kind = json::get<std::string>(c, "peft_type", place);
  adapter_config out;
  if (kind == "PROMPT_TUNING" || kind == "PREFIX_TUNING") return detail::read_prompt_config(c, kind, place);
  if (kind != "LORA")
    throw error(errc::unsupported, place,
                join("\"peft_type\" is \"", kind, "\"; plumb reads LORA, PROMPT_TUNING and PREFIX_TUNING"));
  detail::refuse_variants(c, place);
  out.inputs_first = json::get_or<bool>(c, "fan_in_fan_out", false, place);
  out.base_model = json::get_or<std::string>(c, "base_model_name_or_path", "", place);
  out.lora = detail::read_lora_options(c, place);
  out.score_head = detail::read_saved_modules(c, place, out.lora.modules_to_save);
  try {
    const auto biases = json::get_or<std::string>(c, "bias", "none", place);
    out.lora.biases = trained_biases_from_name(biases, "\"bias\"");
    (void)detail::lora_plan(out.lora);
  } catch (const error& e) {  // the numbers and expressions stand in the file: say so
    throw error(e.code() == errc::bad_argument ? errc::bad_file : e.code(), place, e.what());
  }
  return out;
}

std::string adapter_config_text(const adapter_config& config, const std::vector<std::string>& targets) {
  const lora_options& o = config.lora;
  const auto list = [](const auto& from) -> json::value {
    json::array out;
    for (const auto& item : from) out.emplace_back(item);
    return out;
  };
  const auto number = [](double x) {
    return std::abs(x) < 0x1p53 && x == std::trunc(x) ? json::value(static_cast<std::int64_t>(x)) : json::value(x);
  };
  json::object alphas, ranks;
  for (const auto& [key, alpha] : o.alpha_pattern) alphas[key] = number(alpha);
  for (const auto& [key, rank] : o.rank_pattern) ranks[key] = rank;

  json::object c;
  c["alpha_pattern"] = std::move(alphas);
  c["auto_mapping"] = nullptr;
  c["base_model_name_or_path"] = config.base_model;
  c["bias"] = json::string(name(o.biases));
  if (!o.exclude_pattern.empty())
    c["exclude_modules"] = o.exclude_pattern;
  else if (!o.excludes.empty())
    c["exclude_modules"] = list(o.excludes);
  c["fan_in_fan_out"] = config.inputs_first;
  c["inference_mode"] = true;
  c["init_lora_weights"] = true;
  c["layers_pattern"] = o.layers.empty() || o.layer_lists.empty() ? json::value(nullptr) : list(o.layer_lists);
  c["layers_to_transform"] = o.layers.empty() ? json::value(nullptr) : list(o.layers);
  c["lora_alpha"] = number(o.alpha);
  c["lora_dropout"] = o.dropout;
  json::array saved;
  if (config.score_head && config.classifier) saved.emplace_back("classifier");  // PEFT lists both
  if (config.score_head) saved.emplace_back("score");
  for (const std::string& module : o.modules_to_save) saved.emplace_back(module);
  c["modules_to_save"] = saved.empty() ? json::value(nullptr) : json::value(std::move(saved));
  c["peft_type"] = "LORA";
  c["r"] = o.rank;
  c["rank_pattern"] = std::move(ranks);
  c["revision"] = nullptr;
  if (!o.pattern.empty())
    c["target_modules"] = o.pattern;
  else if (targets.size() == 1 && targets.front() == "all-linear")
    c["target_modules"] = "all-linear";  // a word, not a name
  else
    c["target_modules"] = list(targets);
  c["task_type"] = config.score_head ? "SEQ_CLS" : "CAUSAL_LM";
  if (!o.trainable_tokens.empty()) c["trainable_token_indices"] = list(o.trainable_tokens);
  c["use_dora"] = o.dora;
  c["use_rslora"] = o.rank_stabilised;
  return json::dump(c, 2) + "\n";
}

std::string prompt_config_text(const adapter_config& config, index_t width, index_t heads, index_t layers) {
  json::object c;
  c["auto_mapping"] = nullptr;
  c["base_model_name_or_path"] = config.base_model;
  if (config.prefix) c["encoder_hidden_size"] = width;
  c["inference_mode"] = true;
  c["num_attention_heads"] = heads;
  c["num_layers"] = layers;
  c["num_transformer_submodules"] = 1;
  c["num_virtual_tokens"] = config.virtual_tokens;
  c["peft_type"] = config.prefix ? "PREFIX_TUNING" : "PROMPT_TUNING";
  if (config.prefix)
    c["prefix_projection"] = false;
  else
    c["prompt_tuning_init"] = "RANDOM", c["prompt_tuning_init_text"] = nullptr;
  c["revision"] = nullptr;
  c["task_type"] = "CAUSAL_LM";
  c["token_dim"] = width;
  if (!config.prefix) c["tokenizer_name_or_path"] = nullptr;
  return json::dump(c, 2) + "\n";
}

}  // namespace plumb::inline v0
