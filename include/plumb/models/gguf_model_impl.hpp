// SPDX-License-Identifier: BSL-1.0
// The bodies of models/gguf_model.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/ggml_type_impl.hpp>
#include <plumb/models/expert_names.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/plain_names.hpp>
#include <plumb/models/rope_scaling.hpp>
#include <plumb/models/stacked_weight.hpp>

namespace plumb::inline v0 {

namespace detail {

/// A number of the metadata as it was written down: the shortest decimal that gives the stored float (1e-05, not
/// 9.99999975e-06), so that a configuration equals that of the folder which the file was made from.
inline double as_written(const gguf_value& v) {
  if (v.kind != gguf_kind::f32) return v.number();
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(v.number())).ptr;
  double out = v.number();
  std::from_chars(text, end, out);
  return out;
}

/// Reads "<architecture>.<key>" of one file.
class gguf_settings {
 public:
  gguf_settings(const gguf_file& file, std::string_view architecture) : file_(file), prefix_(join(architecture, ".")) {}

  [[nodiscard]] bool has(std::string_view key) const { return file_.find(prefix_ + std::string(key)) != nullptr; }
  [[nodiscard]] index_t integer(std::string_view key) const { return one(key, file_.find(prefix_ + std::string(key))); }
  [[nodiscard]] index_t integer_or(std::string_view key, index_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  [[nodiscard]] double number_or(std::string_view key, double otherwise) const {
    const gguf_value* const v = file_.find(prefix_ + std::string(key));
    if (v == nullptr) return otherwise;
    if (!v->is_number()) fail(key, "a number", *v);
    return as_written(*v);
  }
  [[nodiscard]] bool flag_or(std::string_view key, bool otherwise) const {
    return file_.flag_or(prefix_ + std::string(key), otherwise);
  }
  [[nodiscard]] std::string text_or(std::string_view key, std::string_view otherwise) const {
    return file_.text_or(prefix_ + std::string(key), otherwise);
  }

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view expected, const gguf_value& found) const {
    throw error(errc::bad_model, file_.path().string(),
                join("key \"", prefix_, key, "\": expected ", expected, ", found ", plumb::name(found.kind)));
  }
  /// An integer, or a list of one integer for each layer that are all the same.
  index_t one(std::string_view key, const gguf_value* v) const {
    if (v == nullptr)
      throw error(errc::bad_model, file_.path().string(), join("expected the key \"", prefix_, key, "\", found none"));
    if (const auto single = v->integer()) return *single;
    if (!v->is_array() || v->count == 0 || v->count > 100000) fail(key, "an integer", *v);
    const auto list = v->list();
    for (const gguf_value& item : list)
      if (!item.integer() || *item.integer() != list.front().integer())
        throw error(errc::unsupported, file_.path().string(),
                    join("key \"", prefix_, key, "\" differs between layers; plumb needs layers of one size"));
    return *list.front().integer();
  }

