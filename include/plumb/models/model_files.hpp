// SPDX-License-Identifier: BSL-1.0
// A stored model whatever it is stored in: a hub folder or a GGUF file, with names and orientation as plumb has them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/packed_numbers.hpp>
#include <plumb/io/dtype.hpp>
#include <plumb/io/ggml_type.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/weight_storage.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Weights by their name on the hub; maps are [outputs, inputs], norms and biases [size].
class named_weights {
 public:
  virtual ~named_weights() = default;
  [[nodiscard]] virtual const model_config& config() const = 0;
  /// The tokenizer that belongs to the model, if there is one.
  [[nodiscard]] virtual std::optional<plumb::tokenizer> tokenizer() const = 0;
  /// All weights that the model needs, sorted; a tied head is not among them.
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  [[nodiscard]] virtual std::vector<index_t> shape(const std::string& name) const = 0;
  virtual void read(const std::string& name, std::span<float> out) const = 0;
  /// A map that the files hold as bitsandbytes packs it, not a bit changed; nothing for others.
  [[nodiscard]] virtual std::optional<packed_numbers> packed(const std::string& /*name*/) const { return std::nullopt; }
};

/// Opens a model folder or a GGUF file without reading its weights.
std::unique_ptr<named_weights> open_model_files(const std::filesystem::path& folder_or_file);

/// Writes a model as a GGUF file that llama.cpp reads, with its tokenizer.
///
/// `type`: F32, F16, BF16 or Q8_0. Norms, biases and learnt positions stay F32, as llama.cpp wants them; maps whose rows
/// do not fill blocks of 32 become F16 instead of Q8_0. F32 keeps every number to the bit (Gemma's norms, which the file
/// stores with 1 added, are rounded once). Errors: `unsupported` for what llama.cpp's files cannot say: a family, a
/// window in Mistral, a tokenizer that is neither byte-level BPE nor SentencePiece-style BPE.
void write_gguf_model(const named_weights& model, const std::filesystem::path& path, ggml_type type);

/// Writes a model folder that transformers reads: config.json, model.safetensors and the tokenizer's files.
/// `type`: F32, F16 or BF16.
void write_model_folder(const named_weights& model, const std::filesystem::path& folder, dtype type);

/// Writes a model folder that transformers reads with bitsandbytes: the maps of the blocks in `storage`, nf4 (with second
/// quantisation) or int8; embeddings, head, norms and biases as `rest`, F32, F16 or BF16. A map that the files hold in that
/// format keeps its bits. Errors: `unsupported` for other storages, encoders and mixtures of experts.
void write_packed_folder(const named_weights& model, const std::filesystem::path& folder, weight_storage storage,
                         dtype rest = dtype::f32);

/// Writes a PEFT LoRA adapter as an adapter file that llama.cpp applies to the model `base` (a folder or GGUF file).
///
/// llama.cpp scales each B A by alpha / rank with one alpha; where the adapter's own scale is another (rank-stabilised,
/// patterns), B is multiplied by the ratio. `type`: F32, F16, BF16 or Q8_0, for tensors whose rows fill its blocks.
void write_gguf_adapter(const std::filesystem::path& adapter, const named_weights& base,
                        const std::filesystem::path& path, ggml_type type);

}  // namespace plumb::inline v0
