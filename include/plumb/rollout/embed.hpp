// SPDX-License-Identifier: BSL-1.0
// Texts as vectors: what a network thinks on average while it reads them.
#pragma once

#include <span>
#include <vector>

#include <plumb/models/language_model.hpp>
#include <plumb/nn/forest.hpp>
#include <plumb/rollout/cached_decoder.hpp>

namespace plumb::inline v0 {

/// What of a text's states stands for it.
enum class pooling {
  mean,  ///< their mean
  first  ///< the first token's, of an encoder ([CLS])
};

/// The mean over its tokens of the states that the head reads, for each sequence: [sequences, width], one after another.
/// At most `batch_tokens` tokens go through the network at once (a longer sequence alone); what one sequence gets does not
/// depend on the others. `adapters` off: the frozen network's. `how`: the mean, or the first token's state. Throws errc::bad_argument, naming the sequence, for what
/// check_prompts refuses.
template <class B, class T>
std::vector<double> embed(const language_model<B, T>& model, std::span<const std::vector<token_id>> sequences,
                          bool adapters = false, index_t batch_tokens = 2048, pooling how = pooling::mean) {
  check_prompts(model, sequences);
  if (how == pooling::first && !model.config().encodes())
    throw error(errc::bad_argument, "pooling",
                "the first token of a decoder sees nothing of the text; take the mean, or an encoder");
  const index_t width = model.network().sizes().width;
  std::vector<double> out;
  tape<B, T> memory(model.device());
  memory.set_recording(false);
  forest batch;
  batch_layout layout;
  std::vector<T> states;
  for (std::size_t first = 0, end = 0; first < sequences.size(); first = end) {
    batch.clear();
    while (end < sequences.size() &&
           (end == first || static_cast<index_t>(batch.tokens().size() + sequences[end].size()) <= batch_tokens))
      batch.add(sequences[end++]);
    batch.lay_out(layout);
    memory.reset();
    pass<B, T> p{memory, upload(memory, layout), nullptr, adapters};
    const auto hidden = model.network().hidden(p);  // [tokens, width]
    states.resize(static_cast<std::size_t>(hidden.value.size()));
    B::download(memory.device(), hidden.value.data, states.data(), hidden.value.size());
    for (const segment& s : batch.segments()) {
      const std::size_t begin = out.size();
      out.resize(begin + static_cast<std::size_t>(width));
      const index_t count = how == pooling::first ? 1 : s.length;
      for (index_t row = s.first; row < s.first + count; ++row)
        for (index_t k = 0; k < width; ++k)
          out[begin + static_cast<std::size_t>(k)] +=
              static_cast<double>(states[static_cast<std::size_t>(row * width + k)]) / static_cast<double>(count);
    }
  }
  return out;
}

}  // namespace plumb::inline v0
