// SPDX-License-Identifier: BSL-1.0
// Putting virtual tokens ahead of a model's sequences; PEFT's files of them are in adapter.hpp.
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/attach_lora.hpp>
#include <plumb/models/policy.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The name of the virtual tokens' numbers, among a policy's parameters and in PEFT's file.
inline constexpr const char* prompt_name = "prompt_embeddings";

/// The table of the model's tokens; prompt tuning learns rows beside its. Throws errc::unsupported where there is none.
template <class B, class T>
embedding<B, T>& token_table(const language_model<B, T>& model) {
  embedding<B, T>* out = nullptr;
  model.network().for_each_table([&](const std::string&, embedding<B, T>& table) { out = out ? out : &table; });
  if (!out) throw error(errc::unsupported, "virtual_tokens", "the model has no table of tokens to put others beside");
  return *out;
}

/// [count, numbers of one virtual token] after checking that the model has room for them.
template <class B, class T>
shape prompt_extent(const language_model<B, T>& model, index_t count, bool prefix) {
  const auto& sizes = model.network().sizes();
  const auto& now = model.network().ahead();
  const index_t positions = sizes.positions + (now ? now->count : 0);
  if (count < 1 || count >= positions)
    throw error(errc::bad_argument, "virtual_tokens",
                join("expected 1 to ", positions - 1, ", below the model's positions, found ", count));
  if (!prefix && token_table(model).factor != 1)
    throw error(
        errc::unsupported, "virtual_tokens",
        "the model multiplies its embeddings (Gemma), and versions of transformers disagree whether it multiplies "
        "virtual ones; learn a prefix instead");
  return {count, prefix ? 2 * sizes.layers * sizes.kv_width : sizes.width};
}

template <class B, class T>
policy<B, T> put_prompt(const language_model<B, T>& model, const prompt_options& options, tensor<B, T> rows) {
  bare(model);
  const auto tokens = std::make_shared<virtual_tokens<B, T>>();
  tokens->count = options.count;
  tokens->prefix = options.prefix;
  tokens->rows = learnable(std::move(rows));
  model.network().set_virtual_tokens(tokens);
  std::vector<named_parameter<B, T>> trainable{{prompt_name, tokens->rows}};
  return {model, std::move(trainable), options};
}

}  // namespace detail

/// Puts learnt tokens ahead of every sequence and freezes the model: prompt tuning, or prefix tuning.
///
///     auto policy = plumb::attach_prompt(model, {.count = 20, .from = model.tokenizer().encode("Answer politely.")});
///
/// They take up positions, and time in every pass, as tokens do; reference and sampling work as with LoRA. Throws
/// errc::bad_argument for a count or token out of range, errc::unsupported for prompt tuning of Gemma.
template <class B, class T>
policy<B, T> attach_prompt(const language_model<B, T>& model, const prompt_options& options = {}) {
  const shape extent = detail::prompt_extent(model, options.count, options.prefix);
  const philox_stream numbers{options.seed, 0x70726f6d7074};  // "prompt" in letters: no other stream of the seed
  if (options.prefix) {
    if (!options.from.empty())
      throw error(errc::bad_argument, "from", "a prefix starts from random numbers, not from tokens; leave it empty");
    if (!std::isfinite(options.deviation))
      throw error(errc::bad_argument, "deviation", join("expected a finite number, found ", options.deviation));
    std::vector<double> host(static_cast<std::size_t>(extent.size()));
    for (std::size_t i = 0; i < host.size(); ++i) host[i] = options.deviation * numbers.normal_at(i);
    return detail::put_prompt(model, options, detail::rounded<B, T>(model.device(), extent, host));
  }
  const auto vocabulary = static_cast<std::uint64_t>(model.network().vocabulary());
  std::vector<token_id> tokens;
  for (std::size_t i = 0; i < static_cast<std::size_t>(options.count); ++i)
    tokens.push_back(options.from.empty() ? static_cast<token_id>(numbers.block(i)[0] % vocabulary)
                                          : options.from[i % options.from.size()]);
  for (const token_id id : tokens)
    if (id < 0 || static_cast<std::uint64_t>(id) >= vocabulary)
      throw error(errc::bad_argument, "from", join("token ", id, " lies outside the vocabulary of ", vocabulary));
  const weight_tensor<B, T>& table = *detail::token_table(model).weight;
  return detail::put_prompt(model, options, detail::rows_of(model.device(), table, std::span<const token_id>(tokens)));
}

}  // namespace plumb::inline v0
