// SPDX-License-Identifier: BSL-1.0
// One pass through a network: the tape it writes, the batch it reads, and the switches that hold for all its parts.
#pragma once

#include <plumb/autograd/tape.hpp>
#include <plumb/core/random.hpp>
#include <plumb/nn/forest.hpp>
#include <plumb/nn/kv_cache.hpp>

namespace plumb::inline v0 {

/// A batch's integer arrays on the device; they live in the tape's arena.
struct device_layout {
  index_t tokens = 0;  ///< rows: `ahead` virtual tokens, then those of `token_ids`
  index_t ahead = 0;
  const std::int32_t* token_ids = nullptr;
  const std::int32_t* positions = nullptr;
  attention_plan plan;
  const batch_layout* host = nullptr;  ///< what it was made from, while that lives: for virtual tokens
};

/// Copies host integers into the step's memory.
template <class B, class T>
const std::int32_t* upload(tape<B, T>& t, std::span<const std::int32_t> values) {
  auto* memory = t.memory().template make_array<std::int32_t>(static_cast<index_t>(values.size()));
  B::upload(t.device(), values.data(), memory, static_cast<index_t>(values.size()));
  return memory;
}

template <class B, class T>
device_layout upload(tape<B, T>& t, const batch_layout& layout) {
  device_layout out;
  out.host = &layout;
  out.tokens = static_cast<index_t>(layout.positions.size());
  out.ahead = out.tokens - static_cast<index_t>(layout.tokens.size());
  out.token_ids = upload(t, std::span<const std::int32_t>(layout.tokens));
  out.positions = upload(t, std::span<const std::int32_t>(layout.positions));
  const auto count = static_cast<index_t>(layout.segments.size());
  auto* segments = t.memory().template make_array<query_segment>(count);
  B::upload(t.device(), layout.segments.data(), segments, count);
  out.plan = {segments, count, upload(t, std::span<const std::int32_t>(layout.key_rows)),
              upload(t, std::span<const std::int32_t>(layout.row_segment))};
  return out;
}

template <class B, class T>
struct virtual_tokens;
template <class B, class T>
class router_balance;
template <class B, class T>
struct adapter_mixture;

/// What every part of a network is given beside its input.
template <class B, class T>
struct pass {
  plumb::tape<B, T>& tape;
  device_layout batch;
  kv_cache<B, T>* cache = nullptr;              ///< keys and values are appended here and read here; nothing is learnt
  bool adapters = true;                         ///< off: the network is its own reference
  bool dropout = false;                         ///< on in training only
  std::uint64_t key = 0;                        ///< random stream of this pass
  std::uint64_t drawn = 0;                      ///< how many keys its parts have taken
  index_t layer = 0;                            ///< the block that runs now
  view<const T> noise{};                        ///< [tokens, width] added to the embeddings; empty: none
  const virtual_tokens<B, T>* ahead = nullptr;  ///< set by the network where batch.ahead counts them
  router_balance<B, T>* balance = nullptr;      ///< where routers report whom they chose; null: nobody asks
  /// Where rows run with different adapters, which with which; null: all with the one on the model.
  const adapter_mixture<B, T>* mixture = nullptr;
  kv_cache<B, T>* kept = nullptr;  ///< keys and values are written here only, for a pass that goes on from this one
  index_t kept_layers = 0;         ///< how many layers have done so
  index_t head_row = -1;           ///< the head's row that its first row is now; −1: what runs is not the head
  bool recompute_blocks = false;   ///< blocks keep their input alone and run again on the way back (nn/block_again.hpp)

  /// A weight as this pass sees it: its learnt copy while adapters are on, if it has one.
  variable<B, T> leaf(weight_tensor<B, T>& w) {
    if (!w.stand_in) return tape.leaf(w);
    return adapters ? tape.leaf(*w.stand_in) : tape.frozen(w);
  }
  /// Would training change this weight as the pass sees it?
  [[nodiscard]] bool learns(const weight_tensor<B, T>& w) const noexcept {
    return w.stand_in ? adapters && w.stand_in->trainable() : w.trainable();
  }
  /// A new random stream for one part; the order of the parts fixes it.
  std::uint64_t next_key() noexcept { return derive_key(key, drawn++); }
};

}  // namespace plumb::inline v0