  const gguf_file& file_;
  std::string prefix_;
};

/// Rotary scaling. Llama 3's is stored as a factor for each frequency; its description is found again by trying.
inline void read_gguf_rope(const gguf_file& file, const gguf_settings& s, model_config& out) {
  using kind = rope_scaling::kind;
  const std::string place = file.path().string();
  rope_scaling& r = out.rope_scaling;
  const std::string how = s.text_or("rope.scaling.type", "none");
  if (how == "linear" || how == "yarn") {
    r.how = how == "linear" ? kind::linear : kind::yarn;
    r.factor = s.number_or("rope.scaling.factor", 1);
    r.positions = s.integer_or("rope.scaling.original_context_length", out.max_positions);
    if (how == "yarn") {
      r.fast_turns = s.number_or("rope.scaling.yarn_beta_fast", 32);
      r.slow_turns = s.number_or("rope.scaling.yarn_beta_slow", 1);
      const double attention = s.number_or("rope.scaling.attn_factor", 1);
      if (attention != 1) r.magnitude = attention * (0.1 * std::log(r.factor) + 1);
    }
    if (r.factor == 1) r = {};
  } else if (how != "none") {
    throw error(errc::unsupported, place,
                join("rotary scaling \"", how, "\"; plumb reads none, linear, yarn, Llama 3's"));
  } else if (const double factor = s.number_or("rope.scale_linear", 1); factor != 1) {
    r.how = kind::linear;
    r.factor = factor;
  }
  const auto read_factors = [&](const char* name, std::vector<double>& to) {
    const gguf_tensor* const t = file.find_tensor(name);
    if (t == nullptr) return;
    if (out.family != "phi3" || r.how != kind::none)
      throw error(errc::unsupported, place, join("the tensor \"", name, "\" (LongRoPE) is supported in Phi-3 only"));
    if (t->elements != out.turned_width() / 2)
      throw error(errc::bad_model, place,
                  join("\"", name, "\": expected ", out.turned_width() / 2, " numbers, found ", t->elements));
    std::vector<float> numbers(static_cast<std::size_t>(t->elements));
    file.read(*t, numbers);
    to.assign(numbers.begin(), numbers.end());
  };
  std::vector<double> short_factors, long_factors;
  read_factors("rope_factors_short.weight", short_factors), read_factors("rope_factors_long.weight", long_factors);
  if (!short_factors.empty() || !long_factors.empty()) {
    r.how = kind::longrope;
    r.short_factors = std::move(short_factors), r.long_factors = std::move(long_factors);
    r.positions = s.integer_or("rope.scaling.original_context_length", out.max_positions);
    r.factor =
        std::max(1.0, static_cast<double>(out.max_positions) / static_cast<double>(std::max<index_t>(1, r.positions)));
    r.magnitude = s.number_or("rope.scaling.attn_factor", 1);
    return;
  }
  const gguf_tensor* const factors = file.find_tensor("rope_freqs.weight");
  if (factors == nullptr) return;
  if (factors->elements != out.head_width / 2)
    throw error(errc::bad_model, place,
                join("\"rope_freqs.weight\": expected ", out.head_width / 2, " numbers, found ", factors->elements));
  std::vector<float> stored(static_cast<std::size_t>(factors->elements));
  file.read(*factors, stored);
  if (std::all_of(stored.begin(), stored.end(), [](float x) { return x == 1; })) return;
  const double factor = *std::max_element(stored.begin(), stored.end());
  if (factor > 1 && factor < 1e6) {
    const auto plain = make_rope_frequencies(out.head_width, out.rope_theta);
    for (index_t positions = 8; positions <= index_t{1} << 24; positions *= 2) {
      const rope_scaling guess{
          .how = kind::llama3, .factor = factor, .low_frequency = 1, .high_frequency = 4, .positions = positions};
      const auto scaled = make_rope_frequencies(out.head_width, out.rope_theta, guess);
      bool same = true;
      for (std::size_t i = 0; same && i < stored.size(); ++i)
        same = std::abs(plain.values[i] / scaled.values[i] / static_cast<double>(stored[i]) - 1) < 1e-4;
      if (!same) continue;
      r = guess;
      return;
    }
  }
  throw error(errc::unsupported, place, "\"rope_freqs.weight\" holds factors that are not Llama 3's rule");
}

inline void read_gguf_experts(const gguf_settings& s, model_config& out) {
  expert_config& e = out.experts;
  const bool qwen = out.family.starts_with("qwen");
  e.count = s.integer("expert_count");
  e.chosen = s.integer("expert_used_count");
  e.width = out.intermediate_size;
  if (qwen)
    e.width = s.integer_or("expert_feed_forward_length", out.intermediate_size / std::max<index_t>(1, e.chosen));
  if (out.family == "qwen2_moe")
    e.shared_width = s.integer_or("expert_shared_feed_forward_length", out.intermediate_size);
  e.shared_weights = shares_expert_weights(out.family);
  e.loss_factor = usual_loss_factor(out.family);
}

inline void read_gguf_family(const gguf_file& file, const gguf_settings& s, model_config& out) {
  const std::string& family = out.family;
  const bool gemma = family.starts_with("gemma");
  if (gemma) {
    out.norm_offset = 1;
    out.embedding_factor = std::sqrt(static_cast<double>(out.hidden_size));
    out.gate = activation::gelu_tanh;
  }
  if (family == "qwen3" || family == "qwen3_moe" || family == "gemma3_text") out.query_norms = query_norm::each_head;
  if (family == "olmo2" || family == "olmoe") out.query_norms = query_norm::all_heads;
  if (family == "olmo2") out.norms = norm_place::after;
  if (family == "gemma2" || family == "gemma3_text") {
    out.norms = norm_place::both;
    const bool second = family == "gemma2";
    out.attention_cap = s.number_or("attn_logit_softcapping", second ? 50 : 0);
    out.logit_cap = s.number_or("final_logit_softcapping", second ? 30 : 0);
    // The file does not say it: the head's width, but width / heads in the two largest models, as in llama.cpp.
    const bool largest = out.layers == (second ? 46 : 62);
    out.query_scale = static_cast<double>(largest ? out.hidden_size / std::max<index_t>(1, out.heads) : out.head_width);
    if (!second) out.local_rope_theta = s.number_or("rope.freq_base_swa", 10000);
    const index_t window = s.integer_or("attention.sliding_window", 4096), every = second ? 2 : 6;
    for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i)
      out.windows.push_back((i + 1) % every == 0 ? 0 : window);
  }
  if (family == "phi3")
    if (const index_t window = s.integer_or("attention.sliding_window", 0); window > 0)
      out.windows.assign(static_cast<std::size_t>(std::clamp<index_t>(out.layers, 0, 10000)), window);
  if (family == "gpt2" || family == "phi" || family == "starcoder2") out.gate = activation::gelu_tanh;
  if (family == "phi") out.parallel = out.one_norm = out.head_bias = true;
  if (family == "gpt_neox" || family == "falcon" || family == "mpt") out.gate = activation::gelu;
  if (family == "gpt_neox") out.parallel = s.flag_or("use_parallel_residual", true);
  if (family == "falcon") out.parallel = true, out.one_norm = file.find_tensor("blk.0.attn_norm_2.weight") == nullptr;
  if (family == "mpt") {
    out.alibi = s.number_or("attention.max_alibi_bias", 8);
    if (s.number_or("attention.clamp_kqv", 0) > 0)
      throw error(errc::unsupported, file.path().string(), "the model clips queries, keys and values");
  }
  if (family == "stablelm") out.norm_bias = true;
  if (family == "smollm3") {
    for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i) out.unturned.push_back((i + 1) % 4 == 0);
    if (out.layers < 4) out.unturned.clear();
  }
  if (family.starts_with("granite")) {
    if (const double scale = s.number_or("attention.scale", 0); scale > 0) out.query_scale = 1 / (scale * scale);
    out.logit_factor = 1 / s.number_or("logit_scale", 1);
    if (const double x = s.number_or("embedding_scale", 0); x != 0) out.embedding_factor = x;
    if (const double x = s.number_or("residual_scale", 0); x != 0) out.residual_factor = x;
  }
  if (family == "cohere" && file.find_tensor("blk.0.attn_q_norm.weight") != nullptr)
    out.query_norms = query_norm::own_heads;
  if (family == "cohere" || family == "cohere2") {
    out.parallel = out.one_norm = true;
    out.logit_factor = s.number_or("logit_scale", 1);
  }
  if (family == "cohere2") {
    const index_t window = s.integer("attention.sliding_window");
    for (index_t i = 0; i < std::clamp<index_t>(out.layers, 0, 10000); ++i) {
      out.windows.push_back((i + 1) % 4 == 0 ? 0 : window);
      out.unturned.push_back((i + 1) % 4 == 0);
    }
    if (out.layers < 4) out.unturned.clear();
  }
}

