// SPDX-License-Identifier: BSL-1.0
// Opening stored models and writing model folders: bodies of models/model_files.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/bitsandbytes.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/gguf.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/models/read_weight.hpp>
#include <plumb/models/stored_tensors.hpp>

namespace plumb::inline v0 {

namespace detail {

inline bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return text.ends_with(end); });
}

/// A model folder.
class folder_weights final : public named_weights {
 public:
  explicit folder_weights(const std::filesystem::path& folder)
      : folder_(folder),
        config_(read_config(folder)),
        stacks_(hub_stacks(config_)),
        files_(weight_files::open(folder)) {
    for (const std::string& stored : files_.names()) {
      // Constants that old versions of transformers saved beside the weights.
      if (ends_with_any(stored, {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias",
                                 ".attention.masked_bias"}))
        continue;
      if (is_bitsandbytes_part(stored)) continue;
      const bool head = stored.starts_with("lm_head.") || stored == neox_head_name;
      if (config_.tied_head && head && stored.ends_with(".weight")) continue;
      const std::string_view prefix = base_prefix(config_);
      const bool task = config_.encodes() && !stored.starts_with("embeddings.") && !stored.starts_with("encoder.") &&
                        !stored.starts_with("pooler.");  // heads of a task, which have their own names
      if (auto held = names_in_stack(config_, stacks_, stored); !held.empty()) {
        names_.insert(names_.end(), std::make_move_iterator(held.begin()), std::make_move_iterator(held.end()));
        continue;
      }
      const bool bare = !head && !task && !stored.starts_with(prefix);
      names_.push_back(stored == neox_head_name ? std::string(head_name) : bare ? join(prefix, stored) : stored);
    }
    std::sort(names_.begin(), names_.end());
  }
  [[nodiscard]] const model_config& config() const override { return config_; }
  [[nodiscard]] std::optional<plumb::tokenizer> tokenizer() const override {
    auto words = plumb::tokenizer::find(folder_);
    if (words) add_special_tokens(*words, config_);
    return words;
  }
  [[nodiscard]] std::vector<std::string> names() const override { return names_; }
  [[nodiscard]] std::vector<index_t> shape(const std::string& name) const override {
    if (const auto place = find_in_stack(config_, stacks_, name)) return {place->extent.rows, place->extent.columns};
    const std::string stored = stored_name(config_, files_, name);
    if (bitsandbytes_format(files_, stored)) {
      const auto extent = bitsandbytes_shape(files_, stored);
      return {extent.rows, extent.columns};
    }
    auto out = files_.shape(stored);
    if (lies_transposed(config_, name)) std::reverse(out.begin(), out.end());
    return out;
  }
  void read(const std::string& name, std::span<float> out) const override {
    if (const auto place = find_in_stack(config_, stacks_, name)) {
      const auto numbers = read_numbers<float>(files_, config_, name, place->extent);
      std::copy(numbers.begin(), numbers.end(), out.begin());
      return;
    }
    const std::string stored = stored_name(config_, files_, name);
    if (bitsandbytes_format(files_, stored))
      return unpack(read_bitsandbytes(files_, stored, bitsandbytes_shape(files_, stored)).what, out);
    files_.read(stored, out);
    if (!lies_transposed(config_, name)) return;
    const auto extent = shape(name);
    const auto turned = transposed(std::span<const float>(out), extent[1], extent[0]);
    std::copy(turned.begin(), turned.end(), out.begin());
  }
  [[nodiscard]] std::optional<packed_numbers> packed(const std::string& name) const override {
    const std::string stored = stored_name(config_, files_, name);
    if (!bitsandbytes_format(files_, stored)) return std::nullopt;
    return read_bitsandbytes(files_, stored, bitsandbytes_shape(files_, stored));
  }

 private:
  std::filesystem::path folder_;
  model_config config_;
  stack_table stacks_;
  weight_files files_;
  std::vector<std::string> names_;
};

