// SPDX-License-Identifier: BSL-1.0
// The bodies of models/stored_weight.hpp: names and shapes in files. Collected by plumb/impl.hpp.
#pragma once

#include <array>
#include <string>
#include <vector>

#include <plumb/models/stored_weight.hpp>

namespace plumb::inline v0 {

namespace detail {

std::string describe_shape(std::span<const index_t> extents) {
  std::string out = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) out += join(i ? ", " : "", extents[i]);
  return out + "]";
}

bool is_vector(std::string_view name) {
  for (const std::string_view end :
       {"norm.weight", ".bias", "ln_1.weight", "ln_2.weight", "ln_f.weight", "ln_attn.weight", "ln_mlp.weight",
        "LayerNorm.weight", "norm_1.weight", "norm_2.weight", "norm_f.weight", ".lora_magnitude_vector"})
    if (name.ends_with(end)) return true;
  return false;
}

bool is_table(std::string_view name) {
  for (const std::string_view end : {"embed_tokens.weight", "wte.weight", "wpe.weight", "embed_in.weight",
                                     "word_embeddings.weight", "embed_positions.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

bool is_word_map(std::string_view name) {
  return name == head_name ||
         (is_table(name) && !name.ends_with("wpe.weight") && !name.ends_with("embed_positions.weight"));
}

std::vector<index_t> stored_shape(const model_config& c, std::string_view name, shape extent) {
  const bool of_heads =
      c.query_norms == query_norm::own_heads && (name.ends_with(".q_norm.weight") || name.ends_with(".k_norm.weight"));
  if (is_vector(name) && !of_heads) return {extent.columns};
  if (lies_transposed(c, name)) return {extent.columns, extent.rows};
  return {extent.rows, extent.columns};
}

std::string written_name(const model_config& c, const std::string& name) {
  return std::string(c.family == "gpt_neox" && name == head_name ? neox_head_name : std::string_view(name));
}

std::string_view base_prefix(const model_config& c) {
  if (c.family == "gpt2" || c.family == "gptj" || c.family == "falcon" || c.family == "mpt") return "transformer.";
  if (c.family == "bert") return "bert.";
  if (c.family == "roberta") return "roberta.";
  return c.family == "opt" ? "model." : c.family == "gpt_neox" ? "gpt_neox." : "";
}

std::string stored_name(const model_config& c, const weight_files& files, const std::string& name) {
  if (name == head_name && !files.contains(name) && files.contains(std::string(neox_head_name)))
    return std::string(neox_head_name);
  const std::string_view prefix = base_prefix(c);
  if (!prefix.empty() && !files.contains(name) && name.starts_with(prefix) &&
      files.contains(name.substr(prefix.size())))
    return name.substr(prefix.size());
  if (c.encodes() && !files.contains(name))  // the first BERT's words for a norm's weight and bias
    for (const auto& [end, old] : {std::pair("LayerNorm.weight", "gamma"), std::pair("LayerNorm.bias", "beta")})
      if (name.ends_with(end)) {
        const std::string before = name.substr(0, name.rfind('.') + 1) + old;
        for (const auto& known : {before, before.substr(std::min(prefix.size(), before.size()))})
          if (files.contains(known)) return known;
      }
  return name;
}

std::string find_stored(const weight_files& files, const model_config& config, const std::string& wanted,
                        shape extent) {
  const auto place = find_in_stack(config, hub_stacks(config), wanted);
  const std::string name = place ? place->name : stored_name(config, files, wanted);
  const auto expected = place ? place->whole : stored_shape(config, wanted, extent);
  if (place && place->extent != extent)
    throw error(errc::bad_argument, wanted, "the network wants this weight in another shape than the files have it");
  if (!files.contains(name))
    throw error(errc::bad_model, name,
                join("the files lack this tensor; config.json asks for it with shape ", describe_shape(expected)));
  const auto& found = files.shape(name);
  if (found != expected && !(extent.rows == 1 && found == std::vector{extent.rows, extent.columns}))
    throw error(errc::bad_model, name,
                join("expected shape ", describe_shape(expected), " from config.json, found ", describe_shape(found),
                     " in the file"));
  return name;
}

std::string find_stored(const gguf_model& files, const model_config&, const std::string& name, shape extent) {
  const bool there = files.contains(name);
  const bool fits = there && (files.shape(name) == std::vector{extent.rows, extent.columns} ||
                              (extent.rows == 1 && files.shape(name) == std::vector{extent.columns}));
  if (!fits)
    throw error(errc::bad_model, name,
                join("expected this tensor in shape ", describe_shape(std::array{extent.rows, extent.columns}), " in ",
                     files.file().path().string(), ", found ",
                     there ? describe_shape(files.shape(name)) : std::string("none")));
  return name;
}

model_config as_language_model(model_config config, const weight_files& files) {
  const auto has = [&](std::string_view name) { return files.contains(std::string(name)); };
  if (config.encodes()) {  // saved without the map behind the first state, or with the words of another task
    const std::string pooler = pooler_name(config) + ".weight";
    config.pooled = has(stored_name(config, files, pooler));
    return config;
  }
  if (has("score.weight") && !has(head_name) && !has(neox_head_name)) config.tied_head = true, config.head_bias = false;
  return config;
}

void add_special_tokens(tokenizer& words, const model_config& config) {
  const auto known = [&](token_id id) { return id >= 0 && id < words.size(); };
  if (!words.eos() && !config.eos.empty() && known(config.eos.front())) words.set_eos(config.eos.front());
  if (!words.bos() && config.bos && known(*config.bos)) words.set_bos(*config.bos);
}

}  // namespace detail

}  // namespace plumb::inline v0