inline model_config read_gguf_config(const gguf_file& file) {
  const std::string place = file.path().string();
  const std::string architecture = file.text_or("general.architecture", "");
  if (const auto type = file.text_or("general.type", "model"); type != "model")
    throw error(errc::unsupported, place, join("expected a model, found a file of type \"", type, "\""));
  model_config out;
  out.family = family_of_gguf(architecture);
  if (out.family.empty())
    throw error(errc::unsupported, place,
                join("the architecture \"", architecture, "\" is not read; plumb reads ", gguf_architectures()));
  const gguf_tensor* const embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    throw error(
        errc::bad_model, place,
        "expected the tensor \"token_embd.weight\" with two sizes, found none; does the file hold a vocabulary only?");
  const gguf_settings s(file, architecture);
  const bool has_experts = s.integer_or("expert_count", 0) > 0;
  if (has_experts && out.family == "llama") out.family = "mixtral";
  if (has_experts != has_mixtures(out.family))
    throw error(errc::unsupported, place,
                join("models of the architecture \"", architecture, "\" are not read ",
                     has_experts ? "with experts" : "without experts"));
  out.vocabulary = embedding->shape[0];
  out.hidden_size = s.integer("embedding_length");
  out.layers = s.integer("block_count");
  out.intermediate_size = s.integer("feed_forward_length");
  out.heads = s.integer("attention.head_count");
  out.kv_heads = s.integer_or("attention.head_count_kv", out.heads);
  out.max_positions = s.integer("context_length");
  if (out.heads < 1)
    throw error(errc::bad_model, place, join("\"attention.head_count\": expected at least 1, found ", out.heads));
  out.head_width = s.integer_or("attention.key_length", out.hidden_size / out.heads);
  if (s.integer_or("attention.value_length", out.head_width) != out.head_width)
    throw error(errc::unsupported, place, "heads whose keys and values differ in width are not supported");
  const bool plain = find_plain_names(out) != nullptr;
  const bool centred = plain || out.family == "stablelm" || out.family == "cohere" || out.family == "cohere2";
  out.alibi = out.family == "mpt" ? 8 : 0;  // so that it has no other positions; the number follows
  const index_t turned = out.turns_positions() ? s.integer_or("rope.dimension_count", out.head_width) : out.head_width;
  const auto turns_a_part = [&] {
    for (const std::string_view family : {"phi3", "phi", "gpt_neox", "stablelm"})
      if (out.family == family) return true;
    return false;
  };
  if (turns_a_part())
    out.rotary_width = turned == out.head_width ? 0 : turned;
  else if (turned != out.head_width)
    throw error(errc::unsupported, place, "rotary positions that turn a part of each head only are not supported");
  out.norm_epsilon = s.number_or(centred ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5);
  out.rope_theta = s.number_or("rope.freq_base", out.family == "gemma3_text" ? 1e6 : 10000);
  if (has_experts) read_gguf_experts(s, out);
  read_gguf_family(file, s, out);
  out.tied_head = file.find_tensor("output.weight") == nullptr;
  const auto has_bias = [&](const char* part) { return file.find_tensor(join("blk.0.", part, ".bias")) != nullptr; };
  out.attention_bias = has_bias("attn_q") || has_bias("attn_qkv");
  out.output_bias = has_bias("attn_output");
  out.mlp_bias = has_bias("ffn_up");
  if (const auto id = file.integer_or("tokenizer.ggml.bos_token_id", -1); id >= 0 && id < out.vocabulary)
    out.bos = static_cast<token_id>(id);
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (const auto id = file.integer_or(key, -1); id >= 0 && id < out.vocabulary)
      if (std::find(out.eos.begin(), out.eos.end(), static_cast<token_id>(id)) == out.eos.end())
        out.eos.push_back(static_cast<token_id>(id));
  out.dtype = embedding->type == ggml_type::f16    ? "float16"
              : embedding->type == ggml_type::bf16 ? "bfloat16"
                                                   : "float32";
  out.check(place);
  if (out.turns_positions()) {
    read_gguf_rope(file, s, out);
    out.check(place);
  }
  return out;
}

}  // namespace detail

