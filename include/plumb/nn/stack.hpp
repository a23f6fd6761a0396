// SPDX-License-Identifier: BSL-1.0
// Blocks one after another, and what each leaves behind.
#pragma once

#include <vector>

#include <plumb/nn/block_again.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// x → the last block's output, both [tokens, width]; `p.layer` counts. While nothing is recorded (scoring, sampling) a
/// block's memory is free again when it has run: a pass takes what one block takes, however many there are. So it is where
/// blocks run again on the way back (`p.recompute_blocks`), but for their inputs.
template <class B, class T, class Block>
variable<B, T> run_blocks(pass<B, T>& p, const std::vector<Block>& blocks, variable<B, T> x) {
  auto& t = p.tape;
  const auto count = static_cast<index_t>(blocks.size());
  if (t.recording()) {
    for (p.layer = 0; p.layer < count; ++p.layer) {
      const Block& block = blocks[static_cast<std::size_t>(p.layer)];
      x = p.recompute_blocks ? run_again(p, block, x) : block(p, x);
    }
    return x;  // [tokens, width]
  }
  const view<T> kept = t.memory().template make<T>(x.value.extent());
  for (p.layer = 0; p.layer < count; ++p.layer) {
    typename tape<B, T>::scope forgotten(t, false);
    B::copy(t.device(), blocks[static_cast<std::size_t>(p.layer)](p, x).value, kept);
    x = t.constant(kept);
  }
  return x;  // [tokens, width]
}

}  // namespace plumb::inline v0
