// SPDX-License-Identifier: BSL-1.0
// A distribution over a large vocabulary as its few most probable words, and all others together as one more.
#pragma once

#include <cstdint>
#include <plumb/config.hpp>
#include <plumb/core/math.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

// A short row has a number for each of `words` chosen words, and with `tail` one more, for all words that were not chosen.
// Softmax of the short row, at the same sharpness, is then
//   with the tail      the probabilities of the chosen words as they are, and their complement
//   without it         the probabilities among the chosen words alone: renormalised
// Chosen words are in ascending order of their ids; −1 after them where a row has fewer.

/// The ids of the `words` largest of `count` numbers, ascending; of equals the first. words ≤ count.
template <class T>
PLUMB_HD void pick_top_words(const T* z, index_t count, std::int32_t* ids, index_t words) {
  index_t held = 0;  // ids[0 … held) from the largest down
  for (index_t v = 0; v < count; ++v) {
    if (held == words && !(z[v] > z[ids[held - 1]])) continue;
    index_t place = held < words ? held++ : held - 1;
    for (; place > 0 && z[v] > z[ids[place - 1]]; --place) ids[place] = ids[place - 1];
    ids[place] = static_cast<std::int32_t>(v);
  }
  for (index_t i = 1; i < held; ++i) {  // now by id
    const std::int32_t own = ids[i];
    index_t place = i;
    for (; place > 0 && ids[place - 1] > own; --place) ids[place] = ids[place - 1];
    ids[place] = own;
  }
}

/// Calls f(v) for every word of `count` that is not chosen.
template <class F>
PLUMB_HD void for_each_other_word(index_t count, const std::int32_t* ids, index_t words, F f) {
  index_t next = 0;
  for (index_t v = 0; v < count; ++v)
    if (next < words && ids[next] == v)
      ++next;
    else
      f(v);
}

/// The short row of logits z: z of the chosen words, and log Σ exp(sharpness z) / sharpness over the others as the tail.
template <class T>
PLUMB_HD void gather_words(const T* z, index_t count, const std::int32_t* ids, index_t words, bool tail,
                           double sharpness, T* out) {
  const double never = -__builtin_inf();
  for (index_t k = 0; k < words; ++k) out[k] = ids[k] < 0 ? static_cast<T>(never) : z[ids[k]];
  if (!tail) return;
  double highest = never, total = 0;
  for_each_other_word(count, ids, words, [&](index_t v) { highest = z[v] > highest ? z[v] : highest; });
  for_each_other_word(count, ids, words, [&](index_t v) { total += exp(sharpness * (z[v] - highest)); });
  out[words] = static_cast<T>(total > 0 ? highest + log(total) / sharpness : never);
}

/// The way back: dz += ∂short/∂zᵀ · d_short. `row` is the short row that gather_words made of z.
template <class T>
PLUMB_HD void scatter_words(const T* z, index_t count, const std::int32_t* ids, index_t words, bool tail,
                            double sharpness, const T* row, const T* d_row, T* dz) {
  for (index_t k = 0; k < words; ++k)
    if (ids[k] >= 0) dz[ids[k]] += d_row[k];
  if (!tail) return;
  for_each_other_word(count, ids, words, [&](index_t v) {
    dz[v] += static_cast<T>(d_row[words] * exp(sharpness * (static_cast<double>(z[v]) - row[words])));
  });
}

/// The short row of a distribution over `count` words of which only the chosen ones' log-probabilities are known. Numbers
/// that were rounded may add up to 1 or a little more: the tail has a probability of 1e-7 at least, if there are other words.
template <class T>
PLUMB_HD void place_words(const T* logp, index_t count, const std::int32_t* ids, index_t words, bool tail,
                          double sharpness, T* out) {
  double known = 0;
  index_t named = 0;
  for (index_t k = 0; k < words; ++k) {
    const double own = ids[k] < 0 ? -__builtin_inf() : static_cast<double>(logp[k]);
    known += exp(own);
    named += ids[k] < 0 ? 0 : 1;
    out[k] = static_cast<T>(own / sharpness);
  }
  if (!tail) return;
  const double least = named < count ? 1e-7 : 0;
  out[words] = static_cast<T>(log(named < count && known < 1 - least ? 1 - known : least) / sharpness);
}

}  // namespace plumb::inline v0