/// A GGUF file.
class gguf_weights final : public named_weights {
 public:
  explicit gguf_weights(const std::filesystem::path& path) : model_(gguf_model::open(path)) {
    const stack_table stacks = gguf_stacks(model_.config());
    for (const auto& tensor : model_.file().tensors())
      if (names_in_stack(model_.config(), stacks, tensor.name).empty() && !hub_name(model_.config(), tensor.name) &&
          tensor.name != "rope_freqs.weight" && !tensor.name.starts_with("rope_factors_"))
        throw error(
            errc::unsupported, path.string(),
            join("the tensor \"", tensor.name, "\" has no place in a model of the family ", model_.config().family));
  }
  [[nodiscard]] const model_config& config() const override { return model_.config(); }
  [[nodiscard]] std::optional<plumb::tokenizer> tokenizer() const override { return model_.tokenizer(); }
  [[nodiscard]] std::vector<std::string> names() const override { return model_.names(); }
  [[nodiscard]] std::vector<index_t> shape(const std::string& name) const override { return model_.shape(name); }
  void read(const std::string& name, std::span<float> out) const override { model_.read(name, out); }

 private:
  gguf_model model_;
};

inline std::size_t count_of(const std::vector<index_t>& extent) {
  std::size_t out = 1;
  for (const index_t size : extent) out *= static_cast<std::size_t>(size);
  return out;
}

inline void check_folder_type(const std::filesystem::path& folder, dtype type) {
  if (type != dtype::f32 && type != dtype::f16 && type != dtype::bf16)
    throw error(errc::unsupported, folder.string(),
                join("model folders are written as F32, F16 or BF16, not as ", name(type)));
}

/// The plain tensors of a model folder that is being written.
class folder_tensors {
 public:
  folder_tensors(model_config config, dtype type)
      : config_(std::move(config)), type_(type), tensors_(std::in_place_index<0>, config_, type) {
    config_.dtype = type == dtype::f32 ? "float32" : type == dtype::f16 ? "float16" : "bfloat16";
    if (type != dtype::f32) tensors_.emplace<stored_tensors<std::uint16_t>>(config_, type);
  }
  folder_tensors(const folder_tensors&) = delete;
  folder_tensors& operator=(const folder_tensors&) = delete;

  void add(const named_weights& model, const std::string& name) {
    const auto extent = model.shape(name);
    std::vector<float> numbers(count_of(extent));
    model.read(name, numbers);
    std::visit(
        [&]<class Number>(stored_tensors<Number>& tensors) {
          std::vector<Number> stored(numbers.size());
          convert(std::span<const float>(numbers), type_, std::as_writable_bytes(std::span(stored)));
          if (extent.size() == 2)
            tensors.add(name, {extent[0], extent[1]}, std::move(stored));
          else
            tensors.put(written_name(config_, name), extent, std::move(stored));
        },
        tensors_);
  }
  [[nodiscard]] std::vector<tensor_data> tensors() const {
    return std::visit([](const auto& tensors) { return tensors.list(); }, tensors_);
  }
  /// These tensors, the configuration and the tokenizer's files.
  void write(const std::filesystem::path& folder, const std::vector<tensor_data>& all,
             const named_weights& model) const {
    write_safetensors(folder / "model.safetensors", all, {{"format", "pt"}});
    write_config(config_, folder);
    if (const auto words = model.tokenizer()) words->save(folder);
  }
  [[nodiscard]] const model_config& config() const noexcept { return config_; }

 private:
  model_config config_;
  dtype type_;
  std::variant<stored_tensors<float>, stored_tensors<std::uint16_t>> tensors_;  ///< by the width of the type
};

}  // namespace detail

std::unique_ptr<named_weights> open_model_files(const std::filesystem::path& folder_or_file) {
  if (is_gguf(folder_or_file)) return std::make_unique<detail::gguf_weights>(folder_or_file);
  return std::make_unique<detail::folder_weights>(folder_or_file);
}

void write_model_folder(const named_weights& model, const std::filesystem::path& folder, dtype type) {
  detail::check_folder_type(folder, type);
  make_folder(folder);
  detail::folder_tensors out(model.config(), type);
  for (const std::string& name : model.names()) out.add(model, name);
  out.write(folder, out.tensors(), model);
}

}  // namespace plumb::inline v0