gguf_model gguf_model::open(const std::filesystem::path& path) { return gguf_model(gguf_file::open(path)); }

gguf_model::gguf_model(gguf_file file) : file_(std::move(file)), config_(detail::read_gguf_config(file_)) {
  const stack_table stacks = gguf_stacks(config_);
  for (const gguf_tensor& tensor : file_.tensors()) {
    for (const std::string& name : names_in_stack(config_, stacks, tensor.name)) {
      const auto place = find_in_stack(config_, stacks, name);
      if (tensor.shape != place->whole)
        throw error(errc::bad_model, file_.path().string(),
                    join("\"", tensor.name, "\": expected ", place->whole[0], " experts' maps of ", place->whole[1],
                         " rows of ", place->whole[2], " numbers"));
      where_.emplace(name,
                     entry{&tensor, {place->extent.rows, place->extent.columns}, place->first, place->extent.size()});
    }
    if (auto name = hub_name(config_, tensor.name)) {
      auto extents = tensor.shape;
      if (name->ends_with("shared_expert_gate.weight") && extents.size() == 1) extents.insert(extents.begin(), 1);
      where_.emplace(std::move(*name), entry{&tensor, std::move(extents), 0, tensor.elements});
    }
  }
}

std::optional<plumb::tokenizer> gguf_model::tokenizer() const {
  if (file_.find("tokenizer.ggml.model") == nullptr) return std::nullopt;
  return plumb::tokenizer::from_gguf(file_);
}

