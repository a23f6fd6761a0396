// SPDX-License-Identifier: BSL-1.0
// Writing models and adapters as GGUF: bodies of models/model_files.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf_write.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/adapter_config.hpp>
#include <plumb/models/adapter_options.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/gguf_names.hpp>
#include <plumb/models/gguf_write_config_impl.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/models/rope_scaling.hpp>
#include <plumb/models/stored_weight.hpp>
#include <plumb/text/gguf_vocabulary_write.hpp>

namespace plumb::inline v0 {

namespace detail {

/// llama.cpp's number for a file that is mostly of this format.
inline index_t gguf_file_type(ggml_type type) noexcept {
  return type == ggml_type::f16 ? 1 : type == ggml_type::q8_0 ? 7 : type == ggml_type::bf16 ? 32 : 0;
}

inline void check_written_type(ggml_type type) {
  if (type != ggml_type::f32 && type != ggml_type::f16 && type != ggml_type::bf16 && type != ggml_type::q8_0)
    throw error(errc::unsupported, "type", join("plumb writes F32, F16, BF16 and Q8_0, not ", name(type)));
}

}  // namespace detail

void write_gguf_model(const named_weights& model, const std::filesystem::path& path, ggml_type type) {
  const std::string place = path.string();
  detail::check_written_type(type);
  const model_config& c = model.config();
  gguf_metadata metadata;
  metadata.text("general.architecture", detail::checked_architecture(c, place));
  metadata.text("general.type", "model");
  metadata.text("general.name", path.stem().string());
  metadata.u32("general.file_type", detail::gguf_file_type(type));
  if (type == ggml_type::q8_0) metadata.u32("general.quantization_version", 2);
  detail::write_gguf_config(c, metadata, place);
  if (const auto words = model.tokenizer()) write_gguf_vocabulary(*words, c.vocabulary, metadata, place);

  std::vector<gguf_output> outputs;
  std::vector<std::vector<std::string>> held;  // the weights in each of them
  std::map<std::string, std::size_t> by_name;  // of tensors that hold several
  const stack_table stacks = gguf_stacks(c);
  for (const std::string& name : model.names()) {
    const auto stacked = find_in_stack(c, stacks, name);
    if (stacked) {
      const auto [at, is_new] = by_name.try_emplace(stacked->name, outputs.size());
      if (!is_new) continue;
      held.push_back(names_in_stack(c, stacks, stacked->name));
    } else {
      held.push_back({name});
    }
    const auto there = stacked ? std::optional(stacked->name) : gguf_name(c, name);
    if (!there)
      throw error(errc::unsupported, name, join("a tensor of this name has no place in a GGUF file of ", c.family));
    gguf_output output{*there, ggml_type::f32, stacked ? stacked->whole : model.shape(name)};
    // The vector of the gate of a shared expert has one extent in llama.cpp, which keeps routers and it in full.
    if (there->ends_with("ffn_gate_inp_shexp.weight")) output.shape.erase(output.shape.begin());
    const bool full =
        there->ends_with("ffn_gate_inp.weight") || there->ends_with("_norm.weight") || *there == "position_embd.weight";
    if (output.shape.size() > 1 && !full) {
      const bool fills = static_cast<std::size_t>(output.shape.back()) % layout_of(type).numbers == 0;
      output.type = fills ? type : ggml_type::f16;
    }
    outputs.push_back(std::move(output));
  }
  std::vector<float> factors;
  if (c.rope_scaling.how == rope_scaling::kind::llama3) {
    const auto plain = make_rope_frequencies(c.head_width, c.rope_theta);
    const auto scaled = make_rope_frequencies(c.head_width, c.rope_theta, c.rope_scaling);
    for (std::size_t i = 0; i < plain.values.size(); ++i)
      factors.push_back(static_cast<float>(plain.values[i] / scaled.values[i]));
    outputs.push_back({"rope_freqs.weight", ggml_type::f32, {static_cast<index_t>(factors.size())}});
  }
  const rope_scaling& r = c.rope_scaling;
  if (r.how == rope_scaling::kind::longrope)
    for (const auto& [name, list] : {std::pair("rope_factors_short.weight", &r.short_factors),
                                     std::pair("rope_factors_long.weight", &r.long_factors)}) {
      factors.insert(factors.end(), list->begin(), list->end());
      outputs.push_back({name, ggml_type::f32, {static_cast<index_t>(list->size())}});
    }
  write_gguf(path, metadata, outputs, [&](std::size_t i, std::span<float> numbers) {
    if (i >= held.size()) {  // tensors of one size, one after the other
      std::copy_n(factors.begin() + static_cast<std::ptrdiff_t>((i - held.size()) * numbers.size()), numbers.size(),
                  numbers.begin());
      return;
    }
    const std::size_t each = numbers.size() / held[i].size();
    for (std::size_t k = 0; k < held[i].size(); ++k) model.read(held[i][k], numbers.subspan(k * each, each));
    if (held[i].size() > 1) return;
    const std::string& name = held[i].front();
    if (has_offset_inside(c, name))
      for (float& x : numbers) x += static_cast<float>(c.norm_offset);
    reorder_rows(c, name, numbers, outputs[i].shape.front(), true);
  });
  try {
    detail::check_survives(c, gguf_model::open(path).config(), place);
  } catch (...) {  // a file that would be another model must not stay
    std::error_code failed;
    std::filesystem::remove(path, failed);
    throw;
  }
}

void write_gguf_adapter(const std::filesystem::path& adapter, const named_weights& base,
                        const std::filesystem::path& path, ggml_type type) {
  constexpr std::string_view prefix = "base_model.model.", a_end = ".lora_A.weight", b_end = ".lora_B.weight";
  const std::string place = adapter.string();
  detail::check_written_type(type);
  const model_config& c = base.config();
  const adapter_config about = read_adapter_config(adapter);
  if (about.score_head)
    throw error(errc::unsupported, place,
                "the adapter has a head that scores texts, which llama.cpp's files cannot hold");
  if (about.virtual_tokens > 0)
    throw error(errc::unsupported, place, "the adapter is of virtual tokens, which llama.cpp's files cannot hold");
  if (about.lora.init != lora_init::uniform)
    throw error(
        errc::unsupported, place,
        join("\"init_lora_weights\" is \"", name(about.lora.init),
             "\": the adapter belongs to a changed base model; load and save it with plumb, which makes a plain one"));
  const auto files = weight_files::open(adapter, "adapter_model");
  const detail::lora_plan plan(about.lora);

  struct part {
    std::string stored, weight;
    bool b;
    float factor;
  };
  const double alpha = plan.options().alpha;
  std::vector<part> parts;
  std::vector<gguf_output> outputs;
  const auto weights = base.names();
  const stack_table stacks = gguf_stacks(c);
  for (const std::string& stored : files.names()) {
    if (stored.ends_with(".base_layer.weight")) continue;  // PEFT's copy of a frozen weight
    const bool b = stored.ends_with(b_end);
    if (!stored.starts_with(prefix) || (!b && !stored.ends_with(a_end)))
      throw error(errc::unsupported, place, join("the tensor \"", stored, "\" is no part of a plain LoRA adapter"));
    const std::string module = stored.substr(prefix.size(), stored.size() - prefix.size() - a_end.size());
    const std::string weight = module + ".weight";
    if (find_in_stack(c, stacks, weight))
      throw error(errc::unsupported, place,
                  join("\"", module,
                       "\" is an expert's: llama.cpp holds a layer's experts in one tensor, and plumb "
                       "writes no adapters for it; merge the adapter into the model, and convert that"));
    const auto there = gguf_name(c, weight);
    if (!there || !std::binary_search(weights.begin(), weights.end(), weight))
      throw error(
          errc::bad_model, place,
          join("the base model has no weight for the adapter's \"", module, "\"; is it an adapter of this model?"));
    const auto extent = files.shape(stored), map = base.shape(weight);
    const std::vector<index_t> expected =
        b ? std::vector{map.front(), plan.rank(module)} : std::vector{plan.rank(module), map.back()};
    if (map.size() != 2 || extent != expected)
      throw error(errc::bad_model, place,
                  join("\"", stored, "\": expected shape ", detail::describe_shape(expected), ", found ",
                       detail::describe_shape(extent)));
    const std::string other = join(prefix, module, b ? a_end : b_end);
    if (!files.contains(other)) throw error(errc::bad_model, place, join("the tensor \"", other, "\" is missing"));
    const double usual = alpha / static_cast<double>(plan.rank(module));
    parts.push_back({stored, weight, b, b ? static_cast<float>(plan.scale(module) / usual) : 1.0f});
    const bool fills = static_cast<std::size_t>(extent.back()) % layout_of(type).numbers == 0;
    outputs.push_back({*there + (b ? ".lora_b" : ".lora_a"), fills ? type : ggml_type::f32, extent});
  }
  if (parts.empty()) throw error(errc::bad_model, place, "the adapter has no tensors");
  gguf_metadata metadata;
  metadata.text("general.architecture", detail::checked_architecture(c, place));
  metadata.text("general.type", "adapter");
  metadata.text("general.name", path.stem().string());
  metadata.u32("general.file_type", detail::gguf_file_type(type));
  if (type == ggml_type::q8_0) metadata.u32("general.quantization_version", 2);
  metadata.text("adapter.type", "lora");
  metadata.f32("adapter.lora.alpha", alpha);
  write_gguf(path, metadata, outputs, [&](std::size_t i, std::span<float> numbers) {
    const part& p = parts[i];
    files.read(p.stored, numbers);
    if (!p.b) return;
    for (float& x : numbers) x *= p.factor;
    reorder_rows(c, p.weight, numbers, outputs[i].shape.front(), true);
  });
}

}  // namespace plumb::inline v0
