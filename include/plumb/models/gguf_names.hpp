// SPDX-License-Identifier: BSL-1.0
// What llama.cpp calls the tensors and families that the hub names otherwise.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

/// "general.architecture" of a family, or empty when llama.cpp's files cannot say it. Mistral is Llama there.
std::string_view gguf_architecture(std::string_view family) noexcept;
/// The family ("model_type") of an architecture, or empty when plumb does not read it.
std::string_view family_of_gguf(std::string_view architecture) noexcept;

/// All that plumb reads, as a list for messages.
std::string gguf_architectures();

/// The GGUF name of a tensor of the hub ("model.layers.0.self_attn.q_proj.weight" → "blk.0.attn_q.weight"); none for a
/// tensor that such a file does not have.
std::optional<std::string> gguf_name(const model_config& config, std::string_view hub_name);
/// The way back.
std::optional<std::string> hub_name(const model_config& config, std::string_view gguf_name);

/// Puts the `rows` of a weight or bias into llama.cpp's order, or back. For Llama it turns neighbouring numbers of a query
/// or key head where the hub turns the two halves of a head; and where the hub lays queries, keys and values out group
/// by group (GPT-NeoX, Falcon), it wants all queries, then all keys, then all values. Other rows stay.
void reorder_rows(const model_config& config, std::string_view hub_name, std::span<float> numbers, index_t rows,
                  bool to_gguf);
void reorder_rows(const model_config& config, std::string_view hub_name, std::span<std::uint8_t> row_bytes,
                  index_t rows, bool to_gguf);

/// Does llama.cpp store this norm with the offset added in (Gemma's 1 + weight)?
bool has_offset_inside(const model_config& config, std::string_view hub_name) noexcept;

}  // namespace plumb::inline v0