std::vector<std::string> gguf_model::names() const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : where_) out.push_back(name);
  return out;
}

const gguf_model::entry& gguf_model::at(std::string_view name) const {
  const auto found = where_.find(name);
  if (found != where_.end()) return found->second;
  throw error(errc::not_found, file_.path().string(), join("the file has no tensor for \"", name, "\""));
}

void gguf_model::read(std::string_view name, std::span<float> out) const {
  const entry& own = at(name);
  if (static_cast<std::size_t>(own.elements) != out.size())
    throw error(errc::bad_argument, file_.path().string(),
                join("\"", name, "\" has ", own.elements, " numbers, expected ", out.size()));
  file_.read_part(*own.tensor, own.first, out);
  if (has_offset_inside(config_, name))
    for (float& x : out) x -= static_cast<float>(config_.norm_offset);
  if (!own.shape.empty()) reorder_rows(config_, name, out, own.shape.front(), false);
}

std::optional<packed_format> gguf_model::packed_format_of(std::string_view name) const {
  const entry& own = at(name);
  return own.shape.size() == 2 && !has_offset_inside(config_, name) ? detail::packed_type(own.tensor->type)
                                                                    : std::nullopt;
}

packed_numbers gguf_model::read_packed(std::string_view name) const {
  const entry& own = at(name);
  const auto format = packed_format_of(name);
  if (!format)
    throw error(errc::unsupported, std::string(name),
                join("a tensor of ", layout_of(own.tensor->type).name, " is not kept packed; read it as floats"));
  packed_matrix like;
  like.format = *format, like.rows = own.shape[0], like.columns = own.shape[1];
  const auto stored = file_.bytes_of_part(*own.tensor, own.first, own.elements);
  if (static_cast<std::size_t>(parts_of_packed(like, false).codes) != stored.size())
    throw error(errc::bad_model, std::string(name),
                join("expected ", parts_of_packed(like, false).codes, " bytes, found ", stored.size()));
  packed_numbers out(like, false);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(stored.data()), stored.size(), out.codes());
  if (!all_finite(out.what))
    throw error(errc::not_finite, std::string(name), "a scale is NaN or infinite; the file is damaged");
  reorder_rows(config_, name, std::span<std::uint8_t>(out.codes(), stored.size()), like.rows, false);
  return out;
}

}  // namespace plumb::inline v0
