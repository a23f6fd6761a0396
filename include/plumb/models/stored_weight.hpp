// SPDX-License-Identifier: BSL-1.0
// How files hold a weight: under which name, in which shape, which way round.
#pragma once

#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/view.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/config.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/stacked_weight.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Do files hold this weight as [inputs, outputs]? plumb keeps every map as [outputs, inputs]; GPT-2's files do not.
inline bool lies_transposed(const model_config& c, std::string_view name) {
  if (name.ends_with(".lora_embedding_A")) return true;  // PEFT holds a column for each token
  if (c.family != "gpt2") return false;
  for (const std::string_view end : {"c_attn.weight", "c_proj.weight", "c_fc.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

namespace detail {

/// Throws errc::not_finite, naming `what`, for numbers of a file that are not.
template <class T>
void check_read(const std::string& what, std::span<const T> numbers) {
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (!std::isfinite(numbers[i]))
      throw error(errc::not_finite, what,
                  join("number ", i, " of the file is NaN or infinite; the file is damaged or training diverged"));
}
/// Throws errc::not_finite, naming `what`, where `whose` numbers that are to be written are not.
template <class T>
void check_written(const std::string& what, std::span<const T> numbers, std::string_view whose) {
  for (const T x : numbers)
    if (!std::isfinite(x))
      throw error(errc::not_finite, what, join(whose, " holds NaN or infinite numbers; training diverged"));
}

std::string describe_shape(std::span<const index_t> extents);

/// Norms, biases and magnitudes lie in files as one row of numbers without a second extent.
bool is_vector(std::string_view name);

/// Tables that rows are looked up in: of tokens, or of positions.
bool is_table(std::string_view name);
/// The table of tokens, or the head: one row for each word.
bool is_word_map(std::string_view name);

/// The shape in which files hold a weight of this extent.
std::vector<index_t> stored_shape(const model_config& c, std::string_view name, shape extent);

/// GPT-NeoX's head has a name of its own in files.
inline constexpr std::string_view head_name = "lm_head.weight", neox_head_name = "embed_out.weight";

/// The name under which a weight is written.
std::string written_name(const model_config& c, const std::string& name);

/// What the names of a family's decoder begin with; empty where files always say it.
std::string_view base_prefix(const model_config& c);

/// The name in these files. Files saved without a head, as the first publications of GPT-2, leave the prefix out.
std::string stored_name(const model_config& c, const weight_files& files, const std::string& name);

/// The name under which a weight of this extent lies in these files. Throws errc::bad_model, naming it, when they lack it
/// or hold it in another shape.
std::string find_stored(const weight_files& files, const model_config& config, const std::string& wanted, shape extent);
/// The same for a GGUF file, which has plumb's names and orientation.
std::string find_stored(const gguf_model& files, const model_config&, const std::string& name, shape extent);

/// A reward model has a score head in place of a language head; the embedding stands in, as in a tied model.
model_config as_language_model(model_config config, const weight_files& files);

/// The configuration's end and begin of text for a tokenizer whose own files name none.
void add_special_tokens(tokenizer& words, const model_config& config);

/// [rows, columns] → [columns, rows].
template <class T>
std::vector<T> transposed(std::span<const T> numbers, index_t rows, index_t columns) {
  std::vector<T> out(numbers.size());
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j)
      out[static_cast<std::size_t>(j * rows + i)] = numbers[static_cast<std::size_t>(i * columns + j)];
  return out;
}

/// Numbers of a weight of this extent the way round in which files hold them.
template <class T>
std::vector<T> as_stored(const model_config& c, std::string_view name, shape extent, std::vector<T> numbers) {
  if (!lies_transposed(c, name)) return numbers;
  return transposed(std::span<const T>(numbers), extent.rows, extent.columns);
}

}  // namespace detail

}  // namespace plumb::inline v0
