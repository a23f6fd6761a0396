// SPDX-License-Identifier: BSL-1.0
// NEFTune: noise on the embeddings while a model learns, so that it does not learn the words by heart.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/nn/forest.hpp>

namespace plumb::inline v0 {

/// Noise for the embeddings of a batch, [tokens, width], uniform in ±α / √(L · width).
///
/// α `alpha`, 5 to 15 in the paper; L the length of the token's own sequence from the first token of its prompt to the
/// last of its reply. A prompt that several replies share has one embedding, hence one noise: L is that of the longest of
/// them. What else is in the batch does not matter; padding or packing the batch would (L of the padded or packed row).
/// Jain et al. 2023, arXiv:2310.05914.
/// Put into `out`; `length` is memory for the work.
template <class T>
void embedding_noise(const forest& batch, index_t width, double alpha, std::uint64_t key, std::vector<T>& out,
                     std::vector<index_t>& length) {
  const auto segments = batch.segments();
  length.assign(segments.size(), 0);
  for (std::size_t s = segments.size(); s-- > 0;) {  // children come after their parents
    length[s] = std::max(length[s], segments[s].end_position());
    if (segments[s].parent != forest::root) {
      auto& parent = length[static_cast<std::size_t>(segments[s].parent)];
      parent = std::max(parent, length[s]);
    }
  }
  out.resize(batch.tokens().size() * static_cast<std::size_t>(width));
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const double bound = alpha / std::sqrt(static_cast<double>(length[s]) * static_cast<double>(width));
    const index_t first = segments[s].first * width, end = first + segments[s].length * width;
    for (index_t i = first; i < end; ++i) {
      const double unit = (philox_word(key, static_cast<std::uint64_t>(i)) + 0.5) * 0x1p-32;  // inside (0, 1)
      out[static_cast<std::size_t>(i)] = static_cast<T>(bound * (2 * unit - 1));
    }
  }
}

template <class T>
std::vector<T> embedding_noise(const forest& batch, index_t width, double alpha, std::uint64_t key) {
  std::vector<T> out;
  std::vector<index_t> length;
  embedding_noise(batch, width, alpha, key, out, length);
  return out;
}

}  // namespace plumb::inline v0
