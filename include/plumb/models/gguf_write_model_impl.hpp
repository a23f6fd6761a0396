// SPDX-License-Identifier: BSL-1.0
// Writing models and adapters as GGUF: bodies of models/model_files.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/gguf_write.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/adapter_config.hpp>
#include <plumb/models/adapter_options.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/gguf_names.hpp>
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

inline std::string checked_architecture(const model_config& c, const std::string& place) {
  const auto architecture = gguf_architecture(c.family);
  if (architecture.empty())
    throw error(errc::unsupported, place, join("models of the family \"", c.family, "\" are not written as GGUF"));
  return std::string(architecture);
}

inline void write_gguf_config(const model_config& c, gguf_metadata& out, const std::string& place) {
  using kind = rope_scaling::kind;
  const std::string at = checked_architecture(c, place) + ".";
  const bool gpt2 = c.family == "gpt2";
  const bool gemma = c.family == "gemma2" || c.family == "gemma3_text";
  const index_t window = c.windows.empty() ? 0 : *std::max_element(c.windows.begin(), c.windows.end());
  if (window > 0 && !gemma && c.family != "phi3")
    throw error(errc::unsupported, place,
                "llama.cpp's files cannot say a window of attention for this family; the model would differ there");
  out.u32(at + "context_length", c.max_positions);
  out.u32(at + "embedding_length", c.hidden_size);
  out.u32(at + "block_count", c.layers);
  out.u32(at + "feed_forward_length", c.intermediate_size);
  out.u32(at + "attention.head_count", c.heads);
  out.u32(at + "attention.head_count_kv", c.kv_heads);
  out.f32(at + (gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"), c.norm_epsilon);
  out.u32(at + "vocab_size", c.vocabulary);
  if (gpt2) return;
  out.u32(at + "attention.key_length", c.head_width);
  out.u32(at + "attention.value_length", c.head_width);
  out.u32(at + "rope.dimension_count", c.turned_width());
  out.f32(at + "rope.freq_base", c.rope_theta);
  if (c.family == "phi3") out.u32(at + "attention.sliding_window", window);
  if (gemma) {
    out.u32(at + "attention.sliding_window", std::max<index_t>(1, window));
    if (c.attention_cap > 0) out.f32(at + "attn_logit_softcapping", c.attention_cap);
    if (c.logit_cap > 0) out.f32(at + "final_logit_softcapping", c.logit_cap);
    if (c.local_rope_theta > 0) out.f32(at + "rope.freq_base_swa", c.local_rope_theta);
  }
  const rope_scaling& r = c.rope_scaling;
  if (r.how == kind::longrope && c.family == "phi3") {
    out.u32(at + "rope.scaling.original_context_length", r.positions);
    out.f32(at + "rope.scaling.attn_factor", make_rope_frequencies(c.turned_width(), c.rope_theta, r).magnitude);
  } else if (r.how == kind::dynamic || r.how == kind::longrope)
    throw error(errc::unsupported, place, join(name(r.how), " scaling of rotary positions is not written as GGUF"));
  if (r.how == kind::linear || r.how == kind::yarn) {
    out.text(at + "rope.scaling.type", name(r.how));
    out.f32(at + "rope.scaling.factor", r.factor);
  }
  if (r.how == kind::yarn) {
    const double usual = 0.1 * std::log(r.factor) + 1;
    if (!r.whole_ends)
      throw error(errc::unsupported, place, "YaRN with \"truncate\": false cannot be said in llama.cpp's files");
    out.u32(at + "rope.scaling.original_context_length", r.positions);
    out.f32(at + "rope.scaling.yarn_beta_fast", r.fast_turns);
    out.f32(at + "rope.scaling.yarn_beta_slow", r.slow_turns);
    if (r.magnitude > 0 && std::abs(r.magnitude / usual - 1) > 1e-6)
      out.f32(at + "rope.scaling.attn_factor", r.magnitude / usual);
  }
}

/// Reads the file's own account of a configuration and compares what the metadata could have lost.
inline void check_survives(const model_config& c, const model_config& back, const std::string& place) {
  const auto lost = [&](std::string_view what) {
    throw error(errc::unsupported, place, join("llama.cpp's files cannot say this model's ", what));
  };
  const auto same = [](double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); };
  if (c.windows != back.windows && !(c.windows.empty() && back.windows.empty())) lost("windows of attention");
  const auto scale = [](const model_config& x) { return x.query_scale > 0 ? x.query_scale : double(x.head_width); };
  if (!same(scale(c), scale(back))) lost("scale of attention's scores");
  if (c.gate != back.gate) lost("activation");
  if (!same(c.attention_cap, back.attention_cap) || !same(c.logit_cap, back.logit_cap)) lost("caps of logits");
  if (!same(c.embedding_factor, back.embedding_factor)) lost("scale of embeddings");
  if (c.family == "gpt2") return;
  bool turns = true;
  for (const index_t longest : {index_t{0}, c.max_positions}) {
    const auto f = make_rope_frequencies(c.turned_width(), c.rope_theta, c.rope_scaling, longest);
    const auto g = make_rope_frequencies(back.turned_width(), back.rope_theta, back.rope_scaling, longest);
    turns = turns && f.values.size() == g.values.size() && same(f.magnitude, g.magnitude);
    for (std::size_t i = 0; turns && i < f.values.size(); ++i) turns = std::abs(f.values[i] / g.values[i] - 1) < 1e-5;
  }
  if (!turns) lost("scaling of rotary positions");
  if (!same(c.rope_theta, back.rope_theta) || !same(c.local_rope_theta, back.local_rope_theta)) lost("rotary base");
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
  std::vector<std::string> names = model.names();
  for (const std::string& name : names) {
    const auto there = gguf_name(c, name);
    if (!there)
      throw error(errc::unsupported, name, join("a tensor of this name has no place in a GGUF file of ", c.family));
    gguf_output output{*there, ggml_type::f32, model.shape(name)};
    if (output.shape.size() > 1 && *there != "position_embd.weight") {
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
    if (i >= names.size()) {  // tensors of one size, one after the other
      std::copy_n(factors.begin() + static_cast<std::ptrdiff_t>((i - names.size()) * numbers.size()), numbers.size(),
                  numbers.begin());
      return;
    }
    model.read(names[i], numbers);
    if (has_offset_inside(c, names[i]))
      for (float& x : numbers) x += static_cast<float>(c.norm_offset);
    if (const index_t heads = interleaved_heads(c, names[i]); heads > 0)
      detail::reorder_heads(numbers, outputs[i].shape.front(), heads, true);
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
  for (const std::string& stored : files.names()) {
    if (stored.ends_with(".base_layer.weight")) continue;  // PEFT's copy of a frozen weight
    const bool b = stored.ends_with(b_end);
    if (!stored.starts_with(prefix) || (!b && !stored.ends_with(a_end)))
      throw error(errc::unsupported, place, join("the tensor \"", stored, "\" is no part of a plain LoRA adapter"));
    const std::string module = stored.substr(prefix.size(), stored.size() - prefix.size() - a_end.size());
    const std::string weight = module + ".weight";
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
    if (const index_t heads = interleaved_heads(c, p.weight); heads > 0)
      detail::reorder_heads(numbers, outputs[i].shape.front(), heads, true);
  });
}

}  // namespace plumb::inline v0
